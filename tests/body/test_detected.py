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


@pytest.mark.parametrize("name", COCO_17)
def test_names_of_openpose_mean_the_same(name: str) -> None:
    if name[0] in "lr" and name[1:] != "hip":
        same = "OP " + name[0].upper() + name[1:].capitalize()
        assert offset_of(same)[0] == offset_of(name)[0]
        np.testing.assert_array_equal(offset_of(same)[1], offset_of(name)[1])


def test_a_shoulder_is_seen_above_and_beside_the_joint() -> None:
    """Of the open body, upright: nearer to the middle, and higher."""
    body = load_body(BodyConfig())
    upright = torch.zeros(1, 10), torch.eye(3).expand(1, 24, 3, 3)
    rows = indices(("lshoulder", "rshoulder"), KEYPOINTS)
    own, seen = (
        BodyJoints.keypoints(body, which=rows, as_detected=flag)(*upright)[0]
        for flag in (False, True)
    )
    assert (seen[:, 1] > own[:, 1]).all()
    assert (seen[:, 0].abs() < own[:, 0].abs()).all()
