"""Which single poses does the frame encoder learn from?

Frames of all training clips and of their mirror images, and new poses made of them: arms or legs
of one frame on the trunk of another, and every joint a little off. Motion is scarce, single poses
need not be.

Shapes: M frames in the pool, N frames drawn, J = 24.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from vibe_ray.body.params import mirror_pose
from vibe_ray.body.skeletons import SMPL_JOINTS, indices
from vibe_ray.data.schema import MotionSequence
from vibe_ray.data.synthetic.draws import normal
from vibe_ray.geometry.rotations import axis_angle_to_rotmat

ARMS = indices(
    [f"{s}_{j}" for s in ("left", "right") for j in ("shoulder", "elbow", "wrist", "hand")],
    SMPL_JOINTS,
)
LEGS = indices(
    [f"{s}_{j}" for s in ("left", "right") for j in ("hip", "knee", "ankle", "foot")], SMPL_JOINTS
)


@dataclass(frozen=True, kw_only=True)
class AugmentConfig:
    """How frames are varied."""

    mix_arms: float = 0.25
    mix_legs: float = 0.15
    """Probability that a frame's limbs come from another frame."""
    offset_rad: float = 0.05
    """Mean spread of a random turn of every joint; each frame's own is between 0 and twice it."""


NOT_AUGMENTED = AugmentConfig(mix_arms=0.0, mix_legs=0.0, offset_rad=0.0)
"""Poses as they were recorded, for held-out motion."""


class FramePool:
    """All poses of some motion, ready to draw from."""

    def __init__(self, motion: Sequence[MotionSequence], fps: float) -> None:
        """Collect frames.

        Args:
            motion: Clips.
            fps: Rate to which they are brought, so that none counts more for its frame rate.

        Raises:
            ValueError: There is no motion.
        """
        if not motion:
            raise ValueError("no motion to draw poses from")
        clips = [torch.as_tensor(clip.resampled(fps).pose).float() for clip in motion]
        poses = torch.cat([pose for clip in clips for pose in (clip, mirror_pose(clip))])
        self.rotmat = axis_angle_to_rotmat(poses.unflatten(-1, (len(SMPL_JOINTS), 3)))  # (M, J,...)
        # A clip counts as the root of its length: long clips repeat themselves.
        weight = torch.cat([torch.full((2 * len(c),), len(c) ** -0.5) for c in clips]).double()
        self._cumulative = (weight / weight.sum()).cumsum(0)

    def __len__(self) -> int:
        return len(self.rotmat)

    def draw(self, num: int, config: AugmentConfig, generator: torch.Generator) -> Tensor:
        """Draw world poses (num, J, 3, 3), varied by `config`."""
        rotmat = self.rotmat[self._frames(num, generator)]
        for joints, prob in ((ARMS, config.mix_arms), (LEGS, config.mix_legs)):
            other = self.rotmat[self._frames(num, generator)][:, joints]
            mixed = (torch.rand(num, generator=generator) < prob).view(-1, 1, 1, 1)
            rotmat[:, joints] = torch.where(mixed, other, rotmat[:, joints])
        size = 2 * config.offset_rad * torch.rand(num, 1, 1, generator=generator)
        offset = size * normal((num, len(SMPL_JOINTS), 3), generator)
        return rotmat @ axis_angle_to_rotmat(offset)

    def _frames(self, num: int, generator: torch.Generator) -> Tensor:
        draws = torch.rand(num, generator=generator, dtype=torch.float64)
        return torch.searchsorted(self._cumulative, draws).clamp(max=len(self) - 1)
