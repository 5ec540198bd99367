"""How do adults differ? Ten betas: the principal components of many sampled shapes.

Shapes: S sampled bodies, V vertices, F triangles, J = 24 joints.
"""

from dataclasses import dataclass

import numpy as np

from vibe_ray.body.open_body.makehuman import Phenotype
from vibe_ray.body.open_body.rest_pose import TPoser
from vibe_ray.body.skeletons import NUM_BETAS


@dataclass(frozen=True)
class ShapeSamples:
    """T-poses of sampled bodies."""

    verts: np.ndarray
    """(S, V, 3), float32."""
    joints: np.ndarray
    """(S, J, 3)."""


def adult_phenotypes(num: int, seed: int) -> list[Phenotype]:
    """Draw the sliders of adults; the same ones for the same seed."""
    rng = np.random.default_rng(seed)
    return [_adult(rng) for _ in range(num)]


def _adult(rng: np.random.Generator) -> Phenotype:
    def around_middle(spread: float) -> float:
        return float(np.clip(rng.normal(0.5, spread), 0, 1))

    gender = rng.choice([0.0, 1.0]) if rng.random() < 0.8 else rng.random()
    return Phenotype(
        gender=float(np.clip(gender + rng.normal(0, 0.08), 0, 1)),
        age=float(np.clip(0.5 + 0.38 * rng.beta(1.2, 2.2), 0.5, 0.9)),
        muscle=around_middle(0.2),
        weight=around_middle(0.2),
        height=around_middle(0.04),
        proportions=around_middle(0.2),
        race=tuple(rng.dirichlet((0.7, 0.7, 0.7))),
        cup=around_middle(0.10),
        firmness=around_middle(0.10),
    )


def sample_shapes(poser: TPoser, phenotypes: list[Phenotype], kept: np.ndarray) -> ShapeSamples:
    """Pose each phenotype, on the vertices that the thinned mesh keeps (V,)."""
    posed = [poser.pose(poser.makehuman.shape(phenotype)) for phenotype in phenotypes]
    verts = np.array([verts[kept].astype(np.float32) for verts, _ in posed])
    return ShapeSamples(verts, np.array([joints for _, joints in posed]))


def shape_space(samples: ShapeSamples, triangles: np.ndarray) -> tuple[np.ndarray, float]:
    """Find the betas' directions (V, 3, 10), scaled so that each beta is N(0, 1) over the samples.

    Vertices count by the area around them. The first direction is signed to make the body taller,
    the others to make it wider.

    Returns:
        The directions, and the share of the variance that they explain.
    """
    mean = samples.verts.mean(axis=0)
    area = _vertex_area(mean, triangles)
    importance = np.sqrt(np.clip(area / area.mean(), 0.05, 6)).repeat(3)
    centered = (samples.verts - mean).reshape(len(samples.verts), -1).astype(np.float64)
    centered *= importance
    variances, scores = np.linalg.eigh(centered @ centered.T)  # ascending
    variances, scores = variances[::-1], scores[:, ::-1]
    scaled = centered.T @ scores[:, :NUM_BETAS] / np.sqrt(len(centered) - 1)
    directions = (scaled / importance[:, None]).reshape(*mean.shape, NUM_BETAS)
    directions *= _signs(mean, directions, triangles, area)
    return directions, float(variances[:NUM_BETAS].sum() / variances.sum())


def _signs(
    mean: np.ndarray, directions: np.ndarray, triangles: np.ndarray, area: np.ndarray
) -> np.ndarray:
    growth = np.ptp((mean + directions[..., 0])[:, 1]) - np.ptp(mean[:, 1])
    outward = np.einsum("vc,vcn,v->n", _normals(mean, triangles), directions, area)
    signs = np.where(outward < 0, -1.0, 1.0)
    signs[0] = -1.0 if growth < 0 else 1.0
    return signs


def _face_normals(verts: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """Normals (F, 3) whose length is twice the triangle's area."""
    corners = verts[triangles]
    return np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])


def _normals(verts: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    normals = np.zeros_like(verts)
    for corner in range(3):
        np.add.at(normals, triangles[:, corner], _face_normals(verts, triangles))
    return normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)


def _vertex_area(verts: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """A third of the triangles around each vertex (V,)."""
    size = np.linalg.norm(_face_normals(verts, triangles), axis=1) / 2
    area = np.zeros(len(verts))
    for corner in range(3):
        np.add.at(area, triangles[:, corner], size / 3)
    return area
