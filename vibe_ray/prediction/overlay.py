"""The estimated bodies drawn over the video, and beside it as seen from the side.

Shapes: N frames of a person, V vertices, H x W pixels.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

from vibe_ray.body.params import SmplParams
from vibe_ray.geometry.arrays import Array
from vibe_ray.inference import Predictor
from vibe_ray.prediction.person import Person
from vibe_ray.rendering.scene import (
    Mesh,
    Orthographic,
    Perspective,
    area_normals,
    paint_over,
    render,
)
from vibe_ray.video.cores import threads
from vibe_ray.video.crops import shrink
from vibe_ray.video.frames import Frame, Video, VideoFacts
from vibe_ray.video.reader import video_writer_class

COLORS = (
    *((0.55, 0.70, 0.95), (0.95, 0.66, 0.45), (0.56, 0.83, 0.56), (0.90, 0.60, 0.78)),
    *((0.93, 0.85, 0.45), (0.66, 0.60, 0.88)),
)
"""Of the people, in turn."""
BACKGROUND = 244
"""Gray of the side view."""
SIDE_SHARE = 0.6
"""Width of the side view over the picture's height."""
PAINTERS = 2
"""Frames painted at a time."""
MARGIN_M = 1.15
"""Meters shown above, below, before and behind where the bodies' middles get."""


@dataclass(frozen=True, kw_only=True)
class OverlayConfig:
    """How the overlay looks."""

    long_side: int = 1280
    """Pixels of the video's longer side; a larger video is scaled down."""
    opacity: float = 0.85
    samples: int = 1
    """Points across a pixel, for smooth edges; the time grows with its square."""
    side_view: bool = True

    def __post_init__(self) -> None:
        if self.long_side < 16 or self.samples < 1 or not 0 < self.opacity <= 1:
            raise ValueError(
                f"overlay of {self.long_side} pixels, {self.samples} samples and opacity "
                f"{self.opacity}: expected at least 16, at least 1, and 0 to 1"
            )


def write_overlay(
    path: Path,
    video: Video,
    people: Sequence[Person],
    predictor: Predictor,
    config: OverlayConfig,
) -> None:
    """Write the video with everybody's body drawn in, at its own times and with its sound.

    Args:
        path: Of an MP4 on this machine's disk.
        video: Is read once more.
        people: Of it.
        predictor: Whose bodies they are.
        config: How it looks.

    Raises:
        storage.DiskFullError: There is no room for the file.
        OSError: The file cannot be written for another reason.
        ImportError: PyAV is missing (extra `video`).
    """
    writer_class = video_writer_class()
    painter = Painter(video.facts, people, predictor, config)
    frames = video.frames()
    first = next(frames)
    height, width = painter.paint(first).shape[:2]
    with writer_class(path, width, height, video) as writer:
        for time_s, picture in painted(painter, chain([first], frames)):
            writer.write(picture, time_s)


def painted(painter: "Painter", frames: Iterable[Frame]) -> Iterator[tuple[float, Array]]:
    """Yield times and painted pictures, of which some are painted while the caller writes others.

    Threads are enough: numpy, which paints, and the codecs let others run meanwhile.
    """
    waiting: deque[tuple[float, Future[Array]]] = deque()
    with threads(PAINTERS, "painter") as painters:
        for frame in frames:
            waiting.append((frame.time_s, painters.submit(painter.paint, frame)))
            if len(waiting) > PAINTERS:
                time_s, picture = waiting.popleft()
                yield time_s, picture.result()
        for time_s, picture in waiting:
            yield time_s, picture.result()


