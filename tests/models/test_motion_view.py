import math

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation
from torch import Tensor

from vibe_ray.body.params import pose_to_rotmat
from vibe_ray.models.motion_view import Form, MotionView

FORMS: list[Form] = ["axis_angle", "rot6d"]
VIEWS = [MotionView(pose=pose, root_motion=root) for pose in FORMS for root in (False, True)]


def poses(*shape: int) -> Tensor:
    """Axis-angles (..., 72) of less than half a turn."""
    torch.manual_seed(0)
    return 0.8 * torch.randn(*shape, 72, dtype=torch.float64).clamp(-2, 2)


def numbers(rotation: Rotation, form: Form) -> np.ndarray:
    """What scipy calls these rotations: (N, 3) or (N, 6)."""
    if form == "axis_angle":
        return rotation.as_rotvec()
    return rotation.as_matrix()[:, :, :2].reshape(-1, 6)


def test_by_default_it_is_the_released_discriminators_input() -> None:
    pose = 4 * poses(2, 5)  # also more than half a turn, as data sets store it
    assert torch.equal(MotionView().of_pose(pose), pose[..., 3:])
    assert MotionView().width == 69


@pytest.mark.parametrize("view", VIEWS, ids=str)
def test_agrees_with_scipy(view: MotionView) -> None:
    pose = poses(6)
    joints = [Rotation.from_rotvec(joint) for joint in pose.unflatten(-1, (24, 3)).unbind(1)]
    shown = [joints[0][0].inv() * joints[0]] if view.root_motion else []
    expected = np.concatenate([numbers(j, view.pose) for j in shown + joints[1:]], axis=1)
    found = view.of_pose(pose)
    assert found.shape == (6, view.width)
    np.testing.assert_allclose(found.numpy(), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("view", VIEWS, ids=str)
def test_captured_and_generated_motion_are_seen_alike(view: MotionView) -> None:
    pose = poses(2, 5)
    torch.testing.assert_close(
        view.of_rotmat(pose_to_rotmat(pose)), view.of_pose(pose), rtol=0, atol=1e-6
    )


@pytest.mark.parametrize("form", FORMS)
def test_a_still_camera_is_not_seen_and_a_turning_one_is(form: Form) -> None:
    view, rotmat = MotionView(pose=form, root_motion=True), pose_to_rotmat(poses(3, 5))

    def filmed(cameras: Tensor) -> Tensor:
        seen = rotmat.clone()
        seen[..., 0, :, :] = cameras @ rotmat[..., 0, :, :]
        return view.of_rotmat(seen)

    made = Rotation.random(3 * 5, np.random.default_rng(0)).as_matrix().reshape(3, 5, 3, 3)
    cameras = torch.tensor(made)
    torch.testing.assert_close(filmed(cameras[:, :1]), view.of_rotmat(rotmat), rtol=0, atol=1e-6)
    assert (filmed(cameras) - view.of_rotmat(rotmat)).abs().max() > 0.1


def test_six_numbers_do_not_jump_at_half_a_turn() -> None:
    pose = torch.zeros(2, 72, dtype=torch.float64)
    pose[0, 3], pose[1, 3] = math.pi - 1e-3, math.pi + 1e-3
    rotmat = pose_to_rotmat(pose)
    jumps = {form: MotionView(pose=form).of_rotmat(rotmat).diff(dim=0).norm() for form in FORMS}
    assert jumps["axis_angle"] > 6
    assert jumps["rot6d"] < 3e-3


@pytest.mark.parametrize("view", VIEWS, ids=str)
def test_a_body_at_rest_has_a_gradient(view: MotionView) -> None:
    rotmat = pose_to_rotmat(torch.zeros(2, 4, 72)).requires_grad_()
    view.of_rotmat(rotmat).square().sum().backward()
    assert rotmat.grad is not None
    assert rotmat.grad.isfinite().all()
