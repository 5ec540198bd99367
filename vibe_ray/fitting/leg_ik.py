"""Which angles of hip and knee put an ankle where it should be? In closed form, for all frames.

The knee bends until hip and ankle are as far apart as they should be, then the whole leg turns
about the hip by the smallest rotation that brings the ankle to its place. So a leg that is right
already is not touched, and the knee points where it pointed.

Shapes: any leading dimensions (...).
"""

from dataclasses import dataclass

import roma
import torch
from torch import Tensor

LONGEST = 0.999
"""Of a leg's length; a leg stretched out wholly would snap."""
_LATERAL = 0.05
"""Weight of the thigh's own axis beside the plane of a bent leg, which a straight one lacks."""


@dataclass(frozen=True)
class Legs:
    """Legs in the world: joints (..., 3) in meters, rotations (..., 3, 3) global."""

    hip: Tensor
    knee: Tensor
    ankle: Tensor
    thigh: Tensor
    """The hip joint's rotation, which carries the thigh."""
    shank: Tensor
    """The knee joint's rotation, which carries the shank."""

    @property
    def lengths(self) -> tuple[Tensor, Tensor]:
        """Of thigh and shank (...)."""
        return (self.knee - self.hip).norm(dim=-1), (self.ankle - self.knee).norm(dim=-1)

    def shortfall(self, target: Tensor) -> Tensor:
        """By how much (...) the hip must come down for the ankle to reach targets (..., 3)."""
        thigh, shank = self.lengths
        longest = LONGEST * (thigh + shank)
        to_hip = self.hip - target
        level = to_hip[..., 0].square() + to_hip[..., 2].square()
        return to_hip[..., 1] - (longest.square() - level).clamp(min=0).sqrt()


def reach(legs: Legs, target: Tensor) -> tuple[Tensor, Tensor]:
    """Turn legs until their ankles are at targets (..., 3), or as near as they get.

    Returns:
        The rotations of thigh and shank (..., 3, 3), global.
    """
    thigh_length, shank_length = legs.lengths
    along = (legs.knee - legs.hip) / thigh_length[..., None]
    shank = (legs.ankle - legs.knee) / shank_length[..., None]
    axis = torch.linalg.cross(along, shank) + _LATERAL * legs.thigh[..., 0]
    axis = axis - (axis * along).sum(dim=-1, keepdim=True) * along
    axis = axis / axis.norm(dim=-1, keepdim=True)
    ahead = torch.linalg.cross(axis, along)

    wanted = (target - legs.hip).norm(dim=-1)
    wanted = wanted.minimum(LONGEST * (thigh_length + shank_length))
    forward, down = (shank * ahead).sum(dim=-1), (shank * along).sum(dim=-1)
    turning = torch.hypot(forward, down)  # the part of the shank that turns about the axis
    cosine = (wanted.square() - thigh_length.square() - shank_length.square()) / (
        2 * thigh_length * shank_length * turning
    )
    angle = torch.atan2(forward, down)
    new_angle = cosine.clamp(-1, 1).arccos() * torch.where(angle < 0, -1.0, 1.0)
    bend = roma.rotvec_to_rotmat(axis * (new_angle - angle)[..., None])

    new_shank = (bend @ shank[..., None])[..., 0]
    reached = thigh_length[..., None] * along + shank_length[..., None] * new_shank
    swing = smallest_rotation(reached, target - legs.hip)
    return swing @ legs.thigh, swing @ bend @ legs.shank


def smallest_rotation(source: Tensor, target: Tensor) -> Tensor:
    """Rotation (..., 3, 3) that turns the direction of source (..., 3) into that of target."""
    source = source / source.norm(dim=-1, keepdim=True).clamp(min=1e-12)
    target = target / target.norm(dim=-1, keepdim=True).clamp(min=1e-12)
    axis = torch.linalg.cross(source, target)
    sine = axis.norm(dim=-1, keepdim=True)
    angle = torch.atan2(sine, (source * target).sum(dim=-1, keepdim=True))
    return roma.rotvec_to_rotmat(axis * torch.where(sine > 1e-9, angle / sine.clamp(min=1e-9), 1.0))
