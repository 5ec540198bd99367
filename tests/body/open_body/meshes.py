"""Small symmetric meshes to build bodies' tools on."""

import numpy as np

from vibe_ray.body.open_body.decimate import triangulate


def cube_sphere(size: int, radius: float = 1.0) -> tuple[np.ndarray, list[list[int]]]:
    """A sphere of quads, like a blown-up cube with `size` cells a side, facing outward."""
    steps = np.linspace(-1, 1, size + 1)
    number: dict[tuple[float, ...], int] = {}
    faces = []
    for axis in range(3):
        for side in (-1.0, 1.0):
            for i in range(size):
                for j in range(size):
                    corners = [(i, j), (i + 1, j), (i + 1, j + 1), (i, j + 1)]
                    points = []
                    for a, b in corners if side > 0 else corners[::-1]:
                        point = [0.0, 0.0, 0.0]
                        point[axis] = side
                        point[(axis + 1) % 3] = float(steps[a])
                        point[(axis + 2) % 3] = float(steps[b])
                        points.append(tuple(point))
                    faces.append([number.setdefault(p, len(number)) for p in points])
    verts = np.array(list(number))
    return radius * verts / np.linalg.norm(verts, axis=1, keepdims=True), faces


def mirror_of(verts: np.ndarray) -> np.ndarray:
    """Each vertex's mirror image (V,)."""
    distance = np.linalg.norm(verts[:, None] * [-1, 1, 1] - verts[None], axis=-1)
    assert distance.min(axis=1).max() < 1e-9
    return distance.argmin(axis=1)


def sphere(size: int, radius: float = 1.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Vertices, triangles and mirror table of a sphere."""
    verts, faces = cube_sphere(size, radius)
    mirror = mirror_of(verts)
    return verts, triangulate(faces, verts, mirror), mirror


def is_watertight(triangles: np.ndarray) -> bool:
    """Whether each edge is there once in each direction."""
    directed = np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]])
    edges = set(map(tuple, directed.tolist()))
    return len(edges) == len(directed) and all((b, a) in edges for a, b in edges)
