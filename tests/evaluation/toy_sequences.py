"""Sequences with random bodies, and a network that knows what to answer."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vibe_ray.body.joints import BodyJoints
from vibe_ray.body.model import BodyArrays
from vibe_ray.body.params import SmplParams, pose_to_rotmat
from vibe_ray.body.skeletons import KEYPOINTS
from vibe_ray.data.schema import PoseSequence

MakeSequence = Callable[..., PoseSequence]


class Noise:
    """A network that answers with the poses it was given as features, and remembers its calls."""

    def __init__(self) -> None:
        self.shapes: list[tuple[int, ...]] = []

    def __call__(self, features: Tensor) -> SmplParams:
        self.shapes.append(tuple(features.shape))
        pose, betas, cam = features[..., :85].split([72, 10, 3], dim=-1)
        return SmplParams(pose_to_rotmat(pose), betas, cam)


def sequence_maker(body: BodyArrays) -> MakeSequence:
    """Make a sequence whose features are noisy parameters, for `Noise` to hand back."""
    keypoints = BodyJoints.keypoints(body)

    def make(num_frames: int, seed: int = 0, noise: float = 0.1, **changes: Any) -> PoseSequence:
        rng = np.random.default_rng(seed)
        pose = np.cumsum(rng.normal(0, 0.03, (num_frames, 72)), axis=0) + rng.normal(0, 0.2, 72)
        betas = np.repeat(rng.normal(0, 1, (1, 10)), num_frames, axis=0)
        theta = np.concatenate([pose, betas, np.zeros((num_frames, 3))], axis=1)
        features = theta + noise * rng.normal(size=theta.shape)
        rotmat = pose_to_rotmat(torch.tensor(pose, dtype=torch.float32))
        kp_3d = keypoints(torch.tensor(betas, dtype=torch.float32), rotmat).numpy()
        fields: dict[str, Any] = {
            "dataset": "toy",
            "sequence": f"walk_{seed}",
            "person": "0",
            "fps": 30.0,
            "encoder_id": "none",
            "features": features.astype(np.float32),
            "kp_2d": kp_3d[..., :2],
            "kp_2d_conf": np.ones((num_frames, len(KEYPOINTS)), np.float32),
            "kp_3d": kp_3d + np.float32([0.3, -0.2, 4.0]),
            "has_kp_3d": np.ones(num_frames, bool),
            "pose": pose.astype(np.float32),
            "betas": betas.astype(np.float32),
            "has_smpl": np.ones(num_frames, bool),
            "valid": np.ones(num_frames, bool),
        }
        return PoseSequence(**(fields | changes))

    return make
