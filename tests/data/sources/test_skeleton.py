from collections.abc import Callable
from dataclasses import replace
from itertools import permutations, product

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from vibe_ray.data.sources.bvh import parse_bvh
from vibe_ray.data.sources.rigs import match_rig
from vibe_ray.data.sources.skeleton import standing_axes, upright_axes


def quarter_turns() -> list[np.ndarray]:
    """All 24 ways to lay right-handed axes along right-handed axes."""
    turns = []
    for order, signs in product(permutations(range(3)), product((1, -1), repeat=3)):
        matrix = np.eye(3)[list(order)] * np.array(signs)[:, None]
        if np.linalg.det(matrix) > 0:
            turns.append(matrix)
    return turns


@pytest.mark.parametrize("axes", quarter_turns())
def test_a_rest_pose_shows_which_axis_is_up(make_bvh: Callable[..., str], axes: np.ndarray) -> None:
    motion, _ = parse_bvh(make_bvh(num_frames=2))
    joints = match_rig(motion.names, motion.parents)
    turned = motion.in_axes(axes)
    np.testing.assert_array_equal(standing_axes(turned.rest_positions(), joints), axes.T)


def test_positions_turn_with_the_axes(make_bvh: Callable[..., str]) -> None:
    motion, _ = parse_bvh(make_bvh(num_frames=4))
    axes = quarter_turns()[7]
    turned = motion.in_axes(axes)
    expected = motion.positions(motion.world_rotmat()) @ axes.T
    np.testing.assert_allclose(turned.positions(turned.world_rotmat()), expected, atol=1e-9)


def test_a_rest_pose_that_does_not_stand_is_known(make_bvh: Callable[..., str]) -> None:
    motion, _ = parse_bvh(make_bvh(num_frames=2))
    joints = match_rig(motion.names, motion.parents)
    sitting = motion.rest_positions()
    sitting[joints["left_ankle"]] = sitting[joints["right_ankle"]] = [0, 0, 80]
    assert standing_axes(sitting, joints) is None
    crossed = motion.rest_positions()
    crossed[joints["left_elbow"]] = crossed[joints["left_shoulder"]] - [30, 0, 0]
    assert standing_axes(crossed, joints) is None


@pytest.mark.parametrize("axis", [*np.eye(3), *-np.eye(3)])
def test_the_way_up_becomes_y_by_the_smallest_turn(axis: np.ndarray) -> None:
    axes = upright_axes(axis)
    np.testing.assert_array_equal(axes @ axis, [0, 1, 0])
    assert np.linalg.det(axes) == 1
    angle = np.degrees(np.arccos((np.trace(axes) - 1) / 2))
    assert angle == pytest.approx(np.degrees(np.arccos(axis[1])))


def test_another_zero_pose_or_world_moves_no_joint(make_bvh: Callable[..., str]) -> None:
    motion, _ = parse_bvh(make_bvh(num_frames=5))
    turns = Rotation.random(len(motion.names), rng=np.random.default_rng(0)).as_matrix()
    shift = motion.offsets[4] + np.arange(5)[:, None]
    motion = replace(motion, shifts={4: shift})
    expected = motion.positions(motion.world_rotmat())
    retold = motion.with_zero_pose(turns)
    np.testing.assert_allclose(retold.positions(retold.world_rotmat()), expected, atol=1e-9)
    np.testing.assert_allclose(
        retold.world_rotmat(), motion.world_rotmat() @ np.swapaxes(turns, -1, -2), atol=1e-12
    )
    axes = quarter_turns()[5]
    moved = motion.in_world(axes)
    np.testing.assert_allclose(moved.positions(moved.world_rotmat()), expected @ axes.T, atol=1e-9)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("offsets", 1e300, "its bones reach 1e\\+300"),
        ("root_position", np.inf, "not finite, among its positions"),
        ("rotmat", np.nan, "not finite, among its rotations"),
    ],
)
def test_numbers_of_nobody_are_refused(
    make_bvh: Callable[..., str], field: str, value: float, message: str
) -> None:
    motion, _ = parse_bvh(make_bvh(num_frames=3))
    motion.check_numbers()
    getattr(motion, field).flat[7] = value
    with pytest.raises(ValueError, match=message):
        motion.check_numbers()
