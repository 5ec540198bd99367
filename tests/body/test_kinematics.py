import numpy as np
import pytest
import torch

from tests.body.made_up_bodies import random_bodies
from vibe_ray.body.kinematics import KinematicChain
from vibe_ray.body.model import BodyArrays
from vibe_ray.body.skeletons import SMPL_PARENTS


def naive_chain(rest: np.ndarray, rotmat: np.ndarray) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Walk one skeleton joint by joint, with 4x4 matrices as textbooks do."""
    transforms: list[np.ndarray] = []
    for joint, parent in enumerate(SMPL_PARENTS):
        local = np.eye(4)
        local[:3, :3] = rotmat[joint]
        local[:3, 3] = rest[joint] - (rest[parent] if parent >= 0 else 0)
        transforms.append(transforms[parent] @ local if parent >= 0 else local)
    return [t[:3, :3] for t in transforms], [t[:3, 3] for t in transforms]


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float32, 1e-6), (torch.float64, 1e-13)], ids=str
)
def test_agrees_with_a_walk_along_the_bones(
    body: BodyArrays, dtype: torch.dtype, tolerance: float
) -> None:
    joints, joint_dirs = body.rest_joints()
    betas, rotmat = random_bodies(6, dtype)
    rotations, positions = KinematicChain(joints, joint_dirs, dtype)(betas, rotmat)
    for number in range(len(betas)):
        rest = joints + joint_dirs @ betas[number].double().numpy()
        turned, placed = naive_chain(rest, rotmat[number].double().numpy())
        np.testing.assert_allclose(rotations[number], turned, atol=tolerance, rtol=0)
        np.testing.assert_allclose(positions[number], placed, atol=tolerance, rtol=0)


def test_gradients_agree_with_finite_differences(open_body: BodyArrays) -> None:
    chain = KinematicChain(*open_body.rest_joints(), torch.float64)
    betas, rotmat = random_bodies(1, torch.float64, seed=1)
    inputs = (betas.requires_grad_(), rotmat.requires_grad_())
    assert torch.autograd.gradcheck(chain, inputs)


def test_constants_are_not_saved(open_body: BodyArrays) -> None:
    chain = KinematicChain(*open_body.rest_joints(), torch.float32)
    assert not chain.state_dict()
    assert not list(chain.parameters())
