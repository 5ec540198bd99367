"""How far is the estimated body from what is known of it?

L_2D, L_3D and L_SMPL of VIBE Eq. 1. All terms are mean squared errors, as in the released code; the
paper writes sums of norms.

Shapes: B windows, T frames, J joints 24, K key-points 49.
"""

import torch
from torch import Tensor

from vibe_ray.body.params import SmplParams, pose_to_rotmat
from vibe_ray.body.skeletons import COMMON_14, KEYPOINTS, indices
from vibe_ray.data.batches import PoseBatch
from vibe_ray.losses.masked import MaskedTerm, masked_squared_error, num_items, num_known

_COMMON = indices(COMMON_14, KEYPOINTS)
_COMMON_BLOCK = slice(_COMMON[0], _COMMON[-1] + 1)
# A slice is a view; a list of numbers would be copied to the GPU, and waited for, at every step.
assert tuple(KEYPOINTS[_COMMON_BLOCK]) == COMMON_14
_RIGHT_HIP, _LEFT_HIP = indices(("rhip", "lhip"), COMMON_14)


def supervised_terms(
    params: SmplParams, kp_3d: Tensor, kp_2d: Tensor, batch: PoseBatch
) -> dict[str, MaskedTerm]:
    """Compare a generator's output with a batch; terms are named as in `LossWeights`.

    Args:
        params: Estimated parameters with leading dimensions (B, T).
        kp_3d: Key-points of the estimated body (B, T, K, 3), meters.
        kp_2d: Their projection (B, T, K, 2), in [-1, 1] within the crop.
        batch: What is known, with masks.
    """
    return {
        "kp_2d": kp_2d_term(kp_2d, batch.kp_2d, batch.kp_2d_conf),
        "kp_3d": kp_3d_term(kp_3d, batch.kp_3d, batch.has_kp_3d),
        "pose": pose_term(params.rotmat, pose_to_rotmat(batch.pose), batch.has_smpl),
        "betas": betas_term(params.betas, batch.betas, batch.has_smpl),
    }


def supervised_counts(batch: PoseBatch) -> dict[str, Tensor]:
    """Return the counts of `supervised_terms`, which do not depend on any estimate."""
    has_smpl = num_known(batch.has_smpl)
    return {
        "kp_2d": num_items(batch.has_smpl),
        "kp_3d": num_known(batch.has_kp_3d),
        "pose": has_smpl,
        "betas": has_smpl,
    }


def kp_2d_term(kp_2d: Tensor, target: Tensor, conf: Tensor) -> MaskedTerm:
    """Squared reprojection error (L_2D), each key-point weighted by its confidence.

    As released: the confidence counts to its first power, and the mean runs over all frames and
    all 49 key-points, so that a frame with few visible key-points weighs less.

    Args:
        kp_2d: Projected key-points (B, T, K, 2), in [-1, 1] within the crop.
        target: Detected or annotated key-points (B, T, K, 2).
        conf: Confidence (B, T, K); 0 where a key-point is unknown.
    """
    # Where nothing is known a target may be NaN: mask the difference, a zero times NaN is NaN.
    difference = torch.where(conf.unsqueeze(-1) > 0, kp_2d - target, 0.0)
    per_frame = (conf.unsqueeze(-1) * difference.square()).mean(dim=(-2, -1))  # (B, T)
    return MaskedTerm(total=per_frame.sum(), count=num_items(per_frame))


def kp_3d_term(kp_3d: Tensor, target: Tensor, has_kp_3d: Tensor) -> MaskedTerm:
    """Squared error (L_3D) of the 14 common joints, each side relative to its own mid-hip.

    Args:
        kp_3d: Key-points of the estimated body (B, T, K, 3), meters.
        target: Known key-points (B, T, K, 3), meters, camera axes.
        has_kp_3d: Whether a frame has them (B, T).
    """
    return masked_squared_error(_centered_common(kp_3d), _centered_common(target), has_kp_3d)


def pose_term(rotmat: Tensor, target: Tensor, has_smpl: Tensor) -> MaskedTerm:
    """Squared difference of the entries of the rotation matrices, over 24 joints.

    The released code sends the estimate through axis-angle and back before comparing; this compares
    the estimated matrix itself, which has the same value and a gradient at every rotation.

    Args:
        rotmat: Estimated rotations (B, T, J, 3, 3).
        target: Known rotations (B, T, J, 3, 3).
        has_smpl: Whether a frame has SMPL parameters (B, T).
    """
    return masked_squared_error(rotmat, target, has_smpl)


def betas_term(betas: Tensor, target: Tensor, has_smpl: Tensor) -> MaskedTerm:
    """Squared difference of the shape coefficients, in every frame as in the released code.

    Args:
        betas: Estimated shape (B, T, 10).
        target: Known shape (B, T, 10).
        has_smpl: Whether a frame has SMPL parameters (B, T).
    """
    return masked_squared_error(betas, target, has_smpl)


def _centered_common(kp_3d: Tensor) -> Tensor:
    common = kp_3d[..., _COMMON_BLOCK, :]  # (B, T, 14, 3)
    mid_hip = (common[..., _RIGHT_HIP, :] + common[..., _LEFT_HIP, :]) / 2
    return common - mid_hip.unsqueeze(-2)
