import pytest
import torch

from vibe_ray.losses.adversarial import (
    discriminator_fake_term,
    discriminator_real_term,
    generator_term,
)


@pytest.mark.parametrize("B", [1, 5])
def test_terms_are_least_squares_over_windows(B: int) -> None:
    score = torch.randn(B, dtype=torch.float64)
    for term, goal in (
        (generator_term(score), 1.0),
        (discriminator_real_term(score), 1.0),
        (discriminator_fake_term(score), 0.0),
    ):
        expected = torch.nn.functional.mse_loss(score, torch.full_like(score, goal))
        torch.testing.assert_close(term.total / term.count, expected, rtol=0, atol=1e-12)
        assert term.count == B


def test_parts_add_up_to_the_whole() -> None:
    score = torch.randn(5, dtype=torch.float64)
    whole = generator_term(score)
    first, second = generator_term(score[:2]), generator_term(score[2:])
    torch.testing.assert_close(first.total + second.total, whole.total, rtol=0, atol=1e-12)
    assert first.count + second.count == whole.count


def test_nobody_descends_once_the_goal_is_reached() -> None:
    for fn, goal in ((generator_term, 1.0), (discriminator_fake_term, 0.0)):
        score = torch.full((3,), goal, requires_grad=True)
        fn(score).total.backward()
        assert score.grad is not None
        assert torch.equal(score.grad, torch.zeros(3))
