"""What of a motion does the discriminator look at?

As released, the axis-angles of the body's joints: neither heading nor shape nor camera may betray
a fake. Two things can be had beside that.

6D instead of axis-angle, which has no jump at half a turn and no two names for one rotation.

The root's rotation since the window's first frame, seen from the body itself, R[0]^T R[t].
Captured motion stands in the axes of a world whose y points up, generated motion in those of a
camera; a camera that stands still turns R[0] and R[t] by the same rotation, which cancels, and what
is left is the same whatever the camera. One that moves adds its own turns. Since the first frame,
not since the frame before: that is as large as the joints' rotations are (over 16 frames of motion
capture a root mean square of 0.26 rad, 0.28 for joints about their mean; 0.04 between frames), and
a network sees it without being told a scale. How fast the root travels is not shown: a
weak-perspective camera does not tell how far away a body is.

Shapes: any leading dimensions (...), T frames, P numbers of a frame.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from vibe_ray.body.params import split_pose
from vibe_ray.body.skeletons import SMPL_JOINTS
from vibe_ray.geometry.rotations import (
    axis_angle_to_rotmat,
    rotmat_to_axis_angle,
    rotmat_to_rot6d,
)

Form = Literal["axis_angle", "rot6d"]


@dataclass(frozen=True, kw_only=True)
class MotionView:
    """Makes the discriminator's input of motion, captured or generated, in its precision."""

    pose: Form = "axis_angle"
    root_motion: bool = False

    @property
    def width(self) -> int:
        """Numbers of a frame, P."""
        num_joints = len(SMPL_JOINTS) if self.root_motion else len(SMPL_JOINTS) - 1
        return num_joints * (3 if self.pose == "axis_angle" else 6)

    def of_pose(self, pose: Tensor) -> Tensor:
        """View poses (..., T, 72) as captured, whose axis-angles are taken as they are stored.

        Returns:
            (..., T, P).
        """
        root, body = split_pose(pose)
        if self.pose == "rot6d":
            body = self._in_form(axis_angle_to_rotmat(body.unflatten(-1, (-1, 3))))
        return self._joined(axis_angle_to_rotmat(root), body) if self.root_motion else body

    def of_rotmat(self, rotmat: Tensor) -> Tensor:
        """View rotations (..., T, 24, 3, 3) as generated.

        Returns:
            (..., T, P).
        """
        body = self._in_form(rotmat[..., 1:, :, :])
        return self._joined(rotmat[..., 0, :, :], body) if self.root_motion else body

    def _in_form(self, rotmat: Tensor) -> Tensor:
        """Turn (..., joints, 3, 3) into (..., numbers)."""
        convert = rotmat_to_axis_angle if self.pose == "axis_angle" else rotmat_to_rot6d
        return convert(rotmat).flatten(-2)

    def _joined(self, root: Tensor, body: Tensor) -> Tensor:
        """Put what has become of the root (..., T, 3, 3) before the body."""
        since_first = root[..., :1, :, :].mT @ root
        return torch.cat([self._in_form(since_first[..., None, :, :]), body], dim=-1)
