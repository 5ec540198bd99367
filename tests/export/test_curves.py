from itertools import permutations, product

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from tests.export.bvh_reader import elementary
from vibe_ray.export.curves import rotmat_to_euler, rotmat_to_quaternions

ORDERS = ["".join(order) for order in permutations("XYZ")]


def of_angles(degrees: np.ndarray, order: str) -> np.ndarray:
    """Matrices (N, 1, 3, 3) of angles (N, 3), one elementary turn after another."""
    axes = ["XYZ".index(axis) for axis in order]
    return np.array(
        [
            [elementary(axes[0], a) @ elementary(axes[1], b) @ elementary(axes[2], c)]
            for a, b, c in degrees
        ]
    )


def nearest_by_search(rotmat: np.ndarray, order: str) -> np.ndarray:
    """Of all angles that say a rotation, those nearest to the frame before: all are tried."""
    found = []
    for matrix in rotmat[:, 0]:
        a, b, c = Rotation.from_matrix(matrix).as_euler(order, degrees=True)
        if not found:
            found.append(np.array([a, b, c]))
            continue
        before = found[-1]
        options = [
            np.array(solution) + 360 * (np.round((before - solution) / 360) + np.array(whole))
            for solution in ((a, b, c), (a + 180, 180 - b, c + 180))
            for whole in product((-1, 0, 1), repeat=3)
        ]
        found.append(min(options, key=lambda option: float(((option - before) ** 2).sum())))
    return np.array(found)


@pytest.mark.parametrize("order", ORDERS)
def test_angles_say_the_rotations(order: str) -> None:
    rotmat = Rotation.random(600, rng=1).as_matrix().reshape(200, 3, 3, 3)
    angles = rotmat_to_euler(rotmat, order)
    for joint in range(3):
        np.testing.assert_allclose(
            of_angles(angles[:, joint], order)[:, 0], rotmat[:, joint], atol=1e-12
        )


@pytest.mark.parametrize("order", ORDERS)
def test_angles_are_the_nearest_that_there_are(order: str) -> None:
    rng = np.random.default_rng(2)
    steps = np.cumsum(rng.normal(0, 12, (300, 3)), axis=0)  # through gimbal lock and around
    assert (np.abs(steps[:, 1]) > 90).any()
    rotmat = of_angles(steps, order)
    np.testing.assert_allclose(
        rotmat_to_euler(rotmat, order)[:, 0], nearest_by_search(rotmat, order), atol=1e-7
    )


@pytest.mark.parametrize("order", ORDERS)
def test_a_turn_through_gimbal_lock_goes_on(order: str) -> None:
    middle = np.arange(0.0, 721.0, 3.0)  # exactly 90 and 270 degrees among them
    angles = np.stack([np.full_like(middle, 20), middle, np.full_like(middle, -35)], axis=1)
    found = rotmat_to_euler(of_angles(angles, order), order)[:, 0]
    np.testing.assert_allclose(found, angles, atol=1e-6)


def test_no_angle_jumps_where_the_rotation_does_not() -> None:
    """The nearer to gimbal lock, the faster outer angles turn; here it is passed at 3 degrees."""
    t = np.linspace(0, 2 * np.pi, 4001)
    angles = np.stack([30 * np.sin(t), 87 * np.sin(3 * t), 400 * t / np.pi], axis=1)
    found = rotmat_to_euler(of_angles(angles, "XZY"), "XZY")[:, 0]
    assert np.abs(np.diff(found, axis=0)).max() < 1.5 * np.abs(np.diff(angles, axis=0)).max()
    np.testing.assert_allclose(found, angles, atol=1e-6)


def test_what_begins_in_gimbal_lock() -> None:
    angles = np.array([[10.0, 90, 0], [10, 90, 0], [10, 91, 0], [10, 92, 1]])
    rotmat = of_angles(angles, "XZY")
    found = rotmat_to_euler(rotmat, "XZY")[:, 0]
    np.testing.assert_allclose(of_angles(found, "XZY"), rotmat, atol=1e-9)
    assert np.abs(np.diff(found, axis=0)).max() < 2


def test_whole_turns_are_counted() -> None:
    yaw = np.arange(0, 1081, 20.0)
    angles = np.stack([0 * yaw, 0 * yaw, yaw], axis=1)
    np.testing.assert_allclose(
        rotmat_to_euler(of_angles(angles, "XZY"), "XZY")[:, 0], angles, atol=1e-9
    )


def test_joints_do_not_know_each_other() -> None:
    rotmat = Rotation.random(120, rng=3).as_matrix().reshape(40, 3, 3, 3)
    alone = [rotmat_to_euler(rotmat[:, j : j + 1], "XZY") for j in range(3)]
    np.testing.assert_array_equal(rotmat_to_euler(rotmat, "XZY"), np.concatenate(alone, axis=1))


def test_one_frame_has_no_neighbors() -> None:
    rotmat = Rotation.random(24, rng=4).as_matrix()[None]
    assert rotmat_to_euler(rotmat, "XZY").shape == (1, 24, 3)
    assert rotmat_to_quaternions(rotmat).shape == (1, 24, 4)


def test_quaternions_say_the_rotations_and_keep_their_sign() -> None:
    turns = np.linspace(0, 6 * np.pi, 90)
    rotvec = np.stack([[0.6, 0, 0.8] * angle for angle in turns[:, None]])[:, None]
    rotmat = Rotation.from_rotvec(rotvec.reshape(-1, 3)).as_matrix().reshape(90, 1, 3, 3)
    quaternions = rotmat_to_quaternions(rotmat)
    back = Rotation.from_quat(quaternions[:, 0]).as_matrix()
    np.testing.assert_allclose(back, rotmat[:, 0], atol=1e-12)
    # In closed form: of half the angle, which goes on and on.
    half = turns / 2
    expected = np.stack([0.6 * np.sin(half), 0 * half, 0.8 * np.sin(half), np.cos(half)], axis=1)
    np.testing.assert_allclose(
        quaternions[:, 0] * np.sign(quaternions[0, 0, 3]), expected, atol=1e-9
    )
