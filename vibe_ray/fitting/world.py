"""From a camera's axes to the world's: which way is up, where is the floor, how far is the person?

A camera that stands still sees a world that stands still, tilted by an angle nobody wrote down. Up
is taken from the person: who stands or walks has, on average, the neck above the middle of the
feet, and who moves about does so on a level floor. The world is y up with the floor at y = 0; the
person begins at x = z = 0, facing +z.

Camera axes: x right, y down, z forward. Shapes: N frames, J = 24 joints.
"""

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from vibe_ray.body.skeletons import SMPL_JOINTS, indices
from vibe_ray.fitting.motion import Motion, Skeleton
from vibe_ray.fitting.smoothing import frame_seconds, smooth_track
from vibe_ray.geometry.arrays import Array

LEVEL = (0.0, -1.0, 0.0)
"""Up, in the axes of a camera that is held level."""
FLOOR_PERCENTILE = 5.0
"""The lower foot is on the floor in at least this share of the frames."""
_NECK, *_ANKLES = indices(("neck", "left_ankle", "right_ankle"), SMPL_JOINTS)
_HIPS = indices(("left_hip", "right_hip"), SMPL_JOINTS)
_BALLS = indices(("left_foot", "right_foot"), SMPL_JOINTS)
_KNEES = indices(("left_knee", "right_knee"), SMPL_JOINTS)


@dataclass(frozen=True, kw_only=True)
class WorldSettings:
    """How up and depth are made of what a camera saw."""

    depth_period_s: float = 1.0
    """Changes of depth faster than this are taken for jitter; 0 keeps depth as it is."""
    sideways_period_s: float = 0.2
    """Likewise for the direction in which the person is seen, which is far less noisy."""
    straight_deg: float = 25.0
    """Angle between trunk and legs up to which somebody stands."""
    posture_deg: float = 3.0
    """How wrong up may be if it is from somebody's posture (standard deviation),"""
    level_deg: float = 5.0
    """and if it is only assumed that the camera is held level."""
    min_standing: float = 0.2
    """Share of frames with somebody standing from which up is taken from them."""


@dataclass(frozen=True, kw_only=True, eq=False)
class WorldMotion:
    """A motion in the world, and the camera that saw it."""

    motion: Motion
    """y up, floor at y = 0, meters."""
    camera_rotation: Tensor
    """World to camera (3, 3)."""
    camera_transl: Tensor
    """(3,): a point p of the world is at `camera_rotation @ p + camera_transl` of the camera."""


def to_world(motion: Motion, skeleton: Skeleton, up: Tensor) -> WorldMotion:
    """Bring a motion seen by a camera that stands still into the world.

    Args:
        motion: In camera axes.
        skeleton: Of the body.
        up: Vector (3,) in camera axes, of any length.

    Raises:
        ValueError: The person is behind the camera.
    """
    _pelvis_before_camera(motion, skeleton)
    up = up.double() / up.double().norm()
    first = skeleton.joints(motion)[0]
    to_up = _axes(up, first[_HIPS[0]] - first[_HIPS[1]])
    turned = moved(motion, to_up, torch.zeros(3, dtype=torch.float64), skeleton)
    pelvis = skeleton.joints(turned)[0, 0]
    shift = -torch.stack([pelvis[0], _floor(turned, skeleton), pelvis[2]])
    return WorldMotion(
        motion=replace(turned, transl=(turned.transl.double() + shift).to(motion.transl)),
        camera_rotation=to_up.T,
        camera_transl=-to_up.T @ shift,
    )


def up_of_tilt(pitch_deg: float) -> Tensor:
    """Return up (3,) in the axes of a camera that looks down by an angle."""
    pitch = np.deg2rad(pitch_deg)
    return torch.tensor([0.0, -np.cos(pitch), -np.sin(pitch)], dtype=torch.float64)


