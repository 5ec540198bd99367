import pytest

from tests.benchmarks.steps import loss_error
from vibe_ray.losses.adversarial import FAKE, REAL


@pytest.mark.parametrize("score", [0.01, 0.3, 0.97])
def test_errors_of_scores_count_alike_wherever_they_are(score: float) -> None:
    for loss, target in ((FAKE, 0), (REAL, 1)):
        right, off = ((s - target) ** 2 for s in (score, score + 1e-3))
        error = loss_error(f"train/{loss.name}", off, right)
        assert error == pytest.approx(2e-3, rel=1e-6)


def test_other_losses_are_off_by_shares_of_themselves() -> None:
    assert loss_error("train/generator/kp_2d", 0.0101, 0.01) == pytest.approx(0.01)


def test_what_is_far_from_its_target_counts_by_its_relative_error() -> None:
    """To first order, as a loss of 1 would be measured without a root."""
    assert loss_error(f"train/{FAKE.name}", 1.0 + 1e-6, 1.0) == pytest.approx(1e-6, rel=1e-3)
