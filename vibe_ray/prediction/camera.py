"""Does the video's camera stand still? Small gray pictures are kept while the video is read.

Shapes: H x W pixels of a small picture, P people in a frame.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from vibe_ray.fitting.still_camera import TILE, CameraVerdict, is_camera_still
from vibe_ray.geometry.arrays import Array
from vibe_ray.video.crops import shrink
from vibe_ray.video.frames import Frame
from vibe_ray.video.people import Track

LONG_SIDE = 192
MAX_PICTURES = 3000
"""So that memory is bounded: of a longer video its first minutes speak."""


class CameraWatch:
    """Keeps what is needed of the frames that are read, once."""

    def __init__(self) -> None:
        self._pictures: list[Array] = []
        self._scale = 1.0

    def see(self, frame: Frame) -> None:
        """Keep a small picture of a frame; frames that were seen before are not kept again."""
        if frame.number == len(self._pictures) < MAX_PICTURES:
            small = shrink(frame.pixels, LONG_SIDE, multiple=1)
            self._scale = small.scale
            self._pictures.append(small.pixels.float().mean(dim=-1).byte().numpy())

    def judge(self, tracks: Sequence[Track]) -> CameraVerdict:
        """Judge by the background, which is what no track's box covers."""
        if not self._pictures or min(self._pictures[0].shape) < 2 * TILE:
            return CameraVerdict(None, float("nan"), "the picture is too small to say")
        boxes = [self._boxes(tracks, number) for number in range(len(self._pictures))]
        verdict = is_camera_still(self._pictures, boxes)
        if len(self._pictures) < MAX_PICTURES:
            return verdict
        return replace(verdict, words=f"{verdict.words}, in the first {MAX_PICTURES} frames")

    def _boxes(self, tracks: Sequence[Track], number: int) -> Array:
        """Left, top, right and bottom (P, 4) of everybody in a frame, in small pixels."""
        rows = [(track, number - int(track.frames[0])) for track in tracks]
        squares = [t.boxes[row] for t, row in rows if 0 <= row < t.num_frames]
        square = np.array(squares, np.float64).reshape(-1, 3) / self._scale
        half = square[:, 2:] / 2
        return np.concatenate([square[:, :2] - half, square[:, :2] + half], axis=1)