def up_of_motion(
    motion: Motion, skeleton: Skeleton, settings: WorldSettings
) -> tuple[Tensor, float, str]:
    """Find which way is up from how somebody stands and from the floor under their path.

    Args:
        motion: In camera axes.
        skeleton: Of the body.
        settings: How sure each of the two is.

    Returns:
        As `find_up`, whose answer is the first of the two.
    """
    up, spread_deg, up_from = find_up(skeleton.joints(motion), settings)
    surely_deg = settings.level_deg if np.isnan(spread_deg) else settings.posture_deg
    return square_to_floor(up, motion, skeleton, surely_deg), spread_deg, up_from


def find_up(joints: Tensor, settings: WorldSettings) -> tuple[Tensor, float, str]:
    """Find which way is up for joints (N, J, 3) of a person in any axes.

    In every frame with trunk and legs in a line up is from the middle of both feet, between ankles
    and balls, to the neck; of those the median direction is taken.

    Returns:
        Up (3,), the median angle to it in degrees, and in words where it is from. Without enough
        frames of somebody standing it is the camera's own.
    """
    hips, ankles = joints[:, _HIPS].mean(dim=1), joints[:, _ANKLES].mean(dim=1)
    legs, trunk = _unit(hips - ankles), _unit(joints[:, _NECK] - hips)
    shank, thigh = joints[:, _KNEES] - joints[:, _ANKLES], joints[:, _HIPS] - joints[:, _KNEES]
    least = np.cos(np.deg2rad(settings.straight_deg))
    # Of a walker one leg may be bent; of somebody who sits both are.
    has_straight_leg = ((_unit(shank) * _unit(thigh)).sum(dim=-1) > least).any(dim=-1)
    stands = ((legs * trunk).sum(dim=-1) > least) & has_straight_leg
    if stands.double().mean() < settings.min_standing:
        return joints.new_tensor(LEVEL), float("nan"), "assumed level: nobody stands"
    feet = (ankles + joints[:, _BALLS].mean(dim=1)) / 2
    body = _unit(joints[:, _NECK] - feet)[stands]
    up = _median_direction(body)
    angles = torch.rad2deg((body @ up).clamp(-1, 1).arccos())
    share = 100 * float(stands.double().mean())
    return up, float(angles.median()), f"the person, who stands in {share:.0f} % of the frames"


def square_to_floor(up: Tensor, motion: Motion, skeleton: Skeleton, surely_deg: float) -> Tensor:
    """Correct up (3,) so that the floor under the lower foot is level, as far as the path tells.

    A plane is laid through the lower soles; frames in the air are far from it and count for little.
    On one spot soles say nothing of its slope, and up stays as it was.

    Args:
        up: As found so far, in the motion's axes.
        motion: In camera axes.
        skeleton: Of the body.
        surely_deg: How far off `up` may be (standard deviation).
    """
    feet = skeleton.feet(motion).mean(dim=2)  # (N, F, 3)
    points = feet[torch.arange(len(feet)), (feet @ up).argmin(dim=1)]
    return _plane_normal(points, up, motion.times_s, surely_deg)


def calm_depth(motion: Motion, skeleton: Skeleton, settings: WorldSettings) -> Motion:
    """Take the jitter out of where a person is, and above all out of how far.

    Depth is read off a person's size, so an error of a hundredth in size is one of 5 cm at 5 m. The
    logarithm of the depth is smoothed, along the rays on which the pelvis is seen, and less so the
    rays themselves; outliers are left out.

    Raises:
        ValueError: The person is behind the camera.
    """
    rest = skeleton.rest(motion.betas).joints[0]
    pelvis = _pelvis_before_camera(motion, skeleton)
    times = motion.times_s.numpy()
    ray, depth = pelvis[:, :2] / pelvis[:, 2:], np.log(pelvis[:, 2:])
    if settings.depth_period_s > 0:
        depth = smooth_track(depth, times, settings.depth_period_s, robust=True)
    if settings.sideways_period_s > 0:
        ray = smooth_track(ray, times, settings.sideways_period_s, robust=True)
    calm = np.exp(depth) * np.concatenate([ray, np.ones_like(depth)], axis=1)
    return replace(motion, transl=(torch.from_numpy(calm) - rest).to(motion.transl))


