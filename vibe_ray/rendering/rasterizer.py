"""Which triangle is seen in each pixel? A z-buffer in numpy.

A triangle covers the pixels whose centers lie in it; of a body that is far away, most triangles
cover none, and are put aside first. The others are cut into spans, one for each row of pixels that
they cross, and a span into fragments, one for each pixel. All triangles are cut at once, without a
loop over them. Two triangles that share an edge share its pixels out between them:
none is drawn twice, none is left open.

Shapes: V vertices, M triangles, R spans, P fragments, H rows and W columns of pixels.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from vibe_ray.geometry.arrays import Array

NOTHING = -1
"""In `Raster.face`, where a pixel shows no triangle."""
ROUNDING = 1e-6
"""Pixels by which a triangle may seem wider than its corners, where its edges are computed."""
MAX_AT_ONCE = 1 << 20
"""Spans, and fragments, held at a time: some 100 MB, whatever is to be drawn."""


@dataclass(frozen=True)
class Raster:
    """What is seen in each pixel."""

    face: NDArray[np.int64]
    """Number of the triangle (H, W), or `NOTHING`."""
    nearness: NDArray[np.float64]
    """How near it is there (H, W), in the unit of the vertices; -inf for nothing."""
    value: NDArray[np.float64]
    """The vertices' value there (H, W); 0 for nothing."""


@dataclass(frozen=True)
class _Edges:
    """The edges (3 M,) of all triangles, each from its upper end to its lower one.

    Both triangles at an edge follow it the same way: so both get the same x to the last bit.
    """

    x: Array
    y: Array
    x_slope: Array
    """By how much x grows from one row to the next."""
    rest: Array
    """(3 M, 2) nearness and value at the upper end."""
    rest_slope: Array

    def x_at(self, edge: Array, y: Array) -> Array:
        """Where edges (R,) cross heights (R,)."""
        return self.x[edge] + (y - self.y[edge]) * self.x_slope[edge]

    def rest_at(self, edge: Array, y: Array) -> Array:
        """Nearness and value (R, 2) there."""
        return self.rest[edge] + (y - self.y[edge])[:, None] * self.rest_slope[edge]


@dataclass(frozen=True)
class _Spans:
    """Pieces of triangles, each within one row of pixels."""

    face: Array
    """(R,) of which triangle."""
    pixel: Array
    """(R,) its first pixel, counted along the rows of the image."""
    length: Array
    """(R,) pixels, at least one."""
    start: Array
    """(R, 2) nearness and value at the first pixel."""
    slope: Array
    """(R, 2) how both change from pixel to pixel."""


def rasterize(points: Array, values: Array, faces: Array, height: int, width: int) -> Raster:
    """Find the nearest triangle of each pixel.

    Nearness and values run linearly over a triangle in the image. That is exact for 1 / depth
    under a perspective camera and for depth under an orthographic one.

    Args:
        points: (V, 3) x and y in pixels, from the image's upper left corner, and nearness: of two
            triangles in a pixel the one of greater nearness is seen.
        values: (V,) a number to interpolate, such as brightness.
        faces: (M, 3) vertex numbers; which way round does not matter.
        height: Of the image, in pixels.
        width: Likewise.

    Raises:
        ValueError: A vertex that is used is not finite.
    """
    verts = np.concatenate([points, values[:, None]], axis=1, dtype=np.float64)
    is_finite = np.asarray(np.isfinite(verts).all(axis=1))
    if not is_finite[faces].all():
        raise ValueError("a triangle has a corner that is NaN or infinite: nothing can be drawn")
    face = np.full(height * width, NOTHING, dtype=np.int64)
    nearness = np.full(height * width, -np.inf)
    value = np.zeros(height * width)
    for spans in _cut(verts, faces, height, width):
        for part in _chunks(spans.length):
            _draw(spans, part, face, nearness, value)
    size = (height, width)
    return Raster(face.reshape(size), nearness.reshape(size), value.reshape(size))


def _cut(verts: Array, faces: Array, height: int, width: int) -> Iterator[_Spans]:
    """Cut triangles (M, 3) of vertices (V, 4) into spans, some at a time: memory is bounded."""
    owners, corners = _by_height(verts, faces, height, width)
    top, middle, bottom = verts[corners]
    edges = _edges(np.concatenate([top, top, middle]), np.concatenate([bottom, middle, bottom]))
    first = _first_center(top[:, 1], height)
    num_rows = _first_center(bottom[:, 1], height) - first
    for part in _chunks(num_rows):
        own, step = _expand(num_rows[part])
        own += part.start
        spans = _spans_of_rows(edges, middle[:, 1], own, first[own] + step, width)
        yield replace(spans, face=owners[spans.face])


