"""Rare poses are drawn more often, by their distance to their neighbors."""

import numpy as np
import pytest
import torch

from vibe_ray.body.params import pose_to_rotmat
from vibe_ray.data.synthetic.novelty import LIMITS, NUM_NEIGHBORS, novelty_weights
from vibe_ray.geometry.rotations import axis_angle_to_rotmat


def poses(num: int, spread: float, seed: int = 0) -> torch.Tensor:
    rng = np.random.default_rng(seed)
    return pose_to_rotmat(torch.from_numpy(spread * rng.normal(size=(num, 72))).float())


def test_weights_are_distances_to_the_fourth_neighbor_over_the_median() -> None:
    rotmat = poses(60, 0.3)
    up = rotmat[:, 0, 1]
    described = torch.cat([up, rotmat[:, 1:22][..., :2].flatten(1)], dim=1)
    expected = []
    for one in described:
        distances = sorted(float((one - other).norm()) for other in described)
        expected.append(distances[NUM_NEIGHBORS])  # the first is the pose itself
    median = sorted(expected)[(len(expected) - 1) // 2]
    for power in (1.0, 2.0):
        found = novelty_weights(rotmat, power)
        limited = [min(max((d / median) ** power, LIMITS[0]), LIMITS[1]) for d in expected]
        assert found.tolist() == pytest.approx(limited, rel=1e-3)


def test_what_happens_once_counts_more_than_what_crowds() -> None:
    rotmat = torch.cat([poses(300, 0.02), poses(10, 0.8, seed=1)])
    weights = novelty_weights(rotmat, 1.0)
    assert weights[300:].min() > 3 * weights[:300].median()
    assert weights.max() <= LIMITS[1]
    assert torch.equal(novelty_weights(rotmat, 0.0), torch.ones(310))


def test_the_heading_and_the_hands_count_for_nothing() -> None:
    rotmat = poses(80, 0.3)
    turned = rotmat.clone()
    heading = torch.linspace(-3, 3, 80)[:, None] * torch.tensor([0.0, 1.0, 0.0])
    turned[:, 0] = axis_angle_to_rotmat(heading) @ rotmat[:, 0]
    turned[:, 22:] = poses(80, 1.0, seed=2)[:, 22:]
    torch.testing.assert_close(
        novelty_weights(turned, 1.0), novelty_weights(rotmat, 1.0), rtol=1e-3, atol=1e-3
    )


def test_equal_poses_are_drawn_alike() -> None:
    weights = novelty_weights(poses(1, 0.3).expand(50, -1, -1, -1), 1.0)
    assert weights.isfinite().all()
    assert weights.std() < 1e-6
