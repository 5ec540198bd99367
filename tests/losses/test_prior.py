"""Terms of the motion prior, against torch's distributions and naive loops."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.distributions import Normal, kl_divergence

from tests.training.tiny import random_batch
from vibe_ray.losses.prior import MOTION_PRIOR, PRIOR, Kept, Motion, PriorWeights

B, T, L = 3, 4, 5
LOSSES = {loss.name: loss for loss in PRIOR}


def total(name: str, **given: Any) -> Tensor:
    """The sum of a term that looks at some of what is kept of a motion."""
    nothing = torch.zeros(0)
    kept = {"rotmat": nothing, "joints": nothing, "mean": nothing, "std": nothing} | given
    motion = Motion(kept.pop("true_rotmat", nothing), kept.pop("true_joints", nothing))
    return LOSSES[name].total(Kept(**kept), motion)


def test_an_item_is_a_frame() -> None:
    batch = random_batch(1, 1, B)
    assert all(loss.count(batch) == batch.motion.pose[..., 0].numel() for loss in PRIOR)


def test_kl_is_torchs() -> None:
    mean, std = torch.randn(B, T, L), torch.rand(B, T, L) + 0.1
    exact = kl_divergence(Normal(mean, std), Normal(0.0, 1.0)).sum(dim=-1)
    torch.testing.assert_close(total("kl", mean=mean, std=std), exact.sum())


def test_kl_in_closed_form() -> None:
    std = 0.5
    found = total("kl", mean=torch.full((1, 1, 1), 2.0), std=torch.full((1, 1, 1), std))
    assert float(found) == pytest.approx((4 + std**2 - 1) / 2 - math.log(std))
    assert total("kl", mean=torch.zeros(B, T, L), std=torch.ones(B, T, L)) == 0


def test_rotations_entry_by_entry() -> None:
    a, b = torch.randn(2, B, T, 6, 3, 3).unbind()
    naive = sum(float(((a[i, t] - b[i, t]) ** 2).mean()) for i in range(B) for t in range(T))
    assert float(total("rotation", rotmat=a, true_rotmat=b)) == pytest.approx(naive, rel=1e-5)


def test_joints_by_their_squared_distance() -> None:
    a, b = torch.randn(2, B, T, 6, 3).unbind()
    naive = sum(
        math.dist(a[i, t, j].tolist(), b[i, t, j].tolist()) ** 2 / 6
        for i in range(B)
        for t in range(T)
        for j in range(6)
    )
    assert float(total("joints", joints=a, true_joints=b)) == pytest.approx(naive, rel=1e-5)


def test_a_motions_unlikeliness_is_that_of_a_normal_latent() -> None:
    mean = torch.randn(B, T, L, requires_grad=True)
    count = MOTION_PRIOR.count(random_batch(1, B - 1, 9))
    assert count == B
    found = MOTION_PRIOR.share({MOTION_PRIOR.name: count}, mean)
    likelihood = Normal(0.0, 1.0).log_prob(mean) - Normal(0.0, 1.0).log_prob(torch.zeros(()))
    torch.testing.assert_close(found, -2 * likelihood.mean())
    (B * found).backward()
    torch.testing.assert_close(mean.grad, 2 * mean.detach() / (T * L))


def test_weights_are_numbers_from_zero_on() -> None:
    with pytest.raises(ValueError, match=r"prior_losses\.kl is -1\.0, expected a number >= 0"):
        PriorWeights(kl=-1.0)
