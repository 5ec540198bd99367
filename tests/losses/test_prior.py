"""Terms of the motion prior, against torch's distributions and naive loops."""

import math

import pytest
import torch
from torch.distributions import Normal, kl_divergence

from vibe_ray.losses.prior import (
    PriorWeights,
    joints_term,
    kl_term,
    motion_prior_term,
    rotation_term,
)

B, T, L = 3, 4, 5


def test_kl_is_torchs() -> None:
    mean, std = torch.randn(B, T, L), torch.rand(B, T, L) + 0.1
    term = kl_term(mean, std)
    exact = kl_divergence(Normal(mean, std), Normal(0.0, 1.0)).sum(dim=-1)
    torch.testing.assert_close(term.total, exact.sum())
    assert term.count == B * T


def test_kl_in_closed_form() -> None:
    std = 0.5
    term = kl_term(torch.full((1, 1, 1), 2.0), torch.full((1, 1, 1), std))
    assert float(term.total) == pytest.approx((4 + std**2 - 1) / 2 - math.log(std))
    assert kl_term(torch.zeros(B, T, L), torch.ones(B, T, L)).total == 0


def test_rotations_entry_by_entry() -> None:
    a, b = torch.randn(2, B, T, 6, 3, 3).unbind()
    naive = sum(float(((a[i, t] - b[i, t]) ** 2).mean()) for i in range(B) for t in range(T))
    term = rotation_term(a, b)
    assert float(term.total) == pytest.approx(naive, rel=1e-5)
    assert term.count == B * T


def test_joints_by_their_squared_distance() -> None:
    a, b = torch.randn(2, B, T, 6, 3).unbind()
    naive = sum(
        math.dist(a[i, t, j].tolist(), b[i, t, j].tolist()) ** 2 / 6
        for i in range(B)
        for t in range(T)
        for j in range(6)
    )
    term = joints_term(a, b)
    assert float(term.total) == pytest.approx(naive, rel=1e-5)
    assert term.count == B * T


def test_a_motions_unlikeliness_is_that_of_a_normal_latent() -> None:
    mean = torch.randn(B, T, L, requires_grad=True)
    term = motion_prior_term(mean)
    likelihood = Normal(0.0, 1.0).log_prob(mean) - Normal(0.0, 1.0).log_prob(torch.zeros(()))
    torch.testing.assert_close(term.total / term.count, -2 * likelihood.mean())
    term.total.backward()
    torch.testing.assert_close(mean.grad, 2 * mean.detach() / (T * L))


def test_weights_are_numbers_from_zero_on() -> None:
    with pytest.raises(ValueError, match=r"prior_losses\.kl is -1\.0, expected a number >= 0"):
        PriorWeights(kl=-1.0)
