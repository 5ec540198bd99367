from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation, Slerp

from tests.export.bvh_reader import Bvh, read
from tests.export.conftest import BETAS, wild_motion
from tests.export.posed import assert_t_pose, degrees_between, posed
from vibe_ray import storage
from vibe_ray.body.model import BodyArrays
from vibe_ray.body.skeletons import SMPL_JOINTS
from vibe_ray.data.sources.bvh import parse_bvh
from vibe_ray.data.sources.retarget import retarget
from vibe_ray.data.sources.rigs import match_rig
from vibe_ray.export.animation import Animation
from vibe_ray.export.bvh import RIGS, Rig, write_bvh
from vibe_ray.export.rest import rest_body

ROUNDING = 2e-7
"""Meters: numbers have six decimals, in centimeters and degrees."""
FPS = 25.0


def steady(num_frames: int = 40) -> Animation:
    """A wild motion at a constant rate, that of the file."""
    return replace(wild_motion(num_frames), times_s=2 + np.arange(num_frames) / FPS)


def in_order_of_smpl(file: Bvh, rig: Rig = "smpl") -> list[int]:
    names = [joint.name for joint in file.joints]
    return [names.index(name) for name in RIGS[rig]]


def rotations_at(animation: Animation, times_s: np.ndarray) -> np.ndarray:
    """SciPy's own interpolation (T, 24, 3, 3)."""
    joints = [
        Slerp(animation.times_s, Rotation.from_matrix(animation.rotmat[:, j]))(times_s).as_matrix()
        for j in range(24)
    ]
    return np.stack(joints, axis=1)


@pytest.mark.parametrize("rig", RIGS)
def test_joints_are_the_body_models_in_every_frame(
    rig: Rig, open_body: BodyArrays, tmp_path: Path
) -> None:
    motion = steady()
    write_bvh(str(tmp_path / "a.bvh"), motion, open_body, fps=FPS, names=rig)
    file = read(tmp_path / "a.bvh")
    order = in_order_of_smpl(file, rig)
    joints, _ = posed(motion, open_body)
    assert len(file.values) == len(joints)
    assert file.frame_time == pytest.approx(1 / FPS, abs=1e-9)
    found = np.array([file.world(frame)[1][order] / 100 for frame in range(len(joints))])
    np.testing.assert_allclose(found, joints, rtol=0, atol=10 * ROUNDING)


def test_rotations_are_those_of_the_joints(open_body: BodyArrays, tmp_path: Path) -> None:
    motion = steady()
    write_bvh(str(tmp_path / "a.bvh"), motion, open_body, fps=FPS)
    file = read(tmp_path / "a.bvh")
    order = in_order_of_smpl(file)
    parents = [file.joints[joint].parent for joint in order]
    for frame in range(0, 40, 7):
        world, _ = file.world(frame)
        local = [
            world[joint] if parent < 0 else world[parent].T @ world[joint]
            for joint, parent in zip(order, parents, strict=True)
        ]
        assert degrees_between(np.array(local), motion.rotmat[frame]).max() < 1e-5


def test_a_variable_rate_is_resampled_along_the_shortest_way(
    open_body: BodyArrays, tmp_path: Path
) -> None:
    motion = wild_motion()
    write_bvh(str(tmp_path / "a.bvh"), motion, open_body, fps=60)
    file = read(tmp_path / "a.bvh")
    duration = motion.times_s[-1] - motion.times_s[0]
    assert len(file.values) == int(duration * 60) + 1
    times = motion.times_s[0] + np.arange(len(file.values)) / 60
    rotmat = rotations_at(motion, times)
    transl = np.stack([np.interp(times, motion.times_s, x) for x in motion.transl.T], axis=1)
    joints, _ = posed(Animation("a", times, rotmat, transl, BETAS), open_body)
    order = in_order_of_smpl(file)
    found = np.array([file.world(frame)[1][order] / 100 for frame in range(len(times))])
    np.testing.assert_allclose(found, joints, rtol=0, atol=10 * ROUNDING)


def test_the_zero_pose_is_a_t_pose_of_the_shape(open_body: BodyArrays, tmp_path: Path) -> None:
    motion = steady(2)
    write_bvh(str(tmp_path / "a.bvh"), motion, open_body, fps=FPS)
    file = read(tmp_path / "a.bvh")
    _, positions = file.world(None)
    joints = positions[in_order_of_smpl(file)] / 100
    assert_t_pose(joints)
    rest = rest_body(open_body, motion.betas).joints
    np.testing.assert_allclose(joints, rest - rest[0], rtol=0, atol=10 * ROUNDING)
    assert not file.joints[0].offset.any()
    ends = [joint for joint in file.joints if joint.name == "End Site"]
    assert len(ends) == 5
    assert all(2 < np.linalg.norm(end.offset) < 30 for end in ends)


def test_mixamos_names_are_of_the_same_joints(open_body: BodyArrays, tmp_path: Path) -> None:
    """Names as Mixamo's rig has them, of limbs from the trunk outwards."""
    write_bvh(str(tmp_path / "a.bvh"), steady(2), open_body, fps=FPS, names="mixamo")
    file = read(tmp_path / "a.bvh")
    parents = {joint.name: file.joints[joint.parent].name for joint in file.joints[1:]}
    chains = [["Hips", "Spine", "Spine1", "Spine2", "Neck", "Head"]]
    for side in ("Left", "Right"):
        leg, arm = "UpLeg Leg Foot ToeBase", "Shoulder Arm ForeArm Hand HandMiddle1"
        chains.append(["Hips", *(side + name for name in leg.split())])
        chains.append(["Spine2", *(side + name for name in arm.split())])
    expected = {
        f"mixamorig:{outer}": f"mixamorig:{inner}"
        for chain in chains
        for inner, outer in pairwise(chain)
    }
    assert {name: parent for name, parent in parents.items() if name != "End Site"} == expected
    _, positions = file.world(None)
    assert positions[in_order_of_smpl(file, "mixamo")][SMPL_JOINTS.index("left_wrist")][0] > 40


