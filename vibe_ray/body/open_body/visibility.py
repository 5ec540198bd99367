"""Which vertices can be seen from outside? Hidden ones need not be kept.

Shapes: V vertices, F triangles, Q origins of rays.
"""

import numpy as np

NUM_DIRECTIONS = 96
# A direction counts for a vertex if it is at least this much on the outer side of the skin.
_MIN_COSINE = 0.15
_LIFT = 1e-3  # meters off the skin, so that a ray does not hit where it starts
_CELL = 0.012  # meters; about an edge's length, so that a cell holds few triangles


def visibility(verts: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """The share (V,) of the outward directions in which a ray from a vertex leaves the body."""
    normals = _vertex_normals(verts, triangles)
    used = np.unique(triangles)
    free, tried = np.zeros(len(verts)), np.zeros(len(verts))
    for direction in _directions():
        facing = used[normals[used] @ direction > _MIN_COSINE]
        origins = verts[facing] + normals[facing] * _LIFT
        free[facing] += ~is_blocked(origins, direction, verts[triangles])
        tried[facing] += 1
    return free / np.maximum(tried, 1)


def is_blocked(origins: np.ndarray, direction: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """Does the ray from each origin (Q, 3) in the common direction (3,) hit a triangle?

    All rays are parallel, so this is done in their cross-section: a triangle blocks an origin that
    lies within it there and behind it along the rays.

    Args:
        origins: Where rays start (Q, 3).
        direction: Unit vector (3,).
        corners: The triangles (F, 3, 3).

    Returns:
        Whether each ray is blocked (Q,).
    """
    axes = _section_axes(direction)
    points, triangles = origins @ axes, corners @ axes
    triangle, point = _candidates(points[:, :2], triangles[..., :2])
    at, (a, b, c) = points[point], triangles[triangle].swapaxes(0, 1)
    areas = np.stack([_cross(b - at, c - at), _cross(c - at, a - at), _cross(a - at, b - at)])
    total = areas.sum(axis=0)
    inside = ((areas >= 0).all(axis=0) | (areas <= 0).all(axis=0)) & (total != 0)
    depths = np.stack([a[:, 2], b[:, 2], c[:, 2]])
    depth = (areas * depths).sum(axis=0) / np.where(total == 0, 1, total)
    blocked = np.zeros(len(origins), bool)
    blocked[point[inside & (depth > at[:, 2])]] = True
    return blocked


def _candidates(points: np.ndarray, triangles: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of triangle (F, 3, 2) and point (Q, 2) whose boxes on a grid touch, as indices."""
    origin = np.minimum(points.min(axis=0), triangles.min(axis=(0, 1)))
    cells = ((points - origin) / _CELL).astype(np.int64)
    low = ((triangles.min(axis=1) - origin) / _CELL).astype(np.int64)
    high = ((triangles.max(axis=1) - origin) / _CELL).astype(np.int64)
    width = max(int(cells[:, 0].max()), int(high[:, 0].max())) + 1
    cell = cells[:, 1] * width + cells[:, 0]
    order = np.argsort(cell, kind="stable")
    cell = cell[order]
    # Every grid row that a triangle touches is one contiguous run of cells.
    triangle, row = _expand(high[:, 1] - low[:, 1] + 1)
    row += low[triangle, 1]
    first = np.searchsorted(cell, row * width + low[triangle, 0], side="left")
    last = np.searchsorted(cell, row * width + high[triangle, 0], side="right")
    run, step = _expand(last - first)
    return triangle[run], order[first[run] + step]


def _expand(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Count to each of `counts`: which one, and the running number within it."""
    owner = np.repeat(np.arange(len(counts)), counts)
    starts = np.cumsum(counts) - counts
    return owner, np.arange(len(owner)) - starts[owner]


def _section_axes(direction: np.ndarray) -> np.ndarray:
    """Axes (3, 3) as columns, the last along the direction."""
    other = np.eye(3)[np.argmin(np.abs(direction))]
    first = np.cross(direction, other)
    first /= np.linalg.norm(first)
    return np.stack([first, np.cross(direction, first), direction], axis=1)


def _cross(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]


def _directions() -> np.ndarray:
    """Directions spread evenly over the sphere, along a Fibonacci spiral."""
    number = np.arange(NUM_DIRECTIONS) + 0.5
    polar = np.arccos(1 - 2 * number / NUM_DIRECTIONS)
    turn = np.pi * (1 + 5**0.5) * number
    return np.stack([np.cos(turn) * np.sin(polar), np.sin(turn) * np.sin(polar), np.cos(polar)], 1)


def _vertex_normals(verts: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """Normals (V, 3), each triangle weighted by its angle at the vertex."""
    corners = verts[triangles]
    face = _unit(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]))
    normals = np.zeros_like(verts)
    for corner in range(3):
        at, left, right = (corners[:, (corner + step) % 3] for step in range(3))
        cosine = (_unit(left - at) * _unit(right - at)).sum(axis=1)
        angle = np.arccos(np.clip(cosine, -1, 1))
        np.add.at(normals, triangles[:, corner], face * angle[:, None])
    return _unit(normals)


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-30)
