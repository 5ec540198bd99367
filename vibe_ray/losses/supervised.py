"""How far is the estimated body from what is known of it?

L_2D, L_3D and L_SMPL of VIBE Eq. 1: mean squared errors, as in the released code, unless
`losses.norm=distance` asks for means of norms; the paper writes sums of them. A new term is a
function here, a row of `_declared` and a weight in `weights.py`.

Shapes: B windows, T frames, J joints 24, K key-points 49.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from vibe_ray.body.params import SmplParams, pose_to_rotmat
from vibe_ray.body.skeletons import COMMON_14, KEYPOINTS, indices
from vibe_ray.data.batches import PoseBatch
from vibe_ray.geometry.cameras import project_weak_perspective
from vibe_ray.losses.masked import (
    Loss,
    distances,
    masked_distance,
    masked_squared_error,
    num_items,
    num_known,
)

_COMMON = indices(COMMON_14, KEYPOINTS)
_COMMON_BLOCK = slice(_COMMON[0], _COMMON[-1] + 1)
# A slice is a view; a list of numbers would be copied to the GPU, and waited for, at every step.
assert tuple(KEYPOINTS[_COMMON_BLOCK]) == COMMON_14
_RIGHT_HIP, _LEFT_HIP = indices(("rhip", "lhip"), COMMON_14)


@dataclass(frozen=True)
class Estimate:
    """What a generator makes of a batch of windows."""

    params: SmplParams
    """With leading dimensions (B, T)."""
    kp_3d: Tensor
    """Key-points of that body (B, T, K, 3), meters, camera axes."""
    kp_2d: Tensor
    """Their projection (B, T, K, 2), in [-1, 1] within the crop."""


def kp_2d(found: Estimate, known: PoseBatch) -> Tensor:
    """Squared reprojection error (L_2D), each key-point weighted by its confidence.

    As released: the confidence counts to its first power, and the mean runs over all frames and
    all 49 key-points, so that a frame with few visible key-points weighs less.
    """
    per_frame = known.kp_2d_conf * _off_2d(found, known).square().mean(dim=-1)  # (B, T, K)
    return per_frame.mean(dim=-1).sum()


def kp_2d_distance(found: Estimate, known: PoseBatch) -> Tensor:
    """Distance in the picture, weighted and averaged as `kp_2d` is."""
    per_frame = known.kp_2d_conf * distances(_off_2d(found, known), 1)
    return per_frame.mean(dim=-1).sum()


def _off_2d(found: Estimate, known: PoseBatch) -> Tensor:
    # Where nothing is known a target may be NaN: mask the difference, a zero times NaN is NaN.
    conf = known.kp_2d_conf.unsqueeze(-1)
    return torch.where(conf > 0, found.kp_2d - known.kp_2d, 0.0)


def kp_3d(found: Estimate, known: PoseBatch) -> Tensor:
    """Squared error (L_3D) of the 14 common joints, each side relative to its own mid-hip."""
    joints, target = _centered_common(found.kp_3d), _centered_common(known.kp_3d)
    return masked_squared_error(joints, target, known.has_kp_3d)


def kp_3d_distance(found: Estimate, known: PoseBatch) -> Tensor:
    """Distance of the same joints, meters."""
    joints, target = _centered_common(found.kp_3d), _centered_common(known.kp_3d)
    return masked_distance(joints, target, known.has_kp_3d, 1)


def pose(found: Estimate, known: PoseBatch) -> Tensor:
    """Squared difference of the entries of the rotation matrices, over 24 joints.

    The released code sends the estimate through axis-angle and back before comparing; this compares
    the estimated matrix itself, which has the same value and a gradient at every rotation.
    """
    return masked_squared_error(found.params.rotmat, pose_to_rotmat(known.pose), known.has_smpl)


def pose_distance(found: Estimate, known: PoseBatch) -> Tensor:
    """Frobenius norm of the difference of rotation matrices, mean over 24 joints.

    2.8 times the sine of half the angle between them, and so nearly the angle times the root of 2.
    """
    return masked_distance(found.params.rotmat, pose_to_rotmat(known.pose), known.has_smpl, 2)


def betas(found: Estimate, known: PoseBatch) -> Tensor:
    """Squared difference of the shape coefficients, in every frame as in the released code."""
    return masked_squared_error(found.params.betas, known.betas, known.has_smpl)


def _declared(
    of_kp_2d: Callable[..., Tensor], of_kp_3d: Callable[..., Tensor], of_pose: Callable[..., Tensor]
) -> tuple[Loss, ...]:
    return (
        Loss("generator/kp_2d", "kp_2d", of_kp_2d, lambda batch: num_items(batch.pose.has_smpl)),
        Loss("generator/kp_3d", "kp_3d", of_kp_3d, lambda batch: num_known(batch.pose.has_kp_3d)),
        Loss("generator/pose", "pose", of_pose, lambda batch: num_known(batch.pose.has_smpl)),
        Loss("generator/betas", "betas", betas, lambda batch: num_known(batch.pose.has_smpl)),
    )


SUPERVISED: Mapping[str, tuple[Loss, ...]] = {
    "squared": _declared(kp_2d, kp_3d, pose),
    "distance": _declared(kp_2d_distance, kp_3d_distance, pose_distance),
}
"""By `losses.norm`. Sums compare an `Estimate` with a `PoseBatch`; an item is a frame."""


def supervised_shares(
    losses: Sequence[Loss],
    counts: Mapping[str, Tensor],
    params: SmplParams,
    kp_3d: Tensor,
    known: PoseBatch,
) -> dict[str, Tensor]:
    """Return this rank's share of every supervised loss, by the loss's name.

    Args:
        losses: Of `SUPERVISED`.
        counts: As in `Loss.share`.
        params: Estimated (B, T).
        kp_3d: Key-points of those bodies (B, T, K, 3), meters, camera axes.
        known: What is known of them.
    """
    found = Estimate(params, kp_3d, project_weak_perspective(kp_3d, params.cam))
    return {loss.name: loss.share(counts, found, known) for loss in losses}


def _centered_common(kp_3d: Tensor) -> Tensor:
    common = kp_3d[..., _COMMON_BLOCK, :]  # (B, T, 14, 3)
    mid_hip = (common[..., _RIGHT_HIP, :] + common[..., _LEFT_HIP, :]) / 2
    return common - mid_hip.unsqueeze(-2)
