import pytest
import torch

from tests.training.tiny import random_batch
from vibe_ray.losses.adversarial import (
    ADVERSARIAL,
    FAKE,
    REAL,
    from_one,
    from_zero,
    turn_gradient,
)


@pytest.mark.parametrize("B", [1, 5])
def test_terms_are_least_squares_over_windows(B: int) -> None:
    score = torch.randn(B, dtype=torch.float64)
    for loss, goal in ((ADVERSARIAL, 1.0), (REAL, 1.0), (FAKE, 0.0)):
        batch = random_batch(0, 0, B) if loss is REAL else random_batch(0, B, 0)
        assert loss.count(batch) == B
        expected = torch.nn.functional.mse_loss(score, torch.full_like(score, goal))
        found = loss.share({loss.name: loss.count(batch)}, score)
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


def test_parts_add_up_to_the_whole() -> None:
    score = torch.randn(5, dtype=torch.float64)
    first, second = from_one(score[:2]), from_one(score[2:])
    torch.testing.assert_close(first + second, from_one(score), rtol=0, atol=1e-12)


def test_nobody_descends_once_the_goal_is_reached() -> None:
    for fn, goal in ((from_one, 1.0), (from_zero, 0.0)):
        score = torch.full((3,), goal, requires_grad=True)
        fn(score).backward()
        assert score.grad is not None
        assert torch.equal(score.grad, torch.zeros(3))


def naive_scores(motion: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    return (motion @ weight).tanh().sum(dim=1)


@pytest.mark.parametrize("offset", [0.0, 1.0, -3.0, 1e6])
def test_one_backward_pass_serves_both_players(offset: float) -> None:
    torch.manual_seed(0)
    motion = torch.randn(5, 4, 3, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(3, dtype=torch.float64, requires_grad=True)
    (of_motion,) = torch.autograd.grad(from_one(naive_scores(motion, weight) + offset), motion)
    (of_weight,) = torch.autograd.grad(
        from_zero(naive_scores(motion.detach(), weight) + offset), weight
    )
    made = motion * 1.0  # what a generator makes is no leaf
    score = turn_gradient(made, naive_scores(made, weight) + offset)
    from_zero(score).backward()
    torch.testing.assert_close(motion.grad, of_motion, rtol=1e-12, atol=0)
    torch.testing.assert_close(weight.grad, of_weight, rtol=1e-12, atol=0)


def test_a_score_of_nothing_still_draws_the_generator_on() -> None:
    motion = torch.zeros(2, 4, requires_grad=True)
    made = motion * 1.0
    score = turn_gradient(made, made.sum(dim=1))
    assert (score.detach().abs() < 1e-11).all()
    from_zero(score).backward()
    torch.testing.assert_close(motion.grad, torch.full((2, 4), -2.0), rtol=1e-6, atol=0)
