"""Does the camera stand still? Asked of the background: what is behind the people must not move.

Pictures are cut into tiles, and each tile is compared with itself a moment later by phase
correlation (Kuglin and Hines 1975), which finds a shift whatever the brightness. A camera that
pans, zooms, rolls or shakes moves most tiles; a tree in the wind or a passing car moves few.

Shapes: N frames, H rows and W columns of pixels, P people, M tiles, S pixels a tile's side.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vibe_ray.geometry.arrays import Array

TILE = 32
"""Pixels of a tile's side; shifts up to half of it are found."""
MIN_TEXTURE = 2.0
"""Gray levels by which a tile must vary (standard deviation); a bare wall says nothing."""
MIN_PEAK = 0.15
"""Share of a tile that must fit at the shift found; noise alone reaches a tenth."""
MIN_TILES = 3
MAX_PAIRS = 150
"""So many pairs of frames are compared, spread over the clip, however long it is."""


@dataclass(frozen=True, kw_only=True)
class StillSettings:
    """What counts as standing still."""

    gaps: tuple[tuple[int, float], ...] = ((1, 0.004), (5, 0.004), (60, 0.015))
    """Frames between those compared, and by how much the background may shift over them, as a share
    of the picture's width. A fast pan is out of sight after many, a slow one hides in few."""
    max_share: float = 0.1
    """Share of pairs of a gap in which it may shift by more."""


@dataclass(frozen=True)
class CameraVerdict:
    is_still: bool | None
    """None where the background does not say."""
    pixels_per_frame: float
    """Median shift of the background in pixels of the pictures given: over the first of the gaps in
    which it moves, or else over the last. NaN where it says nothing."""
    words: str


def is_camera_still(
    frames: Sequence[Array] | Array,
    boxes: Sequence[Array] | None = None,
    settings: StillSettings | None = None,
) -> CameraVerdict:
    """Judge whether the camera stands still.

    Args:
        frames: Gray pictures, N of (H, W), small ones: a width of 160 to 320 pixels is best.
        boxes: For each frame the people's boxes (P, 4) as left, top, right, bottom in pixels; what
            is in them is not looked at.
        settings: What counts as still.

    Raises:
        ValueError: Pictures are smaller than two tiles, or boxes are not one set a frame.
    """
    settings = settings or StillSettings()
    N, (H, W) = len(frames), frames[0].shape
    if min(H, W) < 2 * TILE:
        raise ValueError(f"pictures of {W} x {H} pixels: expected {2 * TILE} or more each way")
    if boxes is not None and len(boxes) != N:
        raise ValueError(f"boxes of {len(boxes)} frames for {N} pictures")
    if N < 2:
        return CameraVerdict(None, float("nan"), "one frame does not say whether a camera moves")
    speed = np.nan
    for gap, limit in settings.gaps:
        shifts = _shifts(frames, boxes, min(gap, N - 1))
        if len(shifts):
            speed = float(np.median(shifts)) / min(gap, N - 1)
            share = float(np.mean(shifts > limit * W))
            if share > settings.max_share:
                often = f"too far in {100 * share:.0f} % of the time"
                return CameraVerdict(False, speed, f"the camera moves: {_words(speed, W)}, {often}")
    if np.isnan(speed):
        words = "the background is too bare, or too hidden by people, to say if the camera moves"
        return CameraVerdict(None, speed, words)
    return CameraVerdict(True, speed, f"the camera stands still: {_words(speed, W)}")


def _words(speed: float, width: int) -> str:
    return f"the background shifts by {speed:.2f} pixels a frame in pictures {width} wide"


