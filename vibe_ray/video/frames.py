"""What a video is to whoever reads it: facts, and frames one after the other.

Shapes: H x W pixels as displayed, turned upright and with square pixels.
"""

import math
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from vibe_ray.geometry.arrays import Array

MAX_PIXELS = 2**26
"""Of a frame: twice 8K. A file's header may claim any size, and each claim is memory."""
FILM_DIAGONAL_MM = math.hypot(36, 24)
"""Of the frame of film to which "35 mm equivalent" focal lengths refer."""
FOCAL_KEYS = ("com.apple.quicktime.camera.focal_length.35mm_equivalent",)


@dataclass(frozen=True, kw_only=True, eq=False)
class Frame:
    """One picture of a video."""

    number: int
    """Counted from 0 in the order of display."""
    time_s: float
    """Seconds since the first frame; they grow from frame to frame, evenly or not."""
    pixels: Array
    """RGB (H, W, 3), uint8."""


@dataclass(frozen=True, kw_only=True)
class Focal:
    """The camera's focal length and where it is from."""

    pixels: float
    source: str
    """In words, for the output: given, of the file, or assumed."""
    is_assumed: bool = False


@dataclass(frozen=True, kw_only=True)
class VideoFacts:
    """What is known of a video before its frames are read. Headers may be wrong."""

    path: str
    width: int
    height: int
    """Pixels as displayed: upright, square pixels."""
    fps: float
    """On average; a video of variable rate has its timestamps."""
    num_frames: int
    """As the header says; 0 if it does not."""
    duration_s: float
    """As the header says; 0 if it does not."""
    codec: str
    focal: Focal
    images: tuple[str, ...] = ()
    """Paths of the frames, where the video is a folder of pictures."""


@dataclass
class Reading:
    """What came of reading a video from its first frame to its last."""

    num_frames: int = 0
    duration_s: float = 0.0
    """From the first frame to the last."""
    start_s: float = 0.0
    """The first frame's own timestamp, to which the audio is in step."""
    warnings: list[str] = field(default_factory=list)
    """In words: cut short, damaged frames, missing timestamps."""


class Video(Protocol):
    """A video that was opened by `reader.open_video`."""

    facts: VideoFacts

    @property
    def reading(self) -> Reading:
        """What came of the last `frames()` that came to its end."""
        ...

    def frames(self) -> Iterator[Frame]:
        """Read from the beginning; a second call reads anew.

        Raises:
            ValueError: There is not a single frame, or one is too large or of another size.
        """
        ...

    def sound(self) -> AbstractContextManager[Any]:
        """Open the video's sound: PyAV's stream, or nothing, for as long as the block."""
        ...


@dataclass(frozen=True)
class FocalWish:
    """What the user says about the camera; at most one of the two."""

    focal_px: float | None = None
    fov_deg: float | None = None
    """Horizontal field of view."""

    def __post_init__(self) -> None:
        if self.focal_px is not None and self.fov_deg is not None:
            raise ValueError("both a focal length and a field of view are given: give one")
        if self.focal_px is not None and not 0 < self.focal_px < math.inf:
            raise ValueError(f"a focal length of {self.focal_px} pixels; it must be positive")
        if self.fov_deg is not None and not 0 < self.fov_deg < 180:
            raise ValueError(f"a field of view of {self.fov_deg} degrees; expected 0 to 180")


def choose_focal(wish: FocalWish, metadata: Mapping[str, str], width: int, height: int) -> Focal:
    """Take the focal length that is given, else the file's own, else assume the diagonal.

    Args:
        wish: What the user gives.
        metadata: The file's; the 35 mm equivalents under `FOCAL_KEYS` are understood.
        width: Of the displayed image.
        height: Likewise.
    """
    if wish.focal_px is not None:
        return Focal(pixels=wish.focal_px, source="given in pixels")
    if wish.fov_deg is not None:
        pixels = width / 2 / math.tan(math.radians(wish.fov_deg) / 2)
        return Focal(pixels=pixels, source=f"given as a field of view of {wish.fov_deg:g} degrees")
    diagonal = math.hypot(width, height)
    for key in FOCAL_KEYS:
        if (equivalent := _number(metadata.get(key, ""))) > 0:
            pixels = equivalent / FILM_DIAGONAL_MM * diagonal
            return Focal(pixels=pixels, source=f"the file's {equivalent:g} mm (35 mm equivalent)")
    source = "assumed to be the image's diagonal, a view of 53 degrees"
    return Focal(pixels=diagonal, source=source, is_assumed=True)


def _number(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        return 0.0
    return value if math.isfinite(value) else 0.0


def check_size(path: str, width: int, height: int) -> None:
    """Refuse frames that no memory should be asked for.

    Raises:
        ValueError: They are empty or have more than `MAX_PIXELS`.
    """
    if not 0 < width * height <= MAX_PIXELS:
        raise ValueError(
            f"{path} has frames of {width} x {height} pixels, expected 1 to {MAX_PIXELS} pixels: "
            "scale the video down, or its header is damaged"
        )


def oriented(pixels: Array, turn: tuple[int, int, int, int]) -> Array:
    """Turn a picture (h, w, 3) by a 2 x 2 matrix of 0 and +-1, row by row: upright (H, W, 3).

    The matrix takes a pixel's (x, y), as a row, to where it is displayed: the upper left of a
    file's display matrix.
    """
    a, b, c, d = turn
    if a == 0:
        pixels, x_sign, y_sign = pixels.swapaxes(0, 1), c, b
    else:
        x_sign, y_sign = a, d
    return np.ascontiguousarray(pixels[::y_sign, ::x_sign])
