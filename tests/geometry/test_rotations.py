import numpy as np
import pytest
import roma
import torch
from scipy.spatial.transform import Rotation
from torch import Tensor

from vibe_ray.geometry.rotations import (
    axis_angle_to_rotmat,
    rot6d_to_rotmat,
    rotmat_to_axis_angle,
    rotmat_to_rot6d,
)


def rotation_vectors(dtype: torch.dtype, max_angle: float = np.pi) -> Tensor:
    """Axes in all directions with angles from tiny to nearly `max_angle`: (5, 40, 3)."""
    generator = torch.Generator().manual_seed(0)
    axes = torch.randn(5, 40, 3, generator=generator, dtype=dtype)
    angles = torch.rand(5, 40, 1, generator=generator, dtype=dtype) * max_angle
    angles[0, :3, 0] = torch.tensor([0.0, 1e-7, 1e-4], dtype=dtype)
    angles[0, 3, 0] = max_angle - 1e-3
    return axes / axes.norm(dim=-1, keepdim=True) * angles


def naive_rotmat(axis_angle: np.ndarray) -> np.ndarray:
    """Rodrigues' formula, one rotation at a time."""
    angle = np.linalg.norm(axis_angle)
    if angle == 0:
        return np.eye(3)
    x, y, z = axis_angle / angle
    K = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + np.sin(angle) * K + (1 - np.cos(angle)) * K @ K


def naive_rot6d(numbers: np.ndarray) -> np.ndarray:
    """VIBE's layout: the even numbers are the first column, the odd ones the second."""
    first, second = numbers[0::2], numbers[1::2]
    first = first / max(np.linalg.norm(first), 1e-6)
    second = second - first.dot(second) * first
    second = second / max(np.linalg.norm(second), 1e-6)
    return np.stack([first, second, np.cross(first, second)], axis=1)


def test_axis_angle_agrees_with_scipy_roma_and_a_loop() -> None:
    vectors = rotation_vectors(torch.float64)
    rotmat = axis_angle_to_rotmat(vectors)
    flat = vectors.reshape(-1, 3).numpy()
    expected = torch.from_numpy(Rotation.from_rotvec(flat).as_matrix()).view(5, 40, 3, 3)
    torch.testing.assert_close(rotmat, expected, rtol=0, atol=1e-12)
    loop = torch.from_numpy(np.stack([naive_rotmat(vector) for vector in flat])).view(5, 40, 3, 3)
    torch.testing.assert_close(rotmat, loop, rtol=0, atol=1e-12)
    by_quaternion = roma.unitquat_to_rotmat(roma.rotvec_to_unitquat(vectors))
    torch.testing.assert_close(rotmat, by_quaternion, rtol=0, atol=1e-12)


def test_single_precision_is_close_to_double() -> None:
    vectors = rotation_vectors(torch.float64)
    expected = axis_angle_to_rotmat(vectors).float()
    torch.testing.assert_close(axis_angle_to_rotmat(vectors.float()), expected, rtol=0, atol=1e-6)


def test_back_to_axis_angle_agrees_with_scipy() -> None:
    rotmat = axis_angle_to_rotmat(rotation_vectors(torch.float64))
    back = rotmat_to_axis_angle(rotmat)
    expected = Rotation.from_matrix(rotmat.reshape(-1, 3, 3).numpy()).as_rotvec()
    torch.testing.assert_close(back.reshape(-1, 3), torch.from_numpy(expected), rtol=0, atol=1e-10)
    assert back.norm(dim=-1).max() <= np.pi + 1e-12


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float32, 2e-6), (torch.float64, 1e-12)], ids=str
)
def test_round_trips(dtype: torch.dtype, tolerance: float) -> None:
    rotmat = axis_angle_to_rotmat(rotation_vectors(dtype))
    back = axis_angle_to_rotmat(rotmat_to_axis_angle(rotmat))
    torch.testing.assert_close(back, rotmat, rtol=0, atol=tolerance)
    again = rot6d_to_rotmat(rotmat_to_rot6d(rotmat))
    torch.testing.assert_close(again, rotmat, rtol=0, atol=tolerance)


def test_half_a_turn_about_x_as_the_mean_pose_has_it() -> None:
    half_turn = torch.diag(torch.tensor([1.0, -1.0, -1.0]))
    torch.testing.assert_close(rotmat_to_axis_angle(half_turn).abs(), torch.tensor([np.pi, 0, 0]))


def test_rot6d_has_the_layout_of_vibe() -> None:
    numbers = torch.randn(7, 4, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    expected = np.stack([naive_rot6d(row) for row in numbers.reshape(-1, 6).numpy()])
    actual = rot6d_to_rotmat(numbers)
    torch.testing.assert_close(
        actual, torch.from_numpy(expected).view(7, 4, 3, 3), rtol=0, atol=1e-12
    )
    identity = torch.tensor([1.0, 0, 0, 1, 0, 0])
    assert torch.equal(rot6d_to_rotmat(identity), torch.eye(3))
    assert torch.equal(rotmat_to_rot6d(torch.eye(3)), identity)


def test_rot6d_of_zeros_is_zero_with_finite_gradient() -> None:
    zeros = torch.zeros(2, 6, requires_grad=True)
    rotmat = rot6d_to_rotmat(zeros)
    rotmat.sum().backward()
    assert torch.equal(rotmat, torch.zeros(2, 3, 3))
    assert zeros.grad is not None
    assert zeros.grad.isfinite().all()


def test_gradients_agree_with_finite_differences() -> None:
    vectors = rotation_vectors(torch.float64, max_angle=3.0)[1, :8].requires_grad_()
    assert torch.autograd.gradcheck(axis_angle_to_rotmat, vectors)
    numbers = torch.randn(6, 6, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    assert torch.autograd.gradcheck(rot6d_to_rotmat, numbers.requires_grad_())

    def there_and_back(axis_angle: Tensor) -> Tensor:
        return rotmat_to_axis_angle(axis_angle_to_rotmat(axis_angle))

    assert torch.autograd.gradcheck(there_and_back, vectors)
    jacobian = torch.autograd.functional.jacobian(there_and_back, torch.zeros(3).double())
    torch.testing.assert_close(jacobian, torch.eye(3).double())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_gradient_at_the_identity_is_finite(dtype: torch.dtype) -> None:
    identity = torch.eye(3, dtype=dtype).expand(4, 3, 3).clone().requires_grad_()
    rotmat_to_axis_angle(identity).square().sum().backward()
    assert identity.grad is not None
    assert identity.grad.isfinite().all()
    vector = torch.zeros(4, 3, dtype=dtype, requires_grad=True)
    axis_angle_to_rotmat(vector).sum().backward()
    assert vector.grad is not None
    assert vector.grad.isfinite().all()
