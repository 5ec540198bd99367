import dataclasses

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from vibe_ray.body.joints import BodyJoints
from vibe_ray.body.model import BodyConfig, load_body
from vibe_ray.body.params import pose_to_rotmat
from vibe_ray.body.skeletons import SMPL_MIRROR
from vibe_ray.data.motion_augment import (
    MotionAugmentConfig,
    augmented,
    backward,
    mirrored,
    sped_up,
    with_joint_offsets,
    with_limbs_of,
)
from vibe_ray.data.schema import MotionSequence


@pytest.fixture
def sequence() -> MotionSequence:
    times = np.arange(101) / 25
    pose = 0.4 * np.sin(times[:, None] + np.arange(72))
    trans = np.stack([times, 0.9 + 0.1 * np.sin(times), -times], axis=1)
    return MotionSequence(
        dataset="mine",
        name="clip",
        fps=25.0,
        pose=pose.astype(np.float32),
        trans=trans.astype(np.float32),
        betas=np.zeros(10, np.float32),
    )


def world_joints(sequence: MotionSequence) -> np.ndarray:
    body = BodyJoints.skeleton(load_body(BodyConfig()))
    pose = pose_to_rotmat(torch.from_numpy(sequence.pose))
    joints = body(torch.zeros(len(pose), 10), pose).numpy()
    return joints - joints[:, :1] + sequence.trans[:, None]


def test_a_mirrored_body_is_the_mirror_image(sequence: MotionSequence) -> None:
    expected = world_joints(sequence)[:, SMPL_MIRROR] * [-1, 1, 1]
    np.testing.assert_allclose(world_joints(mirrored(sequence)), expected, atol=1e-5)
    twice = mirrored(mirrored(sequence))
    np.testing.assert_array_equal(twice.pose, sequence.pose)
    np.testing.assert_array_equal(twice.trans, sequence.trans)


@pytest.mark.parametrize("factor", [0.7, 1.0, 1.4])
def test_twice_as_fast_is_half_as_long(sequence: MotionSequence, factor: float) -> None:
    fast = sped_up(sequence, factor)
    assert fast.fps == 25.0
    assert len(fast.pose) == int(100 / factor + 1e-3) + 1
    times = factor * np.arange(len(fast.pose)) / 25
    np.testing.assert_allclose(fast.trans[:, 0], times, atol=1e-4)
    expected = 0.4 * np.sin(times[:, None] + np.arange(72))
    np.testing.assert_allclose(fast.pose, expected, atol=2e-3)


def test_backward_ends_where_it_began(sequence: MotionSequence) -> None:
    np.testing.assert_array_equal(backward(sequence).pose, sequence.pose[::-1])
    np.testing.assert_array_equal(backward(sequence).trans, sequence.trans[::-1])


def test_joint_offsets_are_small_constant_and_spare_the_root(sequence: MotionSequence) -> None:
    offset = with_joint_offsets(sequence, 0.04, np.random.default_rng(0))
    before = Rotation.from_rotvec(sequence.pose.reshape(-1, 3))
    after = Rotation.from_rotvec(offset.pose.reshape(-1, 3))
    turns = (before.inv() * after).as_rotvec().reshape(-1, 24, 3)
    np.testing.assert_allclose(turns, np.broadcast_to(turns[0], turns.shape), atol=1e-6)
    np.testing.assert_allclose(turns[0, 0], 0, atol=1e-6)
    assert 0.03 < turns[0, 1:].std() < 0.05
    assert offset.pose.dtype == np.float32


def test_a_variation_is_a_function_of_its_generator(sequence: MotionSequence) -> None:
    config = MotionAugmentConfig()
    once = augmented(sequence, config, np.random.default_rng(3))
    again = augmented(sequence, config, np.random.default_rng(3))
    np.testing.assert_array_equal(once.pose, again.pose)
    other = augmented(sequence, config, np.random.default_rng(4))
    assert once.pose.shape != other.pose.shape or (once.pose != other.pose).any()


def test_without_variation_nothing_changes(sequence: MotionSequence) -> None:
    config = MotionAugmentConfig(mirror=0, reverse=0, speed=(1, 1), joint_offset_rad=0)
    same = augmented(sequence, config, np.random.default_rng(0))
    np.testing.assert_allclose(same.pose, sequence.pose, atol=1e-6)
    np.testing.assert_array_equal(same.trans, sequence.trans)


def test_switching_one_kind_off_leaves_the_others(sequence: MotionSequence) -> None:
    on = MotionAugmentConfig(mirror=1.0)
    off = MotionAugmentConfig(mirror=0.0)
    a = augmented(sequence, on, np.random.default_rng(1))
    b = augmented(sequence, off, np.random.default_rng(1))
    np.testing.assert_allclose(a.trans, b.trans * [-1, 1, 1], atol=1e-6)


@pytest.mark.parametrize("speed", [(0.0, 1.0), (1.4, 0.7), (-1.0, 1.0)])
def test_a_speed_range_is_two_positive_numbers(speed: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match="expected two positive numbers"):
        MotionAugmentConfig(speed=speed)


def test_limbs_of_another_replace_only_those_joints() -> None:
    rng = np.random.default_rng(0)
    pose, other = rng.normal(size=(7, 72)), rng.normal(size=(3, 72))
    first = MotionSequence(
        dataset="d", name="a", fps=25, pose=pose, trans=np.zeros((7, 3)), betas=np.zeros(10)
    )
    second = dataclasses.replace(first, pose=other, trans=np.zeros((3, 3)))
    mixed = with_limbs_of(first, second, [16, 18], np.random.default_rng(1)).pose
    kept = [j for j in range(24) if j not in (16, 18)]
    np.testing.assert_array_equal(mixed.reshape(7, 24, 3)[:, kept], pose.reshape(7, 24, 3)[:, kept])
    start = int(np.random.default_rng(1).integers(3))
    to_and_fro = [0, 1, 2, 1] * 4
    expected = other.reshape(3, 24, 3)[to_and_fro[start : start + 7]][:, [16, 18]]
    np.testing.assert_array_equal(mixed.reshape(7, 24, 3)[:, [16, 18]], expected)
