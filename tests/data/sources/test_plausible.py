import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from vibe_ray.body.skeletons import SMPL_JOINTS
from vibe_ray.data.sources.conversion import Conversion
from vibe_ray.data.sources.plausible import clean_pieces, twist_about

FPS = 100.0
STILL = np.zeros((500, 3))


def swinging() -> np.ndarray:
    """Five seconds in which every joint swings gently (N, 72)."""
    times = np.arange(500) / FPS
    return 0.3 * np.sin(3 * times[:, None] + np.arange(72))


def test_a_sound_recording_stays_whole(conversion: Conversion) -> None:
    assert clean_pieces(swinging(), STILL, FPS, conversion.rest_joints) == [slice(0, 500)]


@pytest.mark.parametrize("joint", ["pelvis", "left_knee", "head", "right_wrist"])
def test_a_jump_cuts_the_recording(conversion: Conversion, joint: str) -> None:
    pose = swinging()
    pose[200:, 3 * SMPL_JOINTS.index(joint)] += 0.6  # 60 radians per second for one frame
    assert clean_pieces(pose, STILL, FPS, conversion.rest_joints) == [
        slice(0, 189),
        slice(211, 500),
    ]


def test_a_root_that_jumps_cuts_the_recording(conversion: Conversion) -> None:
    trans = STILL + np.arange(500)[:, None] * [0.1, 0.0, 0.0]  # a sprint of 10 meters per second
    assert clean_pieces(swinging(), trans, FPS, conversion.rest_joints) == [slice(0, 500)]
    trans[300:, 1] += 0.2  # 22 of them for one frame
    pieces = clean_pieces(swinging(), trans, FPS, conversion.rest_joints)
    assert pieces == [slice(0, 289), slice(311, 500)]


def test_a_t_pose_in_front_is_cut_off(conversion: Conversion) -> None:
    pose = swinging() + 0.7
    pose[0] = 0.0
    assert clean_pieces(pose, STILL, FPS, conversion.rest_joints) == [slice(12, 500)]


def test_toes_are_not_judged(conversion: Conversion) -> None:
    pose = swinging()
    pose[200:, 3 * SMPL_JOINTS.index("left_foot")] += 0.9
    assert clean_pieces(pose, STILL, FPS, conversion.rest_joints) == [slice(0, 500)]


def test_a_leg_that_is_turned_over_is_left_out(conversion: Conversion) -> None:
    rest = conversion.rest_joints
    hip, knee = SMPL_JOINTS.index("left_hip"), SMPL_JOINTS.index("left_knee")
    thigh = (rest[knee] - rest[hip]) / np.linalg.norm(rest[knee] - rest[hip])
    pose = np.zeros((500, 72))
    angle = np.deg2rad(np.clip(np.arange(500), 0, 150))  # a degree per frame: slow, but too far
    pose[:, 3 * hip : 3 * hip + 3] = angle[:, None] * thigh
    (piece,) = clean_pieces(pose, STILL, FPS, conversion.rest_joints)
    assert piece.start == 0
    assert 99 <= piece.stop <= 102


def test_twist_is_what_is_left_after_the_swing() -> None:
    rng = np.random.default_rng(0)
    bone = np.array([0.2, -1.0, 0.3])
    twist = rng.uniform(-3, 3, 50)
    across = np.cross(bone, rng.normal(size=(50, 3)))
    swing = Rotation.from_rotvec(across / np.linalg.norm(across, axis=1, keepdims=True))
    turn = swing * Rotation.from_rotvec(twist[:, None] * bone / np.linalg.norm(bone))
    np.testing.assert_allclose(twist_about(turn.as_quat(), bone), twist, atol=1e-9)
