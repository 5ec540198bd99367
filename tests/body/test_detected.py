import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from tests.body.made_up_bodies import random_bodies
from vibe_ray.body.detected import OFFSETS, offset_of
from vibe_ray.body.joints import BodyJoints
from vibe_ray.body.model import BodyArrays, BodyConfig, load_body
from vibe_ray.body.params import mirror_pose, pose_to_rotmat
from vibe_ray.body.skeletons import (
    COCO_17,
    KEYPOINTS,
    SMPL_JOINTS,
    SMPL_PARENTS,
    indices,
    mirror_table,
)


def test_offsets_turn_with_their_bones(body: BodyArrays) -> None:
    """Against rotations that scipy multiplies from the root on."""
    betas, rotmat = random_bodies(8, torch.float64)
    own = BodyJoints.keypoints(body, torch.float64)(betas, rotmat)
    seen = BodyJoints.keypoints(body, torch.float64, as_detected=True)(betas, rotmat)
    for frame in range(8):
        turns: list[Rotation] = []
        for joint, parent in enumerate(SMPL_PARENTS):
            turn = Rotation.from_matrix(rotmat[frame, joint].numpy())
            turns.append(turns[parent] * turn if joint else turn)
        for row, name in enumerate(KEYPOINTS):
            bone, offset = offset_of(name)
            moved = (seen - own)[frame, row].numpy()
            np.testing.assert_allclose(moved, turns[bone].apply(offset), atol=1e-12)


def test_a_mirrored_body_is_seen_mirrored(body: BodyArrays) -> None:
    pose = 0.4 * torch.randn(5, 72, generator=torch.Generator().manual_seed(1))
    own, seen = (BodyJoints.keypoints(body, as_detected=flag) for flag in (False, True))

    def offsets(pose: torch.Tensor) -> torch.Tensor:
        bodies = torch.zeros(5, 10), pose_to_rotmat(pose)
        return seen(*bodies) - own(*bodies)

    flipped = offsets(pose)[:, mirror_table(KEYPOINTS)] * torch.tensor([-1.0, 1.0, 1.0])
    torch.testing.assert_close(offsets(mirror_pose(pose)), flipped, atol=1e-5, rtol=0)


def test_every_joint_of_coco_has_an_offset_and_feet_have_none() -> None:
    assert all(np.any(offset_of(name)[1]) for name in COCO_17)
    assert not any(np.any(offset_of(name)[1]) for name in ("OP LHeel", "OP RBigToe", "headtop"))
    assert {offset.bone for offset in OFFSETS.values()} <= set(SMPL_JOINTS)


@pytest.mark.parametrize("name", [name for name in COCO_17 if name[1:] != "hip"])
def test_names_of_openpose_mean_the_same(name: str) -> None:
    same = f"OP {name[0].upper()}{name[1:].capitalize()}" if name[0] in "lr" else "OP Nose"
    assert offset_of(same)[0] == offset_of(name)[0]
    np.testing.assert_array_equal(offset_of(same)[1], offset_of(name)[1])


def test_both_hips_of_a_side_are_seen_in_one_place() -> None:
    """COCO's and OpenPose's are different points of the body, but people mark one."""
    body = load_body(BodyConfig())
    upright = torch.zeros(1, 10), torch.eye(3).expand(1, 24, 3, 3)
    rows = indices(("lhip", "OP LHip"), KEYPOINTS)
    own, seen = (
        BodyJoints.keypoints(body, which=rows, as_detected=flag)(*upright)[0]
        for flag in (False, True)
    )
    assert (own[0] - own[1]).norm() > 0.04
    assert (seen[0] - seen[1]).norm() < 0.01


def test_joints_are_seen_where_people_mark_them() -> None:
    """Of the open body, upright: shoulders nearer to the middle and higher, ankles higher."""
    body = load_body(BodyConfig())
    upright = torch.zeros(1, 10), torch.eye(3).expand(1, 24, 3, 3)
    names = ("lshoulder", "rshoulder", "lankle", "rankle", "lear", "rear")
    own, seen = (
        BodyJoints.keypoints(body, which=indices(names, KEYPOINTS), as_detected=flag)(*upright)[0]
        for flag in (False, True)
    )
    assert (seen[:4, 1] > own[:4, 1] + 0.01).all()
    inward = [0, 1, 4, 5]
    assert (seen[inward, 0].abs() < own[inward, 0].abs() - 0.01).all()
