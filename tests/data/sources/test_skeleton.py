from collections.abc import Callable
from itertools import permutations, product

import numpy as np
import pytest

from vibe_ray.data.sources.bvh import parse_bvh
from vibe_ray.data.sources.rigs import BVH_RIGS, match_rig
from vibe_ray.data.sources.skeleton import standing_axes


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
    joints = match_rig(motion.names, BVH_RIGS.values())
    turned = motion.in_axes(axes)
    np.testing.assert_array_equal(standing_axes(turned.rest_positions(), joints), axes.T)


def test_positions_turn_with_the_axes(make_bvh: Callable[..., str]) -> None:
    motion, _ = parse_bvh(make_bvh(num_frames=4))
    axes = quarter_turns()[7]
    turned = motion.in_axes(axes)
    expected = motion.positions(motion.world_rotmat()) @ axes.T
    np.testing.assert_allclose(turned.positions(turned.world_rotmat()), expected, atol=1e-9)


def test_a_rest_pose_that_does_not_stand_is_refused(make_bvh: Callable[..., str]) -> None:
    motion, _ = parse_bvh(make_bvh(num_frames=2))
    joints = match_rig(motion.names, BVH_RIGS.values())
    rest = motion.rest_positions()
    rest[joints["left_ankle"]] = rest[joints["right_ankle"]] = [0, 0, 80]  # sitting, legs forward
    with pytest.raises(ValueError, match="not that of somebody standing upright"):
        standing_axes(rest, joints)
