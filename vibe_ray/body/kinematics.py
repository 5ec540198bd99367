"""Where are the bones, given the rotations? SMPL's rigid chain, without its skin.

Shapes: N bodies, J = 24 joints. Rotations are relative to the parent going in, global coming out.
"""

import numpy as np
import torch
from torch import Tensor, nn

from vibe_ray.body.skeletons import SMPL_PARENTS

NUM_JOINTS = len(SMPL_PARENTS)


def _levels() -> list[range]:
    """The joints by distance from the root; SMPL numbers them so that a level is a range."""
    depth = [0] * NUM_JOINTS
    for joint, parent in enumerate(SMPL_PARENTS[1:], start=1):
        depth[joint] = depth[parent] + 1
    assert depth == sorted(depth), "a level of the skeleton must be contiguous"
    return [
        range(depth.index(level), depth.index(level) + depth.count(level))
        for level in range(1, max(depth) + 1)
    ]


def _is_ancestor() -> np.ndarray:
    """Which joints (J, J) stand between the root and a joint, itself included; rows are joints."""
    table = np.eye(NUM_JOINTS)
    for joint, parent in enumerate(SMPL_PARENTS[1:], start=1):
        table[joint] += table[parent]
    return table


class KinematicChain(nn.Module):
    """Poses the skeleton: global rotations and joint positions.

    Rotations are multiplied level by level (8 products, not 23), and positions are sums over the
    ancestors, one product with a 0/1 matrix. Nothing is read back from the device.
    """

    ancestors: Tensor
    offset: Tensor
    offset_dirs: Tensor
    parents: Tensor

    def __init__(self, joints: np.ndarray, joint_dirs: np.ndarray, dtype: torch.dtype) -> None:
        """Keep the bones of a body as constants.

        Args:
            joints: The template's joints (J, 3), float64, meters.
            joint_dirs: How each beta moves them (J, 3, 10), float64.
            dtype: Of the buffers.
        """
        super().__init__()
        parents = np.array(SMPL_PARENTS[1:])
        constants = {
            "offset": _to_parent(joints),
            "offset_dirs": _to_parent(joint_dirs).reshape(3 * NUM_JOINTS, -1).T,
            "ancestors": _is_ancestor(),
        }
        for name, constant in constants.items():
            self.register_buffer(name, torch.tensor(constant, dtype=dtype), persistent=False)
        self.register_buffer("parents", torch.from_numpy(parents), persistent=False)
        self._levels = _levels()
        previous = range(1)
        for depth, level in enumerate(self._levels):
            within = torch.tensor([SMPL_PARENTS[joint] - previous.start for joint in level])
            self.register_buffer(f"level_{depth}", within, persistent=False)
            previous = level

    def forward(self, betas: Tensor, rotmat: Tensor) -> tuple[Tensor, Tensor]:
        """Pose the skeletons of betas (N, 10) by rotmat (N, J, 3, 3).

        Returns:
            Global rotations (N, J, 3, 3) and joint positions (N, J, 3) in meters.
        """
        rotations = self._global_rotations(rotmat)
        offset = torch.addmm(self.offset.flatten(), betas, self.offset_dirs)
        offset = offset.unflatten(-1, (NUM_JOINTS, 3))
        turned = rotations.index_select(1, self.parents) @ offset[:, 1:, :, None]
        steps = torch.cat([offset[:, :1], turned.squeeze(-1)], dim=1)  # (N, J, 3)
        return rotations, self.ancestors @ steps

    def _global_rotations(self, rotmat: Tensor) -> Tensor:
        """Chain the rotations (N, J, 3, 3) from the root outwards."""
        done = [rotmat[:, :1]]
        for depth, level in enumerate(self._levels):
            parents = done[-1].index_select(1, self.get_buffer(f"level_{depth}"))
            done.append(parents @ rotmat[:, level.start : level.stop])
        return torch.cat(done, dim=1)


def _to_parent(points: np.ndarray) -> np.ndarray:
    """Joints' positions (J, 3, ...) relative to their parents; the root's stays as it is."""
    relative = points.copy()
    relative[1:] -= points[np.array(SMPL_PARENTS[1:])]
    return relative
