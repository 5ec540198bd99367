from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from tests.data.sources.people import euler, walk, write_bvh
from vibe_ray.body.joints import BodyJoints
from vibe_ray.body.model import BodyConfig, load_body
from vibe_ray.body.params import pose_to_rotmat
from vibe_ray.body.skeletons import SMPL_JOINTS
from vibe_ray.data.sources.bvh import parse_bvh
from vibe_ray.data.sources.conversion import Conversion
from vibe_ray.data.sources.retarget import retarget
from vibe_ray.data.sources.rigs import match_rig
from vibe_ray.data.sources.skeleton import SkeletonMotion

LIMBS = [
    (f"{side}_{start}", f"{side}_{end}")
    for side in ("left", "right")
    for start, end in (
        ("hip", "knee"),
        ("knee", "ankle"),
        ("shoulder", "elbow"),
        ("elbow", "wrist"),
    )
]


@pytest.fixture(scope="module")
def motion(make_bvh: Callable[..., str]) -> SkeletonMotion:
    return parse_bvh(make_bvh(num_frames=60))[0]


@pytest.fixture(scope="module")
def joints(motion: SkeletonMotion) -> dict[str, int]:
    return match_rig(motion.names, motion.parents)


def smpl_joints(pose: np.ndarray) -> np.ndarray:
    """Joints (N, 24, 3) by the body's own code."""
    body = BodyJoints.skeleton(load_body(BodyConfig()))
    return body(torch.zeros(len(pose), 10), pose_to_rotmat(torch.from_numpy(pose))).numpy()


