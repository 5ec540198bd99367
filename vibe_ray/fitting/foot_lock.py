"""Feet that stay where they are while they touch the floor, and never go through it.

First the whole body is moved, calmly, so that feet slide less (`stances.py`): what the camera got
wrong of place and depth. Then the legs reach for what is left (`leg_ik.py`). A foot in contact has
one place and heading for as long as it stands, and is flat while both heel and toes touch the
floor. What is changed fades out between contacts, so that nothing pops.

Shapes: N frames, F = 2 feet, C channels.
"""

from dataclasses import dataclass, replace

import numpy as np
import roma
import torch
from scipy.ndimage import gaussian_filter1d, maximum_filter1d
from torch import Tensor

from vibe_ray.body.skeletons import SMPL_JOINTS, indices
from vibe_ray.fitting.contacts import Mask
from vibe_ray.fitting.leg_ik import Legs, reach
from vibe_ray.fitting.motion import FRAMES_AT_A_TIME, Motion, Skeleton
from vibe_ray.fitting.smoothing import smooth_track
from vibe_ray.fitting.stances import (
    ANKLE,
    BALL,
    Feet,
    FootShape,
    Stances,
    about_vertical,
    find_stances,
    heading_of,
    turned,
)
from vibe_ray.geometry.arrays import Array

HIP, KNEE = (indices((f"left_{joint}", f"right_{joint}"), SMPL_JOINTS) for joint in ("hip", "knee"))
PELVIS = SMPL_JOINTS.index("pelvis")
FREE_WEIGHT = 0.02
"""Of a frame without contact beside a second of blending: draws a correction back to nothing."""
LOCKED_WEIGHT = 1e4
"""Of a frame with contact: the curve between contacts must meet it."""


@dataclass(frozen=True, kw_only=True)
class LockSettings:
    """How feet are locked."""

    root_period_s: float = 0.6
    """How calmly the whole body is moved; the legs do the faster rest."""
    root_pull: float = 0.01
    """Weight of leaving the body where the camera saw it, beside that of a foot in contact."""
    blend_period_s: float = 0.4
    """How calmly a foot's correction fades between contacts."""
    drop_s: float = 0.15
    """How early the hips begin to come down for a foot that is out of reach."""


def lock_feet(
    motion: Motion, contacts: Mask, skeleton: Skeleton, settings: LockSettings | None = None
) -> Motion:
    """Hold feet in their places while they are in contact, and above the floor always.

    Args:
        motion: In the world, y up, the floor at y = 0.
        contacts: Which of `contacts.CONTACTS` are on the floor (N, 4).
        skeleton: Of the body.
        settings: How.

    Returns:
        The motion with other translations, and other rotations of hips, knees, ankles and toes.

    Raises:
        ValueError: Contacts are not (N, 4).
    """
    settings = settings or LockSettings()
    if contacts.shape != (motion.num_frames, 4):
        raise ValueError(f"contacts have shape {contacts.shape} for {motion.num_frames} frames")
    if motion.num_frames < 3:
        return motion
    touches = contacts.reshape(-1, 2, 2)  # (N, F, heel and toes)
    times = motion.times_s.numpy()
    shape = FootShape.of(skeleton.rest(motion.betas))
    posed = _posed(motion, skeleton)
    pull = settings.root_pull
    stances = find_stances(posed.feet, shape, touches, times, settings.root_period_s, pull)
    feet = replace(posed.feet, ankle=posed.feet.ankle + stances.shift[:, None])
    blend = _Blend(times, settings.blend_period_s)
    wanted = above_floor(_locked(feet, stances, shape, touches, blend), shape)

    legs = _moved_legs(posed.legs, stances.shift)
    short = legs.shortfall(wanted.ankle).numpy()
    drop = _early(np.where(touches.any(axis=2), short, 0).max(axis=1), times, settings.drop_s)
    down = torch.zeros_like(stances.shift)
    down[:, 1] = torch.from_numpy(drop)
    thigh, shank = reach(_moved_legs(legs, -down), wanted.ankle)
    rotmat = _relative(motion.rotmat, posed.pelvis, thigh, shank, wanted)
    transl = motion.transl.double() + stances.shift - down
    return replace(motion, rotmat=rotmat, transl=transl.to(motion.transl))


@dataclass(frozen=True)
class _Blend:
    """Draws curves through corrections that are known in contact only."""

    times: Array
    period_s: float

    def __call__(self, values: Tensor, known: Mask) -> Tensor:
        """Fill corrections (N, F, C) in where they are not known (N, F)."""
        filled = torch.zeros_like(values)
        for foot in range(values.shape[1]):
            at = known[:, foot]
            weights = np.where(at, LOCKED_WEIGHT, FREE_WEIGHT)
            given = np.where(at[:, None], values[:, foot].numpy(), 0.0)
            curve = smooth_track(given, self.times, self.period_s, weights, robust=False)
            filled[:, foot] = torch.from_numpy(np.where(at[:, None], given, curve))
        return filled


