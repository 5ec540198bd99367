import numpy as np
import pytest
import torch
from scipy.linalg import orthogonal_procrustes
from scipy.spatial.transform import Rotation
from torch import Tensor

from vibe_ray.geometry.alignment import procrustes_align


def point_sets(seed: int, *leading: int, num_points: int = 14) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*leading, num_points, 3, generator=generator, dtype=torch.float64)


def naive_align(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """One set at a time; the rotation is scipy's, the scale its closed form."""
    centered, wanted = source - source.mean(0), target - target.mean(0)
    rotation, _ = Rotation.align_vectors(wanted, centered)
    turned = rotation.apply(centered)
    return (turned * wanted).sum() / (turned**2).sum() * turned + target.mean(0)


def test_agrees_with_scipy_set_by_set() -> None:
    source, target = point_sets(0, 4, 5), point_sets(1, 4, 5)
    aligned = procrustes_align(source, target)
    for index in np.ndindex(4, 5):
        expected = naive_align(source[index].numpy(), target[index].numpy())
        np.testing.assert_allclose(aligned[index], expected, atol=1e-9)


def test_agrees_with_orthogonal_procrustes_where_no_reflection_is_better() -> None:
    source = point_sets(2, 30)
    target = source + 0.3 * point_sets(3, 30)
    aligned = procrustes_align(source, target)
    for one, other, actual in zip(source.numpy(), target.numpy(), aligned.numpy(), strict=True):
        centered = one - one.mean(0)
        matrix, scale = orthogonal_procrustes(centered, other - other.mean(0))
        assert np.linalg.det(matrix) > 0
        expected = scale / (centered**2).sum() * centered @ matrix + other.mean(0)
        np.testing.assert_allclose(actual, expected, atol=1e-9)


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-12)], ids=str
)
def test_undoes_a_similarity(dtype: torch.dtype, tolerance: float) -> None:
    source = point_sets(4, 6).to(dtype)
    rotation = torch.from_numpy(Rotation.random(6, rng=0).as_matrix()).to(dtype)
    target = 0.3 * source @ rotation.mT + torch.tensor([1.0, -2.0, 3.0], dtype=dtype)
    torch.testing.assert_close(procrustes_align(source, target), target, rtol=0, atol=tolerance)


def test_does_not_reflect() -> None:
    source = point_sets(5)
    mirrored = source * torch.tensor([-1.0, 1.0, 1.0])
    aligned = procrustes_align(source, mirrored)
    assert (aligned - mirrored).norm(dim=-1).mean() > 0.1
    np.testing.assert_allclose(aligned, naive_align(source.numpy(), mirrored.numpy()), atol=1e-9)


def test_no_perturbed_similarity_is_better() -> None:
    source, target = point_sets(6), point_sets(7)
    aligned = procrustes_align(source, target)
    best = (aligned - target).square().sum()
    generator = np.random.default_rng(0)
    for _ in range(50):
        turn = Rotation.from_rotvec(generator.normal(scale=0.05, size=3)).as_matrix()
        center = aligned.mean(0)
        scale = 1 + float(generator.normal(scale=0.05))
        shift = torch.from_numpy(generator.normal(scale=0.02, size=3))
        moved = scale * (aligned - center) @ torch.from_numpy(turn).T + center + shift
        assert (moved - target).square().sum() > best


def test_a_source_without_extent_moves_to_the_center() -> None:
    target = point_sets(8)
    aligned = procrustes_align(torch.ones_like(target), target)
    torch.testing.assert_close(aligned, target.mean(0).expand_as(target))