class Painter:
    """Draws people into the frames of their video."""

    def __init__(
        self,
        facts: VideoFacts,
        people: Sequence[Person],
        predictor: Predictor,
        config: OverlayConfig,
    ) -> None:
        self._facts, self._people = facts, people
        self._predictor, self._config = predictor, config
        self._side = _side_camera(people)

    def paint(self, frame: Frame) -> Array:
        """Return the frame (H, W, 3) with bodies, both sides even; the side view at its right."""
        config, facts = self._config, self._facts
        small = shrink(frame.pixels, config.long_side, multiple=2)
        picture, scale = small.pixels.numpy(), small.scale
        H, W = picture.shape[:2]
        meshes = self._meshes(frame.number)
        center = (facts.width / 2 / scale, facts.height / 2 / scale)
        camera = Perspective(facts.focal.pixels / scale, center)
        rgba = render(meshes, camera, H, W, config.samples)
        painted = self._named(paint_over(picture, rgba, config.opacity), frame.number, scale)
        if not config.side_view:
            return painted
        width = round(H * SIDE_SHARE / 2) * 2
        return np.concatenate([painted, self._from_the_side(meshes, H, width)], axis=1)

    def _meshes(self, number: int) -> list[Mesh]:
        """Everybody's body in a frame, all skinned at once."""
        shown = [
            (i, person, row)
            for i, person in enumerate(self._people)
            if 0 <= (row := number - int(person.track.frames[0])) < person.num_frames
        ]
        if not shown:
            return []
        params = SmplParams(
            *(
                torch.from_numpy(np.stack(parts)).to(self._predictor.device)
                for parts in zip(
                    *((p.rotmat[row], p.betas, p.cam[row]) for _, p, row in shown), strict=True
                )
            )
        )
        verts = self._predictor.verts(params).cpu().numpy()
        faces = self._predictor.body.faces
        return [
            Mesh(
                body + person.transl[row],
                faces,
                COLORS[i % len(COLORS)],
                area_normals(body, faces),
            )
            for body, (i, person, row) in zip(verts, shown, strict=True)
        ]

    def _named(self, picture: Array, number: int, scale: float) -> Array:
        """Write everybody's number over their box."""
        image = Image.fromarray(picture)
        draw = ImageDraw.Draw(image)
        size = max(14, picture.shape[0] // 36)
        font = _font(size)
        for i, person in enumerate(self._people):
            row = number - int(person.track.frames[0])
            if 0 <= row < person.num_frames:
                x, y, side = person.track.boxes[row] / scale
                color = tuple(round(255 * value) for value in COLORS[i % len(COLORS)])
                place = (x, max(y - side / 2, size))
                text = f"{person.track.person}{' (filled)' if person.track.filled[row] else ''}"
                draw.text(
                    place, text, color, font, anchor="mb", stroke_width=2, stroke_fill=(20, 20, 20)
                )
        return np.asarray(image)

    def _from_the_side(self, meshes: Sequence[Mesh], height: int, width: int) -> Array:
        canvas = np.full((height, width, 3), BACKGROUND, np.uint8)
        if self._side is None:
            return canvas
        middle, reach = self._side
        turned = [
            replace(
                mesh,
                verts=(mesh.verts - middle) @ TO_THE_SIDE,
                normals=mesh.normals @ TO_THE_SIDE,
            )
            for mesh in meshes
        ]
        pixels = min(width / (2 * reach[0]), height / (2 * reach[1]))
        camera = Orthographic(pixels, (width / 2, height / 2))
        return paint_over(canvas, render(turned, camera, height, width, self._config.samples))


@cache
def _font(size: int) -> Any:
    """Pillow's own font, of so many pixels; it takes longer to load than to write with."""
    return ImageFont.load_default(size)


TO_THE_SIDE = np.array([[0.0, 0.0, 1.0], [0.0, 1.0, 0.0], [-1.0, 0.0, 0.0]])
"""Turns camera axes, as rows, a quarter about the vertical: ahead becomes left, right ahead."""


def _side_camera(people: Sequence[Person]) -> tuple[Array, Array] | None:
    """Return the middle (3,) of where all people get, and half of what is shown (2,), in meters."""
    if not people:
        return None
    pelvis = np.concatenate([person.joints[:, 0] for person in people])
    low, high = pelvis.min(axis=0), pelvis.max(axis=0)
    half = (high - low) / 2 + MARGIN_M
    return (low + high) / 2, np.array([half[2], half[1]])
