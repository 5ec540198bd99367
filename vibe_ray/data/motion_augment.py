"""How does a little motion become more? Copies that real people could have performed as well.

Pure functions of a sequence, and of a generator where chance plays a part. Names stay: who writes
several copies of one recording names them.

Shapes: N frames, T frames after a change of speed, J = 24 joints.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy.spatial.transform import Rotation

from vibe_ray.body.params import mirror_pose
from vibe_ray.data.resampling import resample_motion
from vibe_ray.data.schema import MotionSequence


@dataclass(frozen=True, kw_only=True)
class MotionAugmentConfig:
    mirror: float = 0.5
    """Probability of a mirrored copy."""
    reverse: float = 0.0
    """Probability of backward playback. Off: most actions look strange backward."""
    speed: tuple[float, float] = (0.7, 1.4)
    """Range of the playback speed, drawn evenly in its logarithm."""
    joint_offset_rad: float = 0.04
    """Standard deviation of each joint's constant offset: another posture, another fit."""

    def __post_init__(self) -> None:
        slowest, fastest = self.speed
        if not 0 < slowest <= fastest:
            raise ValueError(f"speed {self.speed}: expected two positive numbers, slowest first")


def augmented(
    sequence: MotionSequence, config: MotionAugmentConfig, rng: np.random.Generator
) -> MotionSequence:
    """Draw one random variation of a sequence.

    The same numbers are drawn whatever the config's probabilities, so that switching one kind of
    variation off leaves the others as they were.
    """
    mirror, reverse = rng.random(2)
    speed = float(np.exp(rng.uniform(*np.log(config.speed))))
    steps: list[tuple[bool, Callable[[MotionSequence], MotionSequence]]] = [
        (speed != 1.0, lambda motion: sped_up(motion, speed)),
        (mirror < config.mirror, mirrored),
        (reverse < config.reverse, backward),
        (True, lambda motion: with_joint_offsets(motion, config.joint_offset_rad, rng)),
    ]
    for applies, step in steps:
        if applies:
            sequence = step(sequence)
    return sequence


def mirrored(sequence: MotionSequence) -> MotionSequence:
    """Swap left and right: the motion as seen in a mirror that stands in the y-z plane."""
    pose = mirror_pose(torch.from_numpy(sequence.pose)).numpy()
    trans = np.array(sequence.trans, np.float32) * np.array([-1, 1, 1], np.float32)
    return replace(sequence, pose=pose, trans=trans)


def sped_up(sequence: MotionSequence, factor: float) -> MotionSequence:
    """Play a motion `factor` times as fast, at the same frame rate: N frames become N / factor.

    Raises:
        ValueError: The factor is not a positive number.
    """
    pose, trans = resample_motion(
        sequence.pose, sequence.trans, sequence.fps * factor, sequence.fps
    )
    return replace(sequence, pose=pose, trans=trans)


def backward(sequence: MotionSequence) -> MotionSequence:
    """Play a motion from its end to its beginning."""
    return replace(sequence, pose=sequence.pose[::-1].copy(), trans=sequence.trans[::-1].copy())


def with_joint_offsets(
    sequence: MotionSequence, sigma: float, rng: np.random.Generator
) -> MotionSequence:
    """Turn each joint but the root by a small constant rotation, the same in all frames.

    Args:
        sequence: The motion.
        sigma: Standard deviation of the three components of each offset, in radians.
        rng: Draws the offsets.
    """
    joints = sequence.pose.reshape(len(sequence.pose), -1, 3)  # (N, J, 3)
    offsets = rng.normal(scale=sigma, size=joints.shape[1:])
    offsets[0] = 0.0  # the root's would tilt the body off the ground
    turned = Rotation.from_rotvec(joints.reshape(-1, 3)) * Rotation.from_rotvec(
        np.tile(offsets, (len(joints), 1))
    )
    pose = turned.as_rotvec().reshape(sequence.pose.shape).astype(sequence.pose.dtype)
    return replace(sequence, pose=pose)


def with_limbs_of(
    sequence: MotionSequence,
    other: MotionSequence,
    joints: Sequence[int],
    rng: np.random.Generator,
) -> MotionSequence:
    """Move some joints as another person does at the same time: arms of one, legs of another.

    Args:
        sequence: The motion whose other joints and path stay.
        other: Whose joints are taken, from a random frame on, to and fro where it is shorter.
        joints: Which, among SMPL's 24.
        rng: Draws where to begin.
    """
    num_frames, num_other = len(sequence.pose), len(other.pose)
    frames = rng.integers(num_other) + np.arange(num_frames)
    frames = np.abs((frames + num_other - 1) % max(1, 2 * num_other - 2) - (num_other - 1))
    mixed = sequence.pose.reshape(num_frames, -1, 3).copy()
    mixed[:, joints] = other.pose.reshape(num_other, -1, 3)[np.ix_(frames, joints)]
    return replace(sequence, pose=mixed.reshape(sequence.pose.shape))