def _shifts(frames: Sequence[Array] | Array, boxes: Sequence[Array] | None, gap: int) -> Array:
    """Shifts in pixels over a gap, of pairs all over the clip; none if too few say anything."""
    starts = np.unique(np.linspace(0, len(frames) - 1 - gap, MAX_PAIRS).round().astype(int))
    found = [_background_shift(frames, boxes, first, first + gap) for first in starts]
    known = np.array([shift for shift in found if shift is not None])
    return known if len(known) >= max(1, len(starts) // 4) else known[:0]


def _background_shift(
    frames: Sequence[Array] | Array, boxes: Sequence[Array] | None, first: int, second: int
) -> float | None:
    """Return by how many pixels the background shifts from one frame to another.

    It is the median over tiles, each counted by its length, so that a zoom, which shifts tiles each
    another way, counts as well.
    """
    H, W = frames[0].shape
    top, left = _tile_corners(H), _tile_corners(W)
    rows, columns = (grid.flatten() for grid in np.meshgrid(top, left, indexing="ij"))
    if boxes is not None:
        people = np.concatenate([np.reshape(boxes[i], (-1, 4)) for i in (first, second)])
        hidden = _overlaps(rows, columns, people)
        rows, columns = rows[~hidden], columns[~hidden]
    if len(rows) < MIN_TILES:
        return None
    a, b = (_tiles(frames[i], rows, columns) for i in (first, second))
    has_texture = np.minimum(a.std(axis=(1, 2)), b.std(axis=(1, 2))) > MIN_TEXTURE
    if has_texture.sum() < MIN_TILES:
        return None
    shift, peak = _phase_correlation(a[has_texture], b[has_texture])
    lengths = np.linalg.norm(shift, axis=1)[peak > MIN_PEAK]
    return float(np.median(lengths)) if len(lengths) >= MIN_TILES else None


def _tile_corners(length: int) -> Array:
    """Where tiles begin that cover a side, next to each other or a little over each other."""
    return np.linspace(0, length - TILE, -(-length // TILE)).round().astype(int)


def _overlaps(rows: Array, columns: Array, boxes: Array) -> Array:
    """Which tiles (M,) share pixels with a box of (P, 4)."""
    left, top, right, bottom = boxes.T[..., None]  # each (P, 1)
    across = (columns < right) & (columns + TILE > left)
    down = (rows < bottom) & (rows + TILE > top)
    return np.asarray((across & down).any(axis=0))


def _tiles(frame: Array, rows: Array, columns: Array) -> Array:
    """Cut tiles (M, S, S) out of a picture."""
    windows = np.lib.stride_tricks.sliding_window_view(frame, (TILE, TILE))
    return windows[rows, columns].astype(np.float64)


def _phase_correlation(a: Array, b: Array) -> tuple[Array, Array]:
    """Find by how much tiles (M, S, S) are shifted.

    Returns:
        Down and right in pixels (M, 2), to fractions of one, and how much of a tile fits (M,).
    """
    hann = np.hanning(TILE + 2)[1:-1]
    window = hann[:, None] * hann
    spectra = [
        np.fft.rfft2((tiles - tiles.mean(axis=(1, 2), keepdims=True)) * window) for tiles in (a, b)
    ]
    cross = spectra[1] * spectra[0].conj()
    # A band-pass: the finest frequencies are noise and compression, and say little of a shift.
    fine = np.hypot(np.fft.fftfreq(TILE)[:, None], np.fft.rfftfreq(TILE))
    soft = np.exp(-((fine / 0.2) ** 2))
    surface = np.fft.irfft2(cross / np.maximum(np.abs(cross), 1e-9) * soft, s=(TILE, TILE))
    surface /= np.fft.irfft2(soft + 0j, s=(TILE, TILE)).max()
    flat = surface.reshape(len(a), -1)
    best = flat.argmax(axis=1)
    peak = flat[np.arange(len(a)), best]
    row, column = np.unravel_index(best, (TILE, TILE))
    each = np.arange(len(a))
    down = _subpixel(*(surface[each, (row + k) % TILE, column] for k in (-1, 0, 1)))
    right = _subpixel(*(surface[each, row, (column + k) % TILE] for k in (-1, 0, 1)))
    half = TILE // 2
    shift = np.stack([(row + half) % TILE - half + down, (column + half) % TILE - half + right], 1)
    return shift, peak


def _subpixel(before: Array, at: Array, after: Array) -> Array:
    """Where between pixels the top of a bell through three values is: theirs are logarithms'."""
    low, middle, high = (np.log(np.maximum(values, 1e-6)) for values in (before, at, after))
    curve = low - 2 * middle + high
    return np.where(curve < -1e-9, (low - high) / np.minimum(2 * curve, -1e-9), 0.0).clip(-0.5, 0.5)
