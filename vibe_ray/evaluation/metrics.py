"""How far is a predicted motion from the true one? Every function returns one number per frame.

Joints are in meters and already centered (`center_on_hips`, `center_on`); numbers come out in the
unit that the name carries. Means over frames are the evaluator's business, since only it knows
which frames count.

Shapes: T frames in time order, K joints, V vertices, ... any leading dimensions, (...) one number
for each of them.
"""

import torch
from torch import Tensor

from vibe_ray.body.skeletons import COMMON_14, indices
from vibe_ray.geometry.alignment import procrustes_align

MM_PER_METER = 1000.0
PCK_THRESHOLD_MM = 150.0
"""MPI-INF-3DHP's threshold: about half the size of a head."""
AUC_NUM_THRESHOLDS = 31
"""0, 5, ... 150 mm, as in MPI-INF-3DHP's evaluation script."""

_HIPS = indices(("rhip", "lhip"), COMMON_14)


def center_on_hips(joints: Tensor) -> Tensor:
    """Put the origin of each frame into the middle of its hips: (..., 14, 3), order `COMMON_14`."""
    return center_on(joints, _HIPS)


def center_on(joints: Tensor, rows: list[int]) -> Tensor:
    """Put the origin of each frame into the middle of some of its joints (..., K, 3)."""
    return joints - joints[..., rows, :].mean(dim=-2, keepdim=True)


def mpjpe_mm(joints: Tensor, target: Tensor) -> Tensor:
    """Mean distance of joints (..., K, 3) from their targets: (...) in millimeters."""
    return _distances_mm(joints, target).mean(dim=-1)


def pa_mpjpe_mm(joints: Tensor, target: Tensor) -> Tensor:
    """MPJPE after the best similarity (Procrustes) of each frame: (..., K, 3) -> (...)."""
    return mpjpe_mm(procrustes_align(joints, target), target)


def pve_mm(verts: Tensor, target: Tensor) -> Tensor:
    """Mean distance of vertices (..., V, 3) from their targets: (...) in millimeters.

    Not centered and not aligned, as in VIBE's evaluation: both meshes stand at the body model's own
    origin, near the pelvis.
    """
    return _distances_mm(verts, target).mean(dim=-1)


def accel_mm_per_frame2(joints: Tensor) -> Tensor:
    """Size of the predicted acceleration, VIBE's ACCEL: (..., T, K, 3) -> (..., T - 2).

    A second difference in millimeters per frame squared; the paper prints mm/s^2, but no frame
    rate enters. Small means smooth, not right: a motionless body scores 0.
    """
    return MM_PER_METER * _second_difference(joints).norm(dim=-1).mean(dim=-1)


def accel_error_mm_per_frame2(joints: Tensor, target: Tensor) -> Tensor:
    """Distance of the predicted acceleration from the true one: (..., T, K, 3) -> (..., T - 2)."""
    return accel_mm_per_frame2(joints - target)


def pck_percent(joints: Tensor, target: Tensor, threshold_mm: float = PCK_THRESHOLD_MM) -> Tensor:
    """Percentage of joints (..., K, 3) nearer to their target than a threshold: (...)."""
    near = _distances_mm(joints, target) < threshold_mm
    return 100.0 * near.to(joints.dtype).mean(dim=-1)


def auc_percent(joints: Tensor, target: Tensor) -> Tensor:
    """Mean of PCK over 31 thresholds from 0 to 150 mm: (..., K, 3) -> (...).

    No joint is nearer than 0 mm, so a perfect prediction scores 30 / 31, as in the original script.
    """
    thresholds = torch.linspace(
        0.0, PCK_THRESHOLD_MM, AUC_NUM_THRESHOLDS, dtype=joints.dtype, device=joints.device
    )
    near = _distances_mm(joints, target)[..., None] < thresholds  # (..., K, 31)
    return 100.0 * near.to(joints.dtype).mean(dim=(-2, -1))


def _distances_mm(points: Tensor, target: Tensor) -> Tensor:
    """Distances (..., K) of points (..., K, 3)."""
    return MM_PER_METER * (points - target).norm(dim=-1)


def _second_difference(joints: Tensor) -> Tensor:
    """Second differences (..., T - 2, K, 3) along time of joints (..., T, K, 3)."""
    return joints[..., 2:, :, :] - 2.0 * joints[..., 1:-1, :, :] + joints[..., :-2, :, :]
