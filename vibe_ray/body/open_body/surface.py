"""How does a joint follow from the skin? As a spread, non-negative average of vertices.

Needed twice: MakeHuman's own joint markers drift off the skin under the height sliders (2 cm at
the knee), so its joints are first tied to the A-pose skin (here), and the T-pose's `J_regressor`
is fitted to the finished mesh (`regressors.py`).

Shapes: S body shapes, V vertices, J = 24 joints, C candidate vertices.
"""

from collections.abc import Sequence

import numpy as np
from scipy.optimize import nnls

from vibe_ray.body.open_body.makehuman import MakeHuman, Phenotype
from vibe_ray.body.open_body.rig import joint_centers
from vibe_ray.body.skeletons import SMPL_JOINTS, SMPL_MIRROR

_SUM_TO_ONE = 30.0
_SPREAD = 3e-3
_NEUTRAL_EMPHASIS = 3.0
_SHAPES = (
    Phenotype(),
    Phenotype(gender=1.0),
    Phenotype(gender=0.0),
    Phenotype(weight=0.8),
    Phenotype(weight=0.25),
    Phenotype(muscle=0.85),
    Phenotype(muscle=0.2),
    Phenotype(age=0.75),
    Phenotype(gender=1.0, weight=0.75, muscle=0.7),
    Phenotype(gender=0.0, weight=0.75, muscle=0.3),
    Phenotype(gender=1.0, weight=0.3),
    Phenotype(gender=0.0, weight=0.3),
)
"""Shapes of average height, which MakeHuman's markers fit."""


def spread_average(
    verts: np.ndarray, points: np.ndarray, emphasis: Sequence[float] | None = None
) -> np.ndarray:
    """Weights (C,), non-negative and summing to one, of the vertices whose average is a point.

    Args:
        verts: Candidates (S, C, 3).
        points: What they should average to (S, 3).
        emphasis: How much each shape matters (S,).
    """
    num_candidates = verts.shape[1]
    scale = np.ones(len(verts)) if emphasis is None else np.asarray(emphasis, float)
    fit = (verts.transpose(0, 2, 1) * scale[:, None, None]).reshape(-1, num_candidates)
    system = np.vstack(
        [
            fit,
            _SUM_TO_ONE * np.ones((1, num_candidates)),
            _SPREAD * np.sqrt(num_candidates) * np.eye(num_candidates),
        ]
    )
    wanted = (points * scale[:, None]).reshape(-1)
    target = np.concatenate([wanted, [_SUM_TO_ONE], np.zeros(num_candidates)])
    weights, _ = nnls(system, target, maxiter=60 * num_candidates)
    return weights / weights.sum()


def a_pose_regressor(makehuman: MakeHuman, mirror: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Tie SMPL's joints to MakeHuman's skin in A-pose.

    Returns:
        Weights (J, V), symmetric, and the distance (S, J) in meters from MakeHuman's markers.
    """
    shapes = np.array([makehuman.shape(phenotype) for phenotype in _SHAPES])
    joints = joint_centers(makehuman.bones(shapes))
    body = makehuman.group_verts["body"]
    emphasis = [_NEUTRAL_EMPHASIS, *[1.0] * (len(shapes) - 1)]
    regressor = np.zeros((len(SMPL_JOINTS), shapes.shape[1]))
    for joint, other in enumerate(SMPL_MIRROR):
        if other < joint:
            continue
        near = _candidates(shapes[0], joints[0, joint], body, SMPL_JOINTS[joint])
        if other == joint:
            near = np.unique(np.concatenate([near, mirror[near]]))
        weights = spread_average(shapes[:, near], joints[:, joint], emphasis)
        set_symmetric(regressor, joint, near, weights, mirror)
    return regressor, np.linalg.norm(regressor @ shapes - joints, axis=-1)


def set_symmetric(
    regressor: np.ndarray, joint: int, near: np.ndarray, weights: np.ndarray, mirror: np.ndarray
) -> None:
    """Write a joint's weights into the regressor (J, V), and its mirror image's."""
    regressor[joint, near] = weights
    other = SMPL_MIRROR[joint]
    if other == joint:
        regressor[joint, near] = 0.5 * weights
        np.add.at(regressor[joint], mirror[near], 0.5 * weights)
    else:
        regressor[other, mirror[near]] = weights


def _candidates(verts: np.ndarray, joint: np.ndarray, body: np.ndarray, name: str) -> np.ndarray:
    """The skin around a joint (3,)."""
    distance = np.linalg.norm(verts[body] - joint, axis=1)
    near = body[distance < max(0.09, 1.9 * np.sort(distance)[20])]
    if name.startswith(("spine", "pelvis", "neck")):
        # A band all round the trunk, not only the back, which is nearest.
        half_height = 0.035 if name == "neck" else 0.05
        in_band = np.abs(verts[body, 1] - joint[1]) < half_height
        near = body[in_band & (np.abs(verts[body, 0]) < 0.2)]
    if name == "head":
        near = near[verts[near, 1] < joint[1] + 0.08]
    return near