def _locked(feet: Feet, stances: Stances, shape: FootShape, touches: Mask, blend: _Blend) -> Feet:
    """Put feet in contact where they stand, and lead the others from one stance to the next."""
    heel_touches, toes_touch = touches[..., 0], touches[..., 1]
    any_touches, flat = heel_touches | toes_touch, heel_touches & toes_touch
    rotation = _straightened(feet.rotation, stances.heading, any_touches, flat, blend)
    toes = _straightened(feet.toes, stances.heading, toes_touch, toes_touch, blend)
    heel = stances.ball + turned(about_vertical(stances.heading), shape.heel - shape.ball)
    by_toes = stances.ball - turned(rotation, shape.ball)
    by_heel = heel - turned(rotation, shape.heel)
    heel_alone = torch.from_numpy(heel_touches & ~toes_touch)[..., None]
    target = torch.where(heel_alone, by_heel, by_toes)
    return Feet(rotation, feet.ankle + blend(target - feet.ankle, any_touches), toes)


def _straightened(
    rotation: Tensor, heading: Tensor, known: Mask, flat: Mask, blend: _Blend
) -> Tensor:
    """Give rotations (N, F, 3, 3) a heading (N, F) where it is known, and no tilt where flat."""
    own = heading_of(rotation)
    tilt = roma.rotmat_to_rotvec(rotation @ about_vertical(own).mT)
    turn = torch.remainder(heading - own + torch.pi, 2 * torch.pi) - torch.pi
    own = own + blend(turn[..., None], known)[..., 0]
    tilt = tilt + blend(-tilt, flat)
    return roma.rotvec_to_rotmat(tilt) @ about_vertical(own)


def above_floor(feet: Feet, shape: FootShape) -> Feet:
    """Lift feet whose heel or ball is below where it is when standing, and bend toes up."""
    heel_height = shape.ball_height + (shape.heel - shape.ball)[:, 1]
    ball = feet.ankle + turned(feet.rotation, shape.ball)
    heel = feet.ankle + turned(feet.rotation, shape.heel)
    lift = torch.maximum(shape.ball_height - ball[..., 1], heel_height - heel[..., 1]).clamp(min=0)
    up = torch.zeros_like(ball)
    up[..., 1] = lift
    ball = ball + up
    along = turned(feet.toes, shape.toes)
    length = along.norm(dim=-1)
    lowest = (shape.ball_height + shape.toes[:, 1] - ball[..., 1]) / length
    rise = lowest.clamp(-1, 1).arcsin() - (along[..., 1] / length).clamp(-1, 1).arcsin()
    # About the level axis across the toes, by which what points ahead comes up.
    axis = torch.stack([-along[..., 2], torch.zeros_like(length), along[..., 0]], dim=-1)
    axis = axis / axis.norm(dim=-1, keepdim=True).clamp(min=1e-9)
    bend = roma.rotvec_to_rotmat(axis * rise.clamp(min=0)[..., None])
    return Feet(feet.rotation, feet.ankle + up, bend @ feet.toes)


def _early(values: Array, times: Array, lead_s: float) -> Array:
    """Return a smooth curve (N,) that is nowhere below values (N,), which are zero or more."""
    half = max(1, round(lead_s / float(np.median(np.diff(times)))))
    peaks = maximum_filter1d(np.maximum(values, 0), 2 * half + 1)
    return np.asarray(gaussian_filter1d(peaks, half / 2.5, radius=half))


@dataclass(frozen=True)
class _Posed:
    """What of a posed body is needed to move its legs, global, float64."""

    pelvis: Tensor
    """Rotations (N, 1, 3, 3)."""
    legs: Legs
    feet: Feet


def _posed(motion: Motion, skeleton: Skeleton) -> _Posed:
    chain, betas = skeleton.joints_24.chain, motion.betas.double()
    parts = []
    pieces = (x.split(FRAMES_AT_A_TIME) for x in (motion.rotmat, motion.transl))
    for rotmat, transl in zip(*pieces, strict=True):
        turn, at = chain(betas.expand(len(rotmat), -1), rotmat.double())
        at = at + transl.double()[:, None]
        turns = (turn[:, joint] for joint in ([PELVIS], HIP, KNEE, ANKLE, BALL))
        places = (at[:, joint] for joint in (HIP, KNEE, ANKLE))
        parts.append((*turns, *places))
    pelvis, thigh, shank, foot, toes, hip, knee, ankle = map(torch.cat, zip(*parts, strict=True))
    return _Posed(pelvis, Legs(hip, knee, ankle, thigh, shank), Feet(foot, ankle, toes))


def _moved_legs(legs: Legs, shift: Tensor) -> Legs:
    """Shift the joints of legs by (N, 3)."""
    hip, knee, ankle = (x + shift[:, None] for x in (legs.hip, legs.knee, legs.ankle))
    return replace(legs, hip=hip, knee=knee, ankle=ankle)


def _relative(rotmat: Tensor, pelvis: Tensor, thigh: Tensor, shank: Tensor, feet: Feet) -> Tensor:
    """Write legs' global rotations (N, F, 3, 3) into a pose, each relative to its parent."""
    new = rotmat.clone()
    for joint, parent, own in (
        (HIP, pelvis, thigh),
        (KNEE, thigh, shank),
        (ANKLE, shank, feet.rotation),
        (BALL, feet.rotation, feet.toes),
    ):
        new[:, joint] = (parent.mT @ own).to(rotmat)
    return new
