"""Cutting pictures to what the networks want, and finding the way back to the picture's pixels.

Shapes: H x W pixels of a picture.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from vibe_ray.geometry.arrays import Array


@dataclass(frozen=True)
class Shrunk:
    """A whole picture, scaled down and padded below and at the right."""

    pixels: Tensor
    """(h, w, 3) uint8; both sides are multiples asked for."""
    scale: float
    """Pixels of the picture per pixel of it."""


@dataclass(frozen=True)
class Square:
    """A square of whole pixels, which may reach beyond the picture."""

    left: int
    top: int
    side: int


def shrink(picture: Array, long_side: int, multiple: int) -> Shrunk:
    """Scale a picture (H, W, 3) so that its longer side is at most as given."""
    H, W = picture.shape[:2]
    scale = max(max(H, W) / long_side, 1.0)
    pixels = _resized(torch.from_numpy(picture), round(H / scale), round(W / scale))
    h, w = pixels.shape[:2]
    if h % multiple or w % multiple:
        padded = torch.zeros(h + -h % multiple, w + -w % multiple, 3, dtype=torch.uint8)
        padded[:h, :w] = pixels
        pixels = padded
    return Shrunk(pixels, scale)


def square_around(box: Array, margin: float) -> Square:
    """Return the square of whole pixels around a box (3,) = (cx, cy, side), widened by a factor."""
    center_x, center_y, side = (float(value) for value in box)
    whole = max(math.ceil(side * margin), 1)
    return Square(round(center_x - whole / 2), round(center_y - whole / 2), whole)


def cut(picture: Array, square: Square, size: int) -> Tensor:
    """Cut a square out of a picture (H, W, 3), black beyond its border: (size, size, 3) uint8."""
    H, W = picture.shape[:2]
    left, top = max(square.left, 0), max(square.top, 0)
    right, bottom = min(square.left + square.side, W), min(square.top + square.side, H)
    scale = square.side / size
    out = torch.zeros(size, size, 3, dtype=torch.uint8)
    if right <= left or bottom <= top:
        return out
    # Only the part inside the picture is resized, to where it lies in the crop.
    columns = _ends((left - square.left) / scale, (right - square.left) / scale, size)
    rows = _ends((top - square.top) / scale, (bottom - square.top) / scale, size)
    part = torch.from_numpy(picture[top:bottom, left:right])
    out[rows, columns] = _resized(part, rows.stop - rows.start, columns.stop - columns.start)
    return out


def crop_box(picture: Array, box: Array, size: int) -> Array:
    """Show a box (3,) = (cx, cy, side) of a picture (H, W, 3) as (size, size, 3) uint8.

    Pixel i of the crop is at center + (i - size / 2) * side / size of the picture, where whole
    numbers are the middles of pixels; linear in between, black beyond the border, not smoothed
    where it shrinks. That is what SPIN's image network is shown in VIBE's preprocessing (OpenCV's
    `warpAffine`), so that its features are those that VIBE was trained on.
    """
    center_x, center_y, side = (float(value) for value in box)
    places = (np.arange(size) - size / 2) * (side / size)
    rows, row_weights = _neighbors(center_y + places, picture.shape[0])
    columns, column_weights = _neighbors(center_x + places, picture.shape[1])
    corners = picture[rows.reshape(-1, 1), columns.reshape(1, -1)]
    corners = corners.reshape(2, size, 2, size, 3).astype(np.float32)
    lines = (corners * row_weights[:, :, None, None, None]).sum(axis=0)  # (size, 2, size, 3)
    crop = (lines * column_weights[None, :, :, None]).sum(axis=1)
    return np.rint(crop).astype(np.uint8)


def _neighbors(places: Array, length: int) -> tuple[Array, Array]:
    """Return the two pixels (2, size) between which places are, and their weights (2, size)."""
    before = np.floor(places)
    share = (places - before).astype(np.float32)
    pixels = np.stack([before, before + 1]).astype(np.int64)
    inside = (pixels >= 0) & (pixels < length)
    weights = np.where(inside, np.stack([1 - share, share]), np.float32(0))
    return pixels.clip(0, length - 1), weights


def _ends(start: float, stop: float, size: int) -> slice:
    first = min(round(start), size - 1)
    return slice(first, max(min(round(stop), size), first + 1))


def from_square(kp: Array, square: Square, size: int) -> Array:
    """Turn pixels (..., 2) of a crop into the picture's."""
    corner = np.array([square.left, square.top], np.float32)
    return corner + kp * np.float32(square.side / size)


def _resized(pixels: Tensor, height: int, width: int) -> Tensor:
    """Resize (H, W, 3) uint8 without aliasing."""
    if pixels.shape[:2] == (height, width):
        return pixels
    planes = pixels.permute(2, 0, 1)[None]
    resized = interpolate(
        planes, (height, width), mode="bilinear", align_corners=False, antialias=True
    )
    return resized[0].permute(1, 2, 0)
