"""Motions that several tests of this room share: a jumps that was captured, and made-up ones."""

from functools import cache

import numpy as np
import roma
import torch
from torch import Tensor

from vibe_ray.body.model import BodyConfig, load_body
from vibe_ray.body.params import pose_to_rotmat
from vibe_ray.body.skeletons import SMPL_JOINTS
from vibe_ray.data.sources.open_motion import load_open_motion
from vibe_ray.fitting.motion import Motion, Skeleton
from vibe_ray.fitting.world import moved, up_of_tilt

FPS = 30.0


@cache
def skeleton() -> Skeleton:
    return Skeleton(load_body(BodyConfig()))


def captured(name: str, start: int, stop: int) -> Motion:
    """Part of a captured motion, y up and the floor near y = 0."""
    (clip,) = (clip for clip in load_open_motion() if clip.name == name)
    betas = torch.zeros(10)
    pelvis = torch.from_numpy(clip.trans[start:stop])
    return Motion(
        rotmat=pose_to_rotmat(torch.from_numpy(clip.pose[start:stop])),
        transl=pelvis - skeleton().rest(betas).joints[0].float(),
        betas=betas,
        times_s=torch.arange(stop - start, dtype=torch.float64) / clip.fps,
    )


def jumps() -> Motion:
    """Four seconds of somebody who jumps ahead, with both feet and twice."""
    return captured("01/01_01", 0, 120)


def squats(num: int = 90, depth: float = 0.12) -> Motion:
    """Knees bend and stretch over feet that stay exactly where they are, flat on the floor."""
    times = torch.arange(num, dtype=torch.float64) / FPS
    bend = 0.35 + 0.3 * torch.sin(2 * torch.pi * 0.5 * times)
    pose = torch.zeros(num, len(SMPL_JOINTS), 3, dtype=torch.float64)
    for joint, share in (("hip", -1.0), ("knee", 2.0), ("ankle", -1.0)):
        for side in ("left", "right"):
            pose[:, SMPL_JOINTS.index(f"{side}_{joint}"), 0] = share * bend
    rotmat = roma.rotvec_to_rotmat(pose).float()
    betas = torch.linspace(-1, 1, 10)
    motion = Motion(rotmat=rotmat, transl=torch.zeros(num, 3), betas=betas, times_s=times)
    # Both legs bend alike, so both ankles move alike, and one shift keeps them in their places.
    ankle = skeleton().joints(motion)[:, SMPL_JOINTS.index("left_ankle")]
    rest = skeleton().rest(betas)
    down = torch.tensor([0.0, rest.sole, 0.0])
    transl = (rest.joints[SMPL_JOINTS.index("left_ankle")] - ankle - down).float()
    return Motion(rotmat=rotmat, transl=transl, betas=betas, times_s=times)


def up_of(pitch_deg: float, roll_deg: float) -> Tensor:
    """Up in the axes of a camera that looks down by a pitch and is rolled clockwise."""
    roll = torch.tensor([0.0, 0.0, np.deg2rad(-roll_deg)], dtype=torch.float64)
    return roma.rotvec_to_rotmat(roll) @ up_of_tilt(pitch_deg)


def before_camera(motion: Motion, up: Tensor, place: Tensor) -> Motion:
    """A motion of the world as a camera sees it in whose axes up is `up` (3,)."""
    y = torch.tensor([0.0, 1.0, 0.0], dtype=torch.float64)
    axis = torch.linalg.cross(y, up)
    turn = roma.rotvec_to_rotmat(axis / axis.norm() * (y @ up).arccos())
    return moved(motion, turn, place, skeleton())
