"""What do bodies look like to a camera? Shaded meshes, over nothing or over a picture.

Camera axes: x right, y down, z forward, meters. Pixels are counted from the image's upper left
corner, so that the center of the first one is (0.5, 0.5).

Shapes: V vertices, M triangles, H rows and W columns of pixels.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from vibe_ray.geometry.arrays import Array
from vibe_ray.rendering.rasterizer import NOTHING, Raster, rasterize

Image = NDArray[np.uint8]

LIGHT = np.array([-0.5, -0.6, -0.62])
"""Where light comes from: left of, above and behind the camera."""
AMBIENT, BRIGHTEST = 0.55, 1.12
"""Brightness of skin turned away from the light, and of skin that faces it (cut off at 1)."""
NEAREST = 0.01
"""Meters before a perspective camera; triangles that come nearer are left out."""


@dataclass(frozen=True)
class Mesh:
    """One body."""

    verts: Array
    """(V, 3) meters, camera axes."""
    faces: NDArray[np.integer[Any]]
    """(M, 3) vertex numbers, counter-clockwise from outside."""
    color: tuple[float, float, float]
    """Red, green and blue from 0 to 1."""
    normals: Array | None = None
    """Outward normals (V, 3) of any length, such as `area_normals`, where they are known already.
    """


class Camera(Protocol):
    """Says where points of space appear in the image."""

    def project(self, verts: Array) -> Array:
        """Project (V, 3) meters to (V, 3): x and y in pixels, and how near it is.

        Nearness runs linearly over a flat triangle's image. It is -inf for what cannot be seen.
        """


@dataclass(frozen=True)
class Perspective:
    """A pinhole camera, as of a whole frame."""

    focal: float
    """Focal length in pixels."""
    center: tuple[float, float]
    """Principal point x, y in pixels."""

    def project(self, verts: Array) -> Array:
        """See `Camera.project`; nearness is 1 / depth."""
        is_seen = verts[:, 2] > NEAREST
        inverse = 1 / np.where(is_seen, verts[:, 2], 1.0)
        flat = verts[:, :2] * (self.focal * inverse)[:, None] + self.center
        return np.column_stack([flat, np.where(is_seen, inverse, -np.inf)])


@dataclass(frozen=True)
class Orthographic:
    """A camera to which things do not get smaller with their distance."""

    pixels_per_meter: float
    center: tuple[float, float]
    """Where the origin appears, x and y in pixels."""

    def project(self, verts: Array) -> Array:
        """See `Camera.project`; nearness is minus the depth."""
        return np.column_stack([verts[:, :2] * self.pixels_per_meter + self.center, -verts[:, 2]])


def render(
    meshes: Sequence[Mesh], camera: Camera, height: int, width: int, samples: int = 1
) -> Image:
    """Draw meshes, what is near before what is far; triangles seen from inside are not drawn.

    Args:
        meshes: Of any number of bodies.
        camera: `Perspective` or `Orthographic`.
        height: Of the image, in pixels.
        width: Likewise.
        samples: Smooths edges: each pixel is the mean of samples x samples points in it. The time
            is that of as many images.

    Returns:
        (H, W, 4) red, green, blue and alpha; alpha is 0 where there is no body.

    Raises:
        ValueError: A mesh holds NaN or infinity, or faces that are no triangles of its vertices.
    """
    rgba = np.zeros((height, width, 4), np.uint8)
    points, bright, faces, colors = _triangles(meshes, camera)
    left, top, right, bottom = _bounds(points, faces, height, width)
    size = (bottom - top, right - left)
    shifts = list(product((np.arange(samples) + 0.5) / samples - 0.5, repeat=2))
    drawn = (
        _drawn(rasterize(points - [left + x, top + y, 0], bright, faces, *size), colors)
        for x, y in shifts
    )
    hit, found = next(drawn) if samples == 1 else _summed(drawn, size[0] * size[1])
    found[:, :3] *= 255 / found[:, 3:]
    found[:, 3] *= 255 / len(shifts)
    row, column = np.divmod(hit, max(size[1], 1))
    rgba.reshape(-1, 4)[(top + row) * width + left + column] = np.rint(found).astype(np.uint8)
    return rgba


def _drawn(raster: Raster, colors: Array) -> tuple[Array, Array]:
    """Pixels (R,) in which there is a triangle, and its shaded color and 1 there (R, 4)."""
    face, value = raster.face.ravel(), raster.value.ravel()
    seen = np.flatnonzero(face != NOTHING)
    drawn = colors[face[seen]]
    drawn[:, :3] *= value[seen, None]
    return seen, drawn


def _summed(drawn: Iterator[tuple[Array, Array]], num_pixels: int) -> tuple[Array, Array]:
    """Add up what several rasters have in each pixel: pixels (m,) and sums (m, 4)."""
    total, is_hit = np.zeros((num_pixels, 4), np.float32), np.zeros(num_pixels, bool)
    for seen, colors in drawn:
        total[seen] += colors
        is_hit[seen] = True
    hit = np.flatnonzero(is_hit)
    return hit, total[hit]


def paint_over(picture: Image, rgba: Image, opacity: float = 1.0) -> Image:
    """Lay what `render` drew over a picture.

    Args:
        picture: (H, W, 3) red, green, blue; left as it is.
        rgba: (H, W, 4).
        opacity: From 0, which leaves the picture, to 1.

    Returns:
        (H, W, 3).

    Raises:
        ValueError: The two have different sizes, or the picture has no three channels of 8 bits.
    """
    if picture.shape != (*rgba.shape[:2], 3) or picture.dtype != np.uint8:
        raise ValueError(
            f"the picture is {picture.shape} of {picture.dtype}, expected {(*rgba.shape[:2], 3)} "
            "of uint8: red, green and blue, as large as what is laid over it"
        )
    painted = picture.reshape(-1, 3).copy()
    over = rgba.reshape(-1, 4)
    hit = np.flatnonzero(over[:, 3])
    share = over[hit, 3:] * (opacity / 255)
    painted[hit] = np.rint(painted[hit] * (1 - share) + over[hit, :3] * share)
    return painted.reshape(picture.shape)


def shade(normals: Array) -> Array:
    """Brightness (V,) from 0 to 1 of vertices with normals (V, 3) of any length."""
    lengths = np.linalg.norm(normals, axis=1).clip(1e-12)
    diffuse = (normals @ (LIGHT / np.linalg.norm(LIGHT)) / lengths).clip(0)
    return (AMBIENT + (BRIGHTEST - AMBIENT) * diffuse).clip(0, 1)


def area_normals(verts: Array, faces: Array) -> Array:
    """Outward normals (V, 3) of vertices (V, 3): sums over their triangles, by twice their area."""
    flat = np.ascontiguousarray(verts.T)
    corners = np.ascontiguousarray(faces.T)
    a, b, c = (np.take(flat, corner, axis=1) for corner in corners)  # each (3, M)
    (ux, uy, uz), (vx, vy, vz) = b - a, c - a
    normals = uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx
    owners = faces.ravel()
    sums = [np.bincount(owners, np.repeat(n, 3), minlength=len(verts)) for n in normals]
    return np.stack(sums, axis=1)


def _triangles(meshes: Sequence[Mesh], camera: Camera) -> tuple[Array, ...]:
    """All bodies as one: points (V, 3), brightness (V,), faces (M, 3), and (M, 4) colors and 1.

    Only triangles that turn their outside to the camera.
    """
    points, bright = [np.empty((0, 3))], [np.empty(0)]
    faces: list[Array] = [np.empty((0, 3), np.int64)]
    colors = [np.empty((0, 4), np.float32)]
    num_verts = 0
    for mesh in meshes:
        _check(mesh)
        projected = camera.project(mesh.verts)
        visible = mesh.faces[_is_visible(projected, mesh.faces)]
        points.append(projected)
        normals = mesh.normals
        bright.append(shade(area_normals(mesh.verts, mesh.faces) if normals is None else normals))
        faces.append(visible + num_verts)
        colors.append(np.tile(np.array([*mesh.color, 1], np.float32), (len(visible), 1)))
        num_verts += len(projected)
    return tuple(np.concatenate(parts) for parts in (points, bright, faces, colors))


def _is_visible(points: Array, faces: Array) -> Array:
    """Whether triangles of points (V, 3) turn their outside to a camera before them (M,)."""
    x, y = points[:, 0].copy(), points[:, 1].copy()
    a, b, c = np.ascontiguousarray(faces.T)
    is_before = np.isfinite(points[:, 2])
    ux, uy, vx, vy = x[b] - x[a], y[b] - y[a], x[c] - x[a], y[c] - y[a]
    return (ux * vy < uy * vx) & is_before[a] & is_before[b] & is_before[c]


def _bounds(points: Array, faces: Array, height: int, width: int) -> tuple[int, int, int, int]:
    """Left, top, right and bottom pixels of the image between which triangles (M, 3) lie."""
    if not len(faces):
        return 0, 0, 0, 0
    is_used = np.zeros(len(points), bool)
    is_used[faces] = True
    flat = points[is_used, :2]
    edges = np.floor(flat.min(axis=0)), np.ceil(flat.max(axis=0))
    (left, top), (right, bottom) = (edge.clip(0, [width, height]) for edge in edges)
    return int(left), int(top), int(right), int(bottom)


def _check(mesh: Mesh) -> None:
    if not np.isfinite(mesh.verts).all():
        raise ValueError(f"vertices {mesh.verts.shape} hold NaN or infinity: nothing can be drawn")
    highest = int(mesh.faces.max(initial=-1))
    if mesh.faces.shape[1:] != (3,) or highest >= len(mesh.verts) or mesh.faces.min(initial=0) < 0:
        raise ValueError(
            f"faces {mesh.faces.shape} that name vertex {highest} of {len(mesh.verts)}: expected "
            "(number, 3) vertices of this mesh"
        )