def _pelvis_before_camera(motion: Motion, skeleton: Skeleton) -> Array:
    """Return where the pelvis is (N, 3), which must be before the camera in every frame."""
    pelvis = (motion.transl.double() + skeleton.rest(motion.betas).joints[0]).numpy()
    if (pelvis[:, 2] <= 0).any():
        raise ValueError("the person is behind the camera in some frame: depth must be positive")
    return pelvis


def moved(motion: Motion, rotation: Tensor, shift: Tensor, skeleton: Skeleton) -> Motion:
    """Return the motion with every point p at `rotation @ p + shift`, (3, 3) and (3,)."""
    rest = skeleton.rest(motion.betas).joints[0]
    root = rotation @ motion.rotmat[:, :1].double()
    pelvis = (motion.transl.double() + rest) @ rotation.T + shift
    rotmat = torch.cat([root.to(motion.rotmat), motion.rotmat[:, 1:]], dim=1)
    return replace(motion, rotmat=rotmat, transl=(pelvis - rest).to(motion.transl))


def _floor(motion: Motion, skeleton: Skeleton) -> Tensor:
    """Height of the floor under the soles of a motion that is y up."""
    soles = skeleton.feet(motion)[..., 1] - skeleton.rest(motion.betas).above_sole
    lowest = soles.flatten(1).amin(dim=1).numpy()
    return torch.tensor(np.percentile(lowest, FLOOR_PERCENTILE), dtype=torch.float64)


def _axes(up: Tensor, leftward: Tensor) -> Tensor:
    """Rotation (3, 3) into axes in which up is y and somebody facing +z has their left at x."""
    x = leftward - (leftward @ up) * up
    if x.norm() < 1e-6:  # somebody lies on their side: any way of facing is as good
        x = torch.linalg.cross(up, up.roll(1))
    x = x / x.norm()
    return torch.stack([x, up, torch.linalg.cross(x, up)])


def _median_direction(directions: Tensor) -> Tensor:
    """Unit vector (3,) with the least sum of distances to unit vectors (n, 3): Weiszfeld's."""
    center = _unit(directions.mean(dim=0))
    for _ in range(30):
        weights = 1 / (directions - center).norm(dim=-1, keepdim=True).clamp(min=1e-4)
        center = _unit((weights * directions).sum(dim=0))
    return center


SOLE_NOISE = 0.1
"""Meters by which an estimated sole of the lower foot is off the floor (standard deviation),"""
SOLE_MEMORY_S = 0.5
"""the same for about as long."""


def _plane_normal(points: Tensor, up: Tensor, times_s: Tensor, surely_deg: float) -> Tensor:
    """Normal (3,) of the plane through points (N, 3), near `up` and the surer the more they span.

    Its slope is the most likely one of a normal prior of slopes and Cauchy's heights above it.
    """
    x = torch.linalg.cross(up, up.roll(1))
    x = x / x.norm()
    level = torch.stack([x, torch.linalg.cross(x, up)])  # (2, 3)
    height = points @ up
    design = torch.cat([points @ level.T, torch.ones(len(points), 1).double()], dim=1)
    design[:, :2] -= design[:, :2].median(dim=0).values
    share = torch.from_numpy(frame_seconds(times_s.numpy())) / SOLE_MEMORY_S
    prior = torch.diag(torch.tensor([1.0, 1.0, 0.0]).double()) / np.tan(np.deg2rad(surely_deg)) ** 2
    plane = torch.stack([height.new_zeros(()), height.new_zeros(()), height.median()])
    for _ in range(20):
        off = (height - design @ plane) / SOLE_NOISE
        weight = (share / SOLE_NOISE**2 / (1 + off.square()))[:, None]
        plane = torch.linalg.solve(
            design.T @ (weight * design) + prior, design.T @ (weight[:, 0] * height)
        )
    return _unit(up - plane[:2] @ level)


def _unit(vectors: Tensor) -> Tensor:
    return vectors / vectors.norm(dim=-1, keepdim=True).clamp(min=1e-9)