def test_captured_motion_has_no_jumps(
    captured: Animation, open_body: BodyArrays, tmp_path: Path
) -> None:
    write_bvh(str(tmp_path / "a.bvh"), captured, open_body, fps=30)
    file = read(tmp_path / "a.bvh")
    angles = file.angles().reshape(len(file.values), -1, 3)
    joints = [joint for joint in file.joints if joint.name != "End Site"]
    assert len({tuple(joint.channels[-3:]) for joint in joints}) == 1
    rotmat = captured.rotmat[:, [SMPL_JOINTS.index(joint.name) for joint in joints]]
    turned = degrees_between(rotmat[:-1], rotmat[1:])
    # Near gimbal lock angles turn faster than joints; the other orders' worst are 40 to 80 degrees.
    assert (np.abs(np.diff(angles, axis=0)).max(axis=-1) - turned).max() < 5


def test_a_person_who_turns_and_turns_has_no_jumps(open_body: BodyArrays, tmp_path: Path) -> None:
    yaw = np.deg2rad(np.arange(0, 1500, 10.0))
    rotmat = np.tile(np.eye(3), (len(yaw), 24, 1, 1))
    rotmat[:, 0] = Rotation.from_euler("y", yaw[:, None]).as_matrix()
    motion = Animation("dervish", np.arange(len(yaw)) / FPS, rotmat, np.zeros((len(yaw), 3)), BETAS)
    write_bvh(str(tmp_path / "a.bvh"), motion, open_body, fps=FPS)
    np.testing.assert_allclose(np.diff(read(tmp_path / "a.bvh").angles(), axis=0).sum(axis=1), 10)


@pytest.mark.parametrize("rig", RIGS)
def test_our_own_reader_reads_it_back(
    rig: Rig, captured: Animation, open_body: BodyArrays, tmp_path: Path
) -> None:
    write_bvh(str(tmp_path / "a.bvh"), captured, open_body, fps=30, names=rig)
    motion, fps = parse_bvh((tmp_path / "a.bvh").read_text())
    assert fps == pytest.approx(30)
    found = match_rig(motion.names, motion.parents)
    smpls = dict(zip(RIGS[rig], SMPL_JOINTS, strict=True))
    assert {motion.names[index]: joint for joint, index in found.items()}.items() <= smpls.items()
    assert len(found) == 22  # hands follow their wrists
    joints, _ = posed(captured, open_body)
    positions = motion.positions(motion.world_rotmat()) / 100
    for joint, index in found.items():
        expected = joints[:, SMPL_JOINTS.index(joint)]
        np.testing.assert_allclose(positions[:, index], expected, rtol=0, atol=10 * ROUNDING)


def test_retargeted_to_its_own_body_it_is_the_same_motion(
    captured: Animation, open_body: BodyArrays, tmp_path: Path
) -> None:
    write_bvh(str(tmp_path / "a.bvh"), captured, open_body, fps=30)
    motion, fps = parse_bvh((tmp_path / "a.bvh").read_text())
    rest = rest_body(open_body, captured.betas).joints
    pose, trans = retarget(motion, match_rig(motion.names, motion.parents), rest, fps)
    rotmat = Rotation.from_rotvec(pose.reshape(-1, 3)).as_matrix().reshape(captured.rotmat.shape)
    back = replace(captured, rotmat=rotmat, transl=trans)
    moved = np.linalg.norm(posed(back, open_body)[0] - posed(captured, open_body)[0], axis=-1)
    turned = degrees_between(rotmat, captured.rotmat)
    # The importer calms toes and hands, and shares a hand's turn about the forearm with the elbow.
    ends = ("foot", "wrist", "elbow", "hand")
    for joint, name in enumerate(SMPL_JOINTS):
        if not name.endswith("hand"):
            assert moved[:, joint].max() < 1e-3, name
        if not name.endswith(ends):
            assert turned[:, joint].max() < 0.1, name


@pytest.mark.parametrize("fps", [0, -30, np.nan, np.inf, 1e12])
def test_a_rate_that_is_none_is_refused(fps: float, open_body: BodyArrays, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="expected a positive rate"):
        write_bvh(str(tmp_path / "a.bvh"), wild_motion(3), open_body, fps=fps)
    assert not list(tmp_path.iterdir())


def test_an_unknown_rig_is_refused(open_body: BodyArrays, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no rig 'unreal': expected one of smpl, mixamo"):
        write_bvh(str(tmp_path / "a"), steady(2), open_body, fps=30, names="unreal")  # type: ignore[arg-type]


def test_one_frame_is_a_pose(open_body: BodyArrays, tmp_path: Path) -> None:
    write_bvh(str(tmp_path / "a.bvh"), steady(1), open_body, fps=30)
    file = read(tmp_path / "a.bvh")
    joints, _ = posed(steady(1), open_body)
    found = file.world(0)[1][in_order_of_smpl(file)] / 100
    np.testing.assert_allclose(found, joints[0], rtol=0, atol=10 * ROUNDING)


def test_a_store_takes_it_too(s3: str, open_body: BodyArrays, tmp_path: Path) -> None:
    write_bvh(storage.join(s3, "a.bvh"), steady(2), open_body, fps=30)
    write_bvh(str(tmp_path / "a.bvh"), steady(2), open_body, fps=30)
    stored = storage.read_bytes(storage.join(s3, "a.bvh"))
    assert stored == (tmp_path / "a.bvh").read_bytes()
