"""Who stands in MoveNet's maps, and where are their key-points?

The graphs' own decoding, batched, without a loop over cells, people or key-points.

Shapes: B images, h x w cells of 4 pixels, P = 6 people at most, D key-points.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import max_pool2d

STRIDE = 4
"""Pixels per cell."""
MAX_PEOPLE = 6
PEAK_CELLS = 5
"""A person's center is the highest of this many cells across."""
SPREAD = 0.300048828125
"""Variance of where a key-point is sought around where the person's center puts it, over the
shorter side of the map: cells squared over cells."""
MIN_CONFIDENCE = 0.126953125
"""Key-points below this do not count for the person's score."""
DISTANCE_CELLS = 1.7998046875
"""A single person's peak is divided by the distance in cells and this. (Like the two above a round
number, 1.8, that the graphs hold in half precision.)"""


@dataclass(frozen=True, eq=False)
class People:
    """Up to six people per image, best center first; who is not there has a score near 0."""

    scores: Tensor
    """(B, P) in [0, 1]."""
    boxes: Tensor
    """Pixels (B, P, 4) = (left, top, right, bottom)."""
    kp: Tensor
    """Pixels (x, y) of the COCO key-points (B, P, D, 2)."""
    conf: Tensor
    """(B, P, D) in [0, 1]."""


def decode_people(maps: Mapping[str, Tensor]) -> People:
    """Turn the maps of `network.MULTIPOSE_HEADS`, each (B, channels, h, w), into people."""
    h, w = maps["center"].shape[-2:]
    score, cell = _peaks(maps["center"].sigmoid())
    box = _box(_at(maps["box_size"], cell), _at(maps["box_offset"], cell) + _yx(cell, w), h, w)
    guess = _pairs(_at(maps["kp_from_center"], cell)) + _yx(cell, w)[:, :, None]  # (B, P, D, 2)
    heat = maps["kp_heatmap"].sigmoid()[:, None]  # (B, 1, D, h, w)
    likely = heat * _nearness(guess, box, h, w)  # (B, P, D, h, w)
    kp_cell = likely.flatten(-2).argmax(dim=-1)  # (B, P, D)
    # Whoever the key-point fits best vouches for it, also where it is another person's.
    conf = likely.amax(dim=1, keepdim=True).expand_as(likely).flatten(-2)
    conf = conf.gather(-1, kp_cell[..., None])[..., 0]
    counted = conf > MIN_CONFIDENCE
    mean_conf = (conf * counted).sum(dim=-1) / counted.sum(dim=-1).clamp(min=1)
    return People(
        scores=score * mean_conf,
        boxes=STRIDE * box[..., [1, 0, 3, 2]],
        kp=_to_pixels(kp_cell, maps["kp_offset"], w),
        conf=conf,
    )


def decode_person(maps: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Turn the maps of `network.SINGLEPOSE_HEADS` into the middle person's key-points.

    Returns:
        Pixels (x, y) of the crop (B, D, 2), and confidences (B, D).
    """
    h, w = maps["center"].shape[-2:]
    grid = _grid(h, w, maps["center"])  # (h, w, 2)
    middle = grid.new_tensor([h / 2, w / 2])
    center = maps["center"][:, 0].sigmoid() / ((grid - middle).norm(dim=-1) + DISTANCE_CELLS)
    cell = center.flatten(1).argmax(dim=-1, keepdim=True)  # (B, 1)
    guess = _pairs(_at(maps["kp_from_center"], cell))[:, 0] + _yx(cell, w)  # (B, D, 2)
    distance = (grid - guess[..., None, None, :]).norm(dim=-1)  # (B, D, h, w)
    heat = maps["kp_heatmap"].sigmoid()
    kp_cell = (heat / (distance + DISTANCE_CELLS)).flatten(-2).argmax(dim=-1)  # (B, D)
    conf = heat.flatten(-2).gather(-1, kp_cell[..., None])[..., 0]
    return _to_pixels(kp_cell[:, None], maps["kp_offset"], w)[:, 0], conf


def _peaks(center: Tensor) -> tuple[Tensor, Tensor]:
    """Return heights and cells (B, P) of the highest peaks of (B, 1, h, w)."""
    highest = max_pool2d(center, PEAK_CELLS, stride=1, padding=PEAK_CELLS // 2)
    peaks = torch.where((center - highest).abs() < 1e-6, center, 0.0)
    return peaks.flatten(1).topk(MAX_PEOPLE, dim=-1)


def _box(size: Tensor, middle: Tensor, h: int, w: int) -> Tensor:
    """Return boxes (..., 4) = (top, left, bottom, right) in cells, cut to the map."""
    half = size.clamp(min=0) / 2
    limit = middle.new_tensor([h, w, h, w])
    return torch.cat([middle - half, middle + half], dim=-1).clamp(min=0).minimum(limit)


def _nearness(guess: Tensor, box: Tensor, h: int, w: int) -> Tensor:
    """Weigh cells (B, P, D, h, w) by their distance from guesses (B, P, D, 2), 0 outside the box.

    The weight is a product of one of the row and one of the column, so it is cheap.
    """
    weights = []
    for axis, num_cells in enumerate((h, w)):
        cells = torch.arange(num_cells, device=guess.device)
        squared = (cells - guess[..., axis, None]) ** 2  # (B, P, D, cells)
        low, high = box[..., axis, None], box[..., axis + 2, None]
        inside = (cells >= low) & (cells < high)  # (B, P, cells)
        weights.append(torch.exp(-squared / (SPREAD * min(h, w))) * inside[..., None, :])
    return weights[0][..., :, None] * weights[1][..., None, :]


def _to_pixels(kp_cell: Tensor, offset: Tensor, w: int) -> Tensor:
    """Return (x, y) (B, P, D, 2) of key-points in cells (B, P, D), by offsets (B, 2 D, h, w)."""
    at = offset.unflatten(1, (-1, 2)).flatten(-2)  # (B, D, 2, cells)
    index = kp_cell.transpose(1, 2)[:, :, None].expand(-1, -1, 2, -1)  # (B, D, 2, P)
    within = at.gather(-1, index).permute(0, 3, 1, 2)  # (B, P, D, 2)
    return STRIDE * (_yx(kp_cell, w) + within).flip(-1)


def _at(values: Tensor, cell: Tensor) -> Tensor:
    """Read a map (B, channels, h, w) at cells (B, P): (B, P, channels)."""
    flat = values.flatten(2)
    return flat.gather(2, cell[:, None].expand(-1, flat.shape[1], -1)).mT


def _pairs(values: Tensor) -> Tensor:
    """Split channels (..., 2 D) into (..., D, 2)."""
    return values.unflatten(-1, (-1, 2))


def _yx(cell: Tensor, w: int) -> Tensor:
    """Turn indices of cells (...) into (y, x) (..., 2)."""
    return torch.stack([cell // w, cell % w], dim=-1).float()


def _grid(h: int, w: int, like: Tensor) -> Tensor:
    """Return (y, x) of every cell (h, w, 2)."""
    rows = torch.arange(h, device=like.device, dtype=like.dtype)
    columns = torch.arange(w, device=like.device, dtype=like.dtype)
    return torch.stack(torch.meshgrid(rows, columns, indexing="ij"), dim=-1)
