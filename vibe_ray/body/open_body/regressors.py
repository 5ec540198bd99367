"""How do joints follow from the finished mesh? SMPL's, and the ones that data sets mark.

Shapes: S body shapes, V vertices, J = 24 joints.
"""

import numpy as np
from scipy.optimize import nnls

from vibe_ray.body.open_body.shapes import ShapeSamples
from vibe_ray.body.open_body.surface import set_symmetric
from vibe_ray.body.skeletons import EXTRA_JOINTS, H36M_17, SMPL_JOINTS, SMPL_MIRROR, SMPL_PARENTS

_NUM_FITTED = 120
_NUM_CANDIDATES = 260
_SUM_TO_ONE = 30.0
_SPREAD = 2e-2
# Weights this far below the largest are dropped, and the rest fitted again.
_NEGLIGIBLE = 2e-3
_BANDED = ("pelvis", "spine1", "spine2", "spine3", "neck")

_EXTRA_SOURCES = {
    "Right Hip (LSP)": "rhip", "Left Hip (LSP)": "lhip", "Neck (LSP)": "neck",
    "Top of Head (LSP)": "headtop", "Pelvis (MPII)": "hip", "Thorax (MPII)": "thorax",
    "Spine (H36M)": "spine", "Jaw (H36M)": "jaw", "Head (H36M)": "head",
}  # fmt: skip
# Human3.6M's neck is the thorax, its "Head" the face and its head top the middle of the skull.
_H36M_SOURCES = {
    "Spine (H36M)": "spine", "neck": "thorax", "Head (H36M)": "jaw", "headtop": "head",
    **{f"{side[0]}{joint}": f"{side}_{joint}"
       for side in ("left", "right")
       for joint in ("knee", "ankle", "shoulder", "elbow", "wrist")},
}  # fmt: skip


def joint_regressor(samples: ShapeSamples, weights: np.ndarray, mirror: np.ndarray) -> np.ndarray:
    """Fit `J_regressor` (J, V) to the first half of the samples.

    Args:
        samples: T-poses of many shapes.
        weights: Skin weights (V, J).
        mirror: Each vertex's mirror image (V,).
    """
    mean, centers = samples.verts.mean(axis=0), samples.joints.mean(axis=0)
    half = len(samples.verts) // 2
    chosen = np.arange(0, half, max(1, half // _NUM_FITTED))
    shapes, joints = samples.verts[chosen].astype(float), samples.joints[chosen]
    regressor = np.zeros((len(SMPL_JOINTS), len(mean)))
    for joint, other in enumerate(SMPL_MIRROR):
        if other < joint:
            continue
        near = _candidates(joint, mean, centers[joint], weights)
        if other == joint:
            near = np.unique(np.concatenate([near, mirror[near]]))
        fitted = _fit(shapes[:, near], joints[:, joint])
        set_symmetric(regressor, joint, near, fitted, mirror)
    return regressor


def held_out_error(samples: ShapeSamples, regressor: np.ndarray) -> np.ndarray:
    """Distances (S, J) in meters between fitted and true joints, on the second half."""
    chosen = slice(len(samples.verts) // 2, None, 5)
    fitted = np.einsum("jv,svc->sjc", regressor, samples.verts[chosen])
    return np.linalg.norm(fitted - samples.joints[chosen], axis=-1)


def marked_joints(
    regressor: np.ndarray, left_hip: np.ndarray, landmarks: dict[str, int], mirror: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Compose the joints that data sets mark from SMPL's joints and landmarks.

    Args:
        regressor: SMPL's joints (J, V).
        left_hip: The anatomical hip's weights (V,): wider and higher than SMPL's hip.
        landmarks: Vertices by name.
        mirror: Each vertex's mirror image (V,).

    Returns:
        The rows of `EXTRA_JOINTS` (9, V) and of `H36M_17` (17, V).
    """
    rows = dict(zip(SMPL_JOINTS, regressor, strict=True))
    points = {name: np.eye(1, len(mirror), vertex)[0] for name, vertex in landmarks.items()}
    base_of_neck = (points["sternal_notch"] + points["c7"]) / 2
    right_hip = left_hip[mirror]
    rows |= {
        "lhip": left_hip,
        "rhip": right_hip,
        "hip": (left_hip + right_hip) / 2,
        "thorax": 0.85 * (rows["left_shoulder"] + rows["right_shoulder"]) / 2 + 0.15 * base_of_neck,
        "neck": (points["sternal_notch"] + points["c7"] + rows["neck"]) / 3,
        "jaw": 0.6 * points["chin"] + 0.4 * points["nose"],
        "head": 0.8 * points["head_top"] + 0.2 * rows["head"],
        "spine": 0.5 * rows["spine1"] + 0.5 * rows["spine2"],
        "headtop": points["head_top"],
    }
    return (
        np.stack([rows[_EXTRA_SOURCES[name]] for name in EXTRA_JOINTS]),
        np.stack([rows[_H36M_SOURCES.get(name, name)] for name in H36M_17]),
    )


def _candidates(
    joint: int, mean: np.ndarray, center: np.ndarray, weights: np.ndarray
) -> np.ndarray:
    """The vertices around a joint: where its skin blends into its parent's, or close by."""
    if SMPL_JOINTS[joint] in _BANDED:
        in_band = np.abs(mean[:, 1] - center[1]) < 0.045
        return np.flatnonzero(in_band & (np.abs(mean[:, 0]) < 0.2))
    shared = np.minimum(weights[:, joint], weights[:, SMPL_PARENTS[joint]])
    distance = np.linalg.norm(mean - center, axis=1)
    near = np.flatnonzero((shared > 0.02) | (distance < 0.06))
    return near[np.argsort(distance[near])[:_NUM_CANDIDATES]]


def _fit(verts: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Sparse non-negative weights (C,), summing to one, that average (S, C, 3) to points (S, 3)."""
    num_candidates = verts.shape[1]
    target = points.reshape(-1)
    strength = _SUM_TO_ONE * np.sqrt(len(target))
    system = np.vstack(
        [
            verts.transpose(0, 2, 1).reshape(-1, num_candidates),
            strength * np.ones((1, num_candidates)),
            _SPREAD * np.eye(num_candidates),
        ]
    )
    target = np.concatenate([target, [strength], np.zeros(num_candidates)])
    weights, _ = nnls(system, target, maxiter=20 * num_candidates)
    for _ in range(2):
        kept = weights > _NEGLIGIBLE * weights.max()
        refitted, _ = nnls(system[:, kept], target, maxiter=20 * num_candidates)
        weights = np.zeros(num_candidates)
        weights[kept] = refitted
    return weights / weights.sum()
