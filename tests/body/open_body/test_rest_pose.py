import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from vibe_ray.body.open_body.makehuman import Bones
from vibe_ray.body.open_body.rest_pose import _undo_skinning, a_pose_transforms
from vibe_ray.body.skeletons import SMPL_JOINTS, SMPL_MIRROR, SMPL_PARENTS

FLIP = np.array([-1.0, 1.0, 1.0])
# A figure with hanging, bent arms; left side and middle.
FIGURE: dict[str, tuple[float, float, float]] = {
    "pelvis": (0, 0, 0), "left_hip": (0.08, -0.08, 0), "spine1": (0, 0.1, -0.01),
    "left_knee": (0.12, -0.48, 0.01), "spine2": (0, 0.23, 0), "left_ankle": (0.14, -0.9, -0.03),
    "spine3": (0, 0.28, 0.02), "left_foot": (0.17, -0.95, 0.1), "neck": (0, 0.5, -0.02),
    "left_collar": (0.08, 0.42, -0.01), "head": (0, 0.58, 0.03),
    "left_shoulder": (0.17, 0.44, -0.02), "left_elbow": (0.33, 0.24, -0.05),
    "left_wrist": (0.47, 0.05, 0.05), "left_hand": (0.52, -0.02, 0.09),
}  # fmt: skip


@pytest.fixture
def figure() -> tuple[Bones, np.ndarray]:
    joints = np.zeros((24, 3))
    for name, at in FIGURE.items():
        joint = SMPL_JOINTS.index(name)
        joints[joint] = at
        joints[SMPL_MIRROR[joint]] = np.array(at) * FLIP
    joints[0] = 0
    index, little = np.array([0.53, -0.02, 0.11]), np.array([0.51, -0.03, 0.05])
    bones: Bones = {}
    for name, finger in (("finger2-1", index), ("finger5-1", little)):
        bones[f"{name}.L"] = (finger, finger)
        bones[f"{name}.R"] = (finger * FLIP, finger * FLIP)
    return bones, joints


def test_limbs_point_where_smpl_has_them_at_zero(figure: tuple[Bones, np.ndarray]) -> None:
    rest, _, _ = a_pose_transforms(*figure)

    def direction(start: str, end: str) -> np.ndarray:
        bone = rest[SMPL_JOINTS.index(end)] - rest[SMPL_JOINTS.index(start)]
        return bone / np.linalg.norm(bone)

    for side, sign in (("left", 1.0), ("right", -1.0)):
        upper_arm = direction(f"{side}_shoulder", f"{side}_elbow")
        forearm = direction(f"{side}_elbow", f"{side}_wrist")
        assert upper_arm[0] * sign > 0.99
        assert forearm[0] * sign > 0.99
        assert direction(f"{side}_hip", f"{side}_knee")[1] < -0.99
        assert direction(f"{side}_knee", f"{side}_ankle")[1] < -0.99


def test_the_transforms_carry_the_rest_joints_to_the_a_pose(
    figure: tuple[Bones, np.ndarray],
) -> None:
    _, joints = figure
    rest, rotations, shifts = a_pose_transforms(*figure)
    moved = np.einsum("jab,jb->ja", rotations, rest) + shifts
    np.testing.assert_allclose(moved, joints, atol=1e-12)
    # A joint is where its parent's bone ends, too.
    parents = np.array(SMPL_PARENTS[1:])
    by_parent = np.einsum("jab,jb->ja", rotations[parents], rest[1:]) + shifts[parents]
    np.testing.assert_allclose(by_parent, joints[1:], atol=1e-12)
    np.testing.assert_allclose(
        rotations @ rotations.swapaxes(1, 2), np.broadcast_to(np.eye(3), (24, 3, 3)), atol=1e-12
    )
    assert (np.linalg.det(rotations) > 0).all()


def test_right_mirrors_left(figure: tuple[Bones, np.ndarray]) -> None:
    rest, rotations, _ = a_pose_transforms(*figure)
    np.testing.assert_allclose(rest[SMPL_MIRROR] * FLIP, rest, atol=1e-12)
    mirrored = np.diag(FLIP) @ rotations[SMPL_MIRROR] @ np.diag(FLIP)
    np.testing.assert_allclose(mirrored, rotations, atol=1e-12)


def test_skinning_the_rest_pose_gives_the_sculpted_pose_exactly() -> None:
    rng = np.random.default_rng(0)
    verts = rng.normal(size=(30, 3))
    weights = rng.dirichlet(np.ones(4), size=30)
    rotations = Rotation.from_rotvec(rng.normal(0, 0.4, size=(4, 3))).as_matrix()
    shifts = rng.normal(size=(4, 3))
    rest = _undo_skinning(verts, weights, rotations, shifts)
    skinned = sum(
        weights[:, [k]] * (rest @ rotations[k].T + shifts[k]) for k in range(len(rotations))
    )
    np.testing.assert_allclose(skinned, verts, atol=1e-12)
