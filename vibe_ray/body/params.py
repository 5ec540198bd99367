"""What describes one body: its rotations, its shape and the camera that sees it.

The one place that knows how poses are packed: 72 numbers, axis-angle, root first.

Shapes: any leading dimensions (...), 24 joints.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from vibe_ray.body.skeletons import SMPL_JOINTS, SMPL_MIRROR
from vibe_ray.geometry.rotations import axis_angle_to_rotmat, rotmat_to_axis_angle

NUM_CAM = 3
ROOT_DIM = 3


@dataclass(frozen=True)
class SmplParams:
    """Bodies with their cameras. All three share their leading dimensions."""

    rotmat: Tensor
    """Rotation of each joint relative to its parent, root first (..., 24, 3, 3)."""
    betas: Tensor
    """Shape (..., 10), in standard deviations."""
    cam: Tensor
    """Weak-perspective camera of the crop (..., 3): s, tx, ty."""

    @property
    def pose(self) -> Tensor:
        """The rotations as axis-angle (..., 72)."""
        return rotmat_to_axis_angle(self.rotmat).flatten(-2)

    def map(self, fn: Callable[[Tensor], Tensor]) -> "SmplParams":
        """Apply `fn` to each tensor, as to move, cut or detach all of them."""
        return SmplParams(fn(self.rotmat), fn(self.betas), fn(self.cam))

    @classmethod
    def joined(cls, pieces: Iterable["SmplParams"]) -> "SmplParams":
        """Put pieces together that follow one another in their first dimension."""
        parts = list(pieces)
        return cls(
            rotmat=torch.cat([part.rotmat for part in parts]),
            betas=torch.cat([part.betas for part in parts]),
            cam=torch.cat([part.cam for part in parts]),
        )


def pose_to_rotmat(pose: Tensor) -> Tensor:
    """Turn axis-angle poses (..., 72) into matrices (..., 24, 3, 3)."""
    return axis_angle_to_rotmat(pose.unflatten(-1, (len(SMPL_JOINTS), 3)))


def split_pose(pose: Tensor) -> tuple[Tensor, Tensor]:
    """Split poses (..., 72) into root_orient (..., 3) and body_pose (..., 69)."""
    return pose[..., :ROOT_DIM], pose[..., ROOT_DIM:]


def mirror_pose(pose: Tensor) -> Tensor:
    """Mirror poses (..., 72) in the body's plane of symmetry: left becomes right.

    The mirror is x -> -x, so a rotation keeps its x and turns its y and z around.
    """
    joints = pose.unflatten(-1, (len(SMPL_JOINTS), 3))[..., SMPL_MIRROR, :]
    return torch.cat([joints[..., :1], -joints[..., 1:]], dim=-1).flatten(-2)
