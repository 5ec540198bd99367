"""What do labels say in the units of the networks? By VIBE's 49 names, and relative to the box.

The step from labels to pose shards that no encoder takes part in.

Shapes: N frames, L labelled key-points, K = 49.
"""

from collections.abc import Sequence

import numpy as np
import torch

from vibe_ray.body.skeletons import COMMON_14, KEYPOINTS, conversion
from vibe_ray.data.labels import LabelledSequence
from vibe_ray.geometry.arrays import Array
from vibe_ray.geometry.cameras import pixels_to_crop


def pose_targets(labels: LabelledSequence) -> dict[str, Array]:
    """Return all arrays of a pose sequence save its features.

    In a frame without a box the person is not seen: nothing of it is known, and it does not count.
    What is not known is 0.

    Raises:
        ValueError: None of the 2D key-points is one of the 49, or 3D key-points lack one of those
            on which 3D is supervised and evaluated.
    """
    shown = labels.box[:, 2] > 0
    kp_2d, kp_2d_conf = _kp_2d(labels, shown)
    has_kp_3d, has_smpl = labels.has_kp_3d & shown, labels.has_smpl & shown
    return {
        "kp_2d": kp_2d,
        "kp_2d_conf": kp_2d_conf,
        "kp_3d": _kp_3d(labels, has_kp_3d),
        "has_kp_3d": has_kp_3d,
        "pose": np.where(has_smpl[:, None], labels.pose, np.float32(0)),
        "betas": np.where(has_smpl[:, None], labels.betas, np.float32(0)),
        "has_smpl": has_smpl,
        "valid": labels.valid & shown,
    }


def _kp_2d(labels: LabelledSequence, shown: Array) -> tuple[Array, Array]:
    """Key-points (N, K, 2) with the box being [-1, 1], and weights (N, K)."""
    targets, sources = conversion(labels.names.kp_2d, KEYPOINTS)
    if labels.names.kp_2d and not targets:
        raise ValueError(
            f"{labels.sequence}: none of the key-points {_some(labels.names.kp_2d)} is one of the "
            f"49, such as {_some(KEYPOINTS[25:])}: call them as `body/skeletons.py` does"
        )
    N, K = labels.num_frames, len(KEYPOINTS)
    kp_2d, conf = np.zeros((N, K, 2), np.float32), np.zeros((N, K), np.float32)
    conf[:, targets] = labels.kp_2d_conf[:, sources] * shown[:, None]
    box = np.where(shown[:, None], labels.box, np.float32(1))
    crop = pixels_to_crop(torch.tensor(labels.kp_2d), torch.tensor(box)).numpy()
    kp_2d[:, targets] = crop[:, sources]
    return np.where(conf[..., None] > 0, kp_2d, np.float32(0)), conf


def _kp_3d(labels: LabelledSequence, known: Array) -> Array:
    """Key-points (N, K, 3); zero where they are not known."""
    if known.any() and (missing := [n for n in COMMON_14 if n not in labels.names.kp_3d]):
        raise ValueError(
            f"{labels.sequence}: no {', '.join(missing)} among the 3D key-points "
            f"{_some(labels.names.kp_3d)}: 3D is supervised and evaluated on {', '.join(COMMON_14)}"
        )
    targets, sources = conversion(labels.names.kp_3d, KEYPOINTS)
    kp_3d = np.zeros((labels.num_frames, len(KEYPOINTS), 3), np.float32)
    kp_3d[:, targets] = labels.kp_3d[:, sources]
    return np.where(known[:, None, None], kp_3d, np.float32(0))


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
