import pytest

from vibe_ray.losses.weights import LossWeights


def test_a_weight_is_a_number_from_zero_up() -> None:
    assert LossWeights(adversarial=0.0).adversarial == 0
    for value in (-1.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match=r"losses\.kp_3d is .*expected a number >= 0"):
            LossWeights(kp_3d=value)