def _by_height(verts: Array, faces: Array, height: int, width: int) -> tuple[Array, Array]:
    """Choose the triangles whose bounds hold a center of a pixel.

    Returns:
        Their numbers (m,), and their corners (3, m): the top one, the middle, and the bottom.
    """
    x, y = verts[:, 0].copy(), verts[:, 1].copy()
    corners = np.ascontiguousarray(faces.T)  # (3, M): fast along memory
    across = x[corners]
    columns = (
        _first_center(across.max(axis=0, initial=-np.inf) + ROUNDING, width)
        - _first_center(across.min(axis=0, initial=np.inf) - ROUNDING, width)
    )  # fmt: skip
    top, middle, bottom = corners
    top, middle = _upper_first(top, middle, y)
    middle, bottom = _upper_first(middle, bottom, y)
    top, middle = _upper_first(top, middle, y)
    rows = _first_center(y[bottom], height) - _first_center(y[top], height)
    kept = np.flatnonzero((columns > 0) & (rows > 0))
    return kept, np.stack([top[kept], middle[kept], bottom[kept]])


def _upper_first(one: Array, other: Array, y: Array) -> tuple[Array, Array]:
    """Swap vertex numbers (M,) where the other is higher up."""
    is_so = y[one] <= y[other]
    return np.where(is_so, one, other), np.where(is_so, other, one)


def _edges(upper: Array, lower: Array) -> _Edges:
    """Edges between points (3 M, 4) of x, y, nearness and value; level ones cross no height."""
    way = lower - upper
    slope = way / np.where(way[:, 1:2] == 0, 1, way[:, 1:2])
    return _Edges(upper[:, 0], upper[:, 1], slope[:, 0], upper[:, 2:], slope[:, 2:])


def _spans_of_rows(edges: _Edges, middle: Array, face: Array, row: Array, width: int) -> _Spans:
    """One span for each triangle and row that cross; empty ones are left out.

    Args:
        edges: Of each triangle first the one from top to bottom, then those to and from its middle.
        middle: (M,) height of each triangle's middle corner.
        face: (R,) triangle of each span.
        row: (R,) row of each span.
        width: Of the image.
    """
    y = row + 0.5
    side = face + np.where(y < middle[face], 1, 2) * len(middle)
    x, side_x = edges.x_at(face, y), edges.x_at(side, y)
    first = _first_center(np.minimum(x, side_x), width)
    length = _first_center(np.maximum(x, side_x), width) - first
    kept = np.flatnonzero(length)
    face, side, row, y = face[kept], side[kept], row[kept], y[kept]
    x, side_x, first, length = x[kept], side_x[kept], first[kept], length[kept]
    rest = edges.rest_at(face, y)
    slope = (edges.rest_at(side, y) - rest) / (side_x - x)[:, None]
    start = rest + (first + 0.5 - x)[:, None] * slope
    return _Spans(face, row * width + first, length, start, slope)


def _first_center(position: Array, limit: int) -> Array:
    """Number of the first pixel whose center is not before a position, within the image."""
    return np.ceil(position - 0.5).clip(0, limit).astype(np.int64)


def _draw(spans: _Spans, part: slice, face: Array, nearness: Array, value: Array) -> None:
    """Enter fragments of spans that are nearer than what is there, into pixels (H * W,) each."""
    owner, step = _expand(spans.length[part])
    owner += part.start
    pixel = spans.pixel[owner] + step
    near = spans.start[owner, 0] + step * spans.slope[owner, 0]
    np.maximum.at(nearness, pixel, near)
    seen = np.flatnonzero(near == nearness[pixel])
    pixel, owner, step = pixel[seen], owner[seen], step[seen]
    face[pixel] = spans.face[owner]
    value[pixel] = spans.start[owner, 1] + step * spans.slope[owner, 1]


def _expand(counts: Array) -> tuple[Array, Array]:
    """Count up to each of `counts`: whose turn it is (sum,), and the number within it (sum,)."""
    owner = np.repeat(np.arange(len(counts)), counts)
    starts = np.cumsum(counts) - counts
    return owner, np.arange(len(owner)) - starts[owner]


def _chunks(counts: Array) -> Iterator[slice]:
    """Split things that take up `counts` each into runs of about `MAX_AT_ONCE`."""
    group = np.cumsum(counts) // MAX_AT_ONCE
    edges = [0, *(np.flatnonzero(np.diff(group)) + 1).tolist(), len(counts)]
    yield from (slice(a, b) for a, b in pairwise(edges) if a < b)
