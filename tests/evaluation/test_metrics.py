import numpy as np
import pytest
import torch
from scipy.spatial import procrustes
from scipy.spatial.transform import Rotation
from torch import Tensor

from vibe_ray.body.skeletons import COMMON_14
from vibe_ray.evaluation.metrics import (
    accel_error_mm_per_frame2,
    accel_mm_per_frame2,
    auc_percent,
    center_on_hips,
    mpjpe_mm,
    pa_mpjpe_mm,
    pck_percent,
    pve_mm,
)


def random_joints(*shape: int, seed: int = 0) -> Tensor:
    rng = np.random.default_rng(seed)
    return torch.tensor(rng.normal(0, 0.3, (*shape, 14, 3)))


def similar(joints: Tensor, seed: int) -> Tensor:
    """The same points turned, scaled and moved."""
    rng = np.random.default_rng(seed)
    rotation = torch.tensor(Rotation.random(rng=rng).as_matrix())
    return rng.uniform(0.5, 2.0) * joints @ rotation.T + torch.tensor(rng.normal(size=3))


def test_mpjpe_is_the_mean_of_distances() -> None:
    joints, target = random_joints(2, 5), random_joints(2, 5, seed=1)
    expected = np.zeros((2, 5))
    for b in range(2):
        for t in range(5):
            distances = [
                np.sqrt(sum((float(a) - float(c)) ** 2 for a, c in zip(p, q, strict=True)))
                for p, q in zip(joints[b, t], target[b, t], strict=True)
            ]
            expected[b, t] = 1000 * sum(distances) / 14
    np.testing.assert_allclose(mpjpe_mm(joints, target), expected, rtol=1e-12)
    np.testing.assert_allclose(pve_mm(joints, target), expected, rtol=1e-12)


def test_a_constant_offset_vanishes_once_centered() -> None:
    joints = random_joints(7)
    moved = joints + torch.tensor([0.3, -0.4, 1.2], dtype=torch.float64)
    error = mpjpe_mm(center_on_hips(moved), center_on_hips(joints))
    assert torch.allclose(error, torch.zeros(7, dtype=error.dtype), atol=1e-9)
    torch.testing.assert_close(mpjpe_mm(moved, joints), torch.full_like(error, 1300.0))


def test_centering_puts_the_origin_between_the_hips() -> None:
    centered = center_on_hips(random_joints(3))
    hips = centered[:, [COMMON_14.index("rhip"), COMMON_14.index("lhip")]]
    torch.testing.assert_close(hips[:, 0], -hips[:, 1])


@pytest.mark.parametrize("seed", range(5))
def test_pa_mpjpe_does_not_see_similarities(seed: int) -> None:
    joints, target = random_joints(4), random_joints(4, seed=9)
    torch.testing.assert_close(
        pa_mpjpe_mm(similar(joints, seed), target), pa_mpjpe_mm(joints, target)
    )
    assert pa_mpjpe_mm(similar(target, seed), target).max() < 1e-9


def test_pa_mpjpe_is_scipys_procrustes() -> None:
    target = random_joints(6)
    joints = similar(target + 0.1 * random_joints(6, seed=1), seed=2)
    expected = []
    for source, true in zip(joints.numpy(), target.numpy(), strict=True):
        size = np.linalg.norm(true - true.mean(axis=0))  # scipy works on points of size one
        standard, aligned, _ = procrustes(true, source)
        expected.append(1000 * size * np.linalg.norm(standard - aligned, axis=1).mean())
    np.testing.assert_allclose(pa_mpjpe_mm(joints, target), expected, rtol=1e-9)


def test_pa_mpjpe_does_not_mirror() -> None:
    target = random_joints(3)
    assert pa_mpjpe_mm(target * torch.tensor([-1.0, 1, 1]), target).min() > 10


def test_the_acceleration_of_a_parabola_is_constant() -> None:
    frames = torch.arange(10, dtype=torch.float64)[:, None, None]
    acceleration = torch.tensor([0.003, -0.004, 0.012], dtype=torch.float64)
    start, speed = random_joints(1), random_joints(1, seed=1)
    joints = start + speed * frames + 0.5 * acceleration * frames**2  # (T, K, 3)
    expected = torch.full((8,), 13.0, dtype=torch.float64)  # |(3, -4, 12)|
    torch.testing.assert_close(accel_mm_per_frame2(joints), expected)
    torch.testing.assert_close(accel_error_mm_per_frame2(joints, start + 0 * joints), expected)
    torch.testing.assert_close(
        accel_error_mm_per_frame2(joints, joints + speed * frames), torch.zeros_like(expected)
    )


def test_acceleration_error_is_the_naive_loop() -> None:
    joints, target = random_joints(3, 6), random_joints(3, 6, seed=1)
    expected = np.zeros((3, 4))
    p, g = joints.numpy(), target.numpy()
    for b in range(3):
        for t in range(4):
            a = p[b, t + 2] - 2 * p[b, t + 1] + p[b, t]
            c = g[b, t + 2] - 2 * g[b, t + 1] + g[b, t]
            expected[b, t] = 1000 * np.mean(
                [np.linalg.norm(x - y) for x, y in zip(a, c, strict=True)]
            )
    np.testing.assert_allclose(accel_error_mm_per_frame2(joints, target), expected, rtol=1e-9)


def test_pck_counts_joints_nearer_than_the_threshold() -> None:
    target = random_joints(1)
    joints = target.clone()
    joints[0, :4, 0] += 0.149
    joints[0, 4:7, 1] += 0.151
    torch.testing.assert_close(pck_percent(joints, target), torch.tensor([100 * 11 / 14]).double())
    assert pck_percent(joints, target, threshold_mm=100.0).item() == pytest.approx(50.0)


def test_auc_is_the_mean_pck_over_31_thresholds() -> None:
    target = random_joints(4)
    joints = target + 0.2 * random_joints(4, seed=1)
    curve = [pck_percent(joints, target, threshold_mm=5.0 * i) for i in range(31)]
    torch.testing.assert_close(auc_percent(joints, target), torch.stack(curve).mean(dim=0))
    torch.testing.assert_close(auc_percent(target, target)[0].item(), 100 * 30 / 31)


def test_leading_dimensions_are_free() -> None:
    joints, target = random_joints(2, 3, 5), random_joints(2, 3, 5, seed=1)
    for metric in (mpjpe_mm, pa_mpjpe_mm, pve_mm, pck_percent, auc_percent):
        assert metric(joints, target).shape == (2, 3, 5)
    assert accel_error_mm_per_frame2(joints, target).shape == (2, 3, 3)
    assert accel_mm_per_frame2(joints[0, 0]).shape == (3,)
