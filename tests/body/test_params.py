import torch
from scipy.spatial.transform import Rotation

from vibe_ray.body.params import (
    SmplParams,
    mirror_pose,
    pose_to_rotmat,
    split_pose,
)
from vibe_ray.body.skeletons import SMPL_JOINTS, SMPL_MIRROR

GENERATOR = torch.Generator().manual_seed(0)
POSE = torch.randn(2, 5, 72, generator=GENERATOR, dtype=torch.float64) * 0.5
BETAS = torch.randn(2, 5, 10, generator=GENERATOR, dtype=torch.float64)
CAM = torch.rand(2, 5, 3, generator=GENERATOR, dtype=torch.float64)


def test_pose_to_rotmat_agrees_with_scipy() -> None:
    expected = Rotation.from_rotvec(POSE.reshape(-1, 3).numpy()).as_matrix()
    torch.testing.assert_close(
        pose_to_rotmat(POSE), torch.from_numpy(expected).view(2, 5, 24, 3, 3)
    )


def test_the_pose_of_rotations_is_what_they_were_made_of() -> None:
    torch.testing.assert_close(SmplParams(pose_to_rotmat(POSE), BETAS, CAM).pose, POSE)


def test_split_pose_parts_the_root_from_the_body() -> None:
    root_orient, body_pose = split_pose(POSE)
    assert (root_orient.shape, body_pose.shape) == ((2, 5, 3), (2, 5, 69))
    assert torch.equal(torch.cat([root_orient, body_pose], dim=-1), POSE)


def test_map_reaches_all_three() -> None:
    params = SmplParams(pose_to_rotmat(POSE), BETAS, CAM).map(lambda tensor: tensor[:, :2])
    assert [tuple(t.shape[:2]) for t in (params.rotmat, params.betas, params.cam)] == [(2, 2)] * 3


def test_mirroring_twice_changes_nothing() -> None:
    assert torch.equal(mirror_pose(mirror_pose(POSE)), POSE)


def test_mirrored_rotations_are_conjugated_by_the_mirror() -> None:
    flip = torch.diag(torch.tensor([-1.0, 1.0, 1.0], dtype=torch.float64))
    expected = flip @ pose_to_rotmat(POSE)[..., SMPL_MIRROR, :, :] @ flip
    torch.testing.assert_close(pose_to_rotmat(mirror_pose(POSE)), expected)


def test_a_raised_left_arm_becomes_a_raised_right_arm() -> None:
    pose = torch.zeros(24, 3)
    pose[SMPL_JOINTS.index("left_shoulder")] = torch.tensor([0.0, 0.2, 1.0])
    mirrored = mirror_pose(pose.flatten()).view(24, 3)
    expected = torch.zeros(24, 3)
    expected[SMPL_JOINTS.index("right_shoulder")] = torch.tensor([0.0, -0.2, -1.0])
    assert torch.equal(mirrored, expected)