def angles(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    cross = np.linalg.norm(np.cross(a, b), axis=-1)
    return np.rad2deg(np.arctan2(cross, (a * b).sum(-1)))


def test_limbs_point_where_the_sources_do(
    motion: SkeletonMotion, joints: dict[str, int], conversion: Conversion
) -> None:
    pose, _ = retarget(motion, joints, conversion.rest_joints, 30.0)
    source = motion.positions(motion.world_rotmat())
    result = smpl_joints(pose)
    for start, end in LIMBS:
        source_bone = source[:, joints[end]] - source[:, joints[start]]
        bone = result[:, SMPL_JOINTS.index(end)] - result[:, SMPL_JOINTS.index(start)]
        assert angles(source_bone, bone).max() < 0.01, (start, end)


def test_the_hips_are_where_the_sources_are_on_the_scale_of_the_legs(
    motion: SkeletonMotion, joints: dict[str, int], conversion: Conversion
) -> None:
    pose, trans = retarget(motion, joints, conversion.rest_joints, 30.0)
    result = smpl_joints(pose)
    result += (trans - result[:, 0])[:, None]
    middle = result[:, [1, 2]].mean(axis=1)
    source = motion.positions(motion.world_rotmat())
    source_middle = source[:, [joints["left_hip"], joints["right_hip"]]].mean(axis=1)
    scale = np.linalg.norm(np.diff(middle, axis=0)) / np.linalg.norm(np.diff(source_middle, axis=0))
    np.testing.assert_allclose(middle, source_middle * scale, atol=1e-4)
    rest = conversion.rest_joints
    leg = np.linalg.norm(rest[4] - rest[1]) + np.linalg.norm(rest[7] - rest[4])
    source_leg = np.linalg.norm([6, -40, 2]) + np.linalg.norm([5, -41, -3])
    assert scale == pytest.approx(leg / source_leg, rel=1e-4)


def test_hands_and_feet_take_part_in_the_motion(
    motion: SkeletonMotion, joints: dict[str, int], conversion: Conversion
) -> None:
    pose, _ = retarget(motion, joints, conversion.rest_joints, 30.0)
    moving = np.ptp(pose.reshape(len(pose), -1, 3), axis=0).max(axis=1)
    still = [name for name, amount in zip(SMPL_JOINTS, moving, strict=True) if amount < 1e-4]
    assert still == ["left_hand", "right_hand"]  # the source has no fingers


def test_rest_pose_becomes_rest_pose_of_trunk_and_feet(
    motion: SkeletonMotion, joints: dict[str, int], conversion: Conversion
) -> None:
    still = SkeletonMotion(
        names=motion.names,
        parents=motion.parents,
        offsets=motion.offsets,
        rotmat=np.broadcast_to(np.eye(3), motion.rotmat.shape).copy(),
        root_position=motion.root_position,
    )
    pose, _ = retarget(still, joints, conversion.rest_joints, 30.0)
    trunk = [SMPL_JOINTS.index(name) for name in ("pelvis", "spine1", "spine3", "neck", "head")]
    np.testing.assert_allclose(pose.reshape(-1, 24, 3)[:, trunk], 0, atol=1e-6)
    # Down the leg, the turns that fit thigh and shin to the source's cancel out: soles are level.
    foot = Rotation.identity()
    for name in ("left_hip", "left_knee", "left_ankle", "left_foot"):
        foot = foot * Rotation.from_rotvec(pose.reshape(-1, 24, 3)[0, SMPL_JOINTS.index(name)])
    np.testing.assert_allclose(foot.apply([0, 1, 0]), [0, 1, 0], atol=1e-6)


@pytest.mark.parametrize("axis", ["x", "z"])
def test_neither_unit_nor_upward_axis_matter(
    make_bvh: Callable[..., str], conversion: Conversion, axis: str
) -> None:
    motion, _ = parse_bvh(make_bvh(num_frames=10))
    inches, _ = parse_bvh(make_bvh(num_frames=10, scale=1 / 2.54))
    turned = inches.in_axes(Rotation.from_euler(axis, 90, degrees=True).as_matrix())
    joints = match_rig(motion.names, motion.parents)
    expected = retarget(motion, joints, conversion.rest_joints, 30.0)
    found = retarget(turned, joints, conversion.rest_joints, 30.0)
    np.testing.assert_allclose(found[0], expected[0], atol=1e-4)
    np.testing.assert_allclose(found[1], expected[1], atol=1e-4)


def test_missing_joints_share_the_turns_of_their_neighbors(
    motion: SkeletonMotion, joints: dict[str, int], conversion: Conversion
) -> None:
    absent = ("spine1", "spine2", "neck", "left_collar", "right_collar", "left_wrist", "left_foot")
    fewer = {name: index for name, index in joints.items() if name not in absent}
    pose, _ = retarget(motion, fewer, conversion.rest_joints, 30.0)
    by_name = dict(zip(SMPL_JOINTS, np.moveaxis(pose.reshape(-1, 24, 3), 1, 0), strict=True))
    np.testing.assert_allclose(by_name["spine1"], by_name["spine2"], atol=1e-5)
    np.testing.assert_allclose(by_name["spine1"], by_name["spine3"], atol=1e-5)
    np.testing.assert_allclose(by_name["neck"], by_name["head"], atol=1e-5)
    assert np.linalg.norm(by_name["left_collar"], axis=-1).max() > 0.05
    np.testing.assert_allclose(by_name["left_wrist"], 0, atol=1e-6)
    np.testing.assert_allclose(by_name["left_foot"], 0, atol=1e-6)
    source = motion.positions(motion.world_rotmat())
    upper_arm = source[:, joints["left_elbow"]] - source[:, joints["left_shoulder"]]
    result = smpl_joints(pose)
    bone = result[:, 18] - result[:, 16]
    assert angles(upper_arm, bone).max() < 0.01


def test_flapping_hands_are_calmed(
    motion: SkeletonMotion, joints: dict[str, int], conversion: Conversion
) -> None:
    hand = joints["right_wrist"]
    flap = Rotation.from_euler("z", np.where(np.arange(60) % 2, 80, -80)[:, None], degrees=True)
    motion.rotmat[:, hand] = flap.as_matrix()
    pose, _ = retarget(motion, joints, conversion.rest_joints, 120.0)
    wrist = Rotation.from_rotvec(pose[10:-10, 3 * SMPL_JOINTS.index("right_wrist") :][:, :3])
    assert np.rad2deg((wrist[:-1].inv() * wrist[1:]).magnitude()).max() < 10


def test_a_path_that_is_nobodys_is_refused(
    motion: SkeletonMotion, joints: dict[str, int], conversion: Conversion
) -> None:
    far = replace(motion, root_position=motion.root_position + 1e7)
    with pytest.raises(ValueError, match=r"it goes .*e\+04 m from the origin"):
        retarget(far, joints, conversion.rest_joints, 30.0)


def test_limbs_are_followed_where_other_joints_and_channels_bend_them(
    conversion: Conversion,
) -> None:
    """Rolls between the joints, which turn aside as well, and a knee that moves in its socket."""
    times = np.arange(150) / 60
    person = walk()
    for side, x in (("left", 1), ("right", -1)):
        aside = euler("xz", 25 * np.sin(3 * times), 8 * np.cos(5 * times))
        arm = f"{side}_shoulder"
        person = person.with_joint(f"{side}_roll", arm, (13 * x, -1, 0), aside, (f"{side}_elbow",))
    motion, _ = parse_bvh(write_bvh(person))
    knee = motion.names.index("left_knee")
    wobble = 3 * np.sin(4 * times)[:, None] * np.array([0.3, 1.0, 0.6])
    motion = replace(motion, shifts={knee: motion.offsets[knee] + wobble})
    joints = match_rig(motion.names, motion.parents)
    pose, _ = retarget(motion, joints, conversion.rest_joints, 60.0)
    source, result = motion.positions(motion.world_rotmat()), smpl_joints(pose)
    rigid = motion.world_rotmat()[:, joints["left_hip"]] @ motion.offsets[knee]
    loose = source[:, joints["left_knee"]] - source[:, joints["left_hip"]]
    assert angles(rigid, loose).max() > 1  # there is something to be followed
    for start, end in LIMBS:
        source_bone = source[:, joints[end]] - source[:, joints[start]]
        bone = result[:, SMPL_JOINTS.index(end)] - result[:, SMPL_JOINTS.index(start)]
        assert angles(source_bone, bone).max() < 0.01, (start, end)
