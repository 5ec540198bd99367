"""Our dropout against what the word means, and against PyTorch's in its other cases."""

import pytest
import torch

from vibe_ray.models.dropout import Dropout


@pytest.mark.parametrize("p", [0.1, 0.2, 0.5, 0.9])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
def test_drops_its_share_and_scales_the_rest(p: float, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    num_units = 1_000_001
    found = Dropout(p)(torch.ones(num_units, dtype=dtype))
    assert found.dtype == dtype
    assert set(found.unique().tolist()) == {0.0, torch.tensor(1 / (1 - p), dtype=dtype).item()}
    share = float((found == 0).double().mean())
    assert abs(share - p) < 5 * (p * (1 - p) / num_units) ** 0.5  # five standard deviations


def test_units_are_dropped_independently() -> None:
    """Four neighbors share a random number: no bit of one may tell of another."""
    torch.manual_seed(0)
    kept = (Dropout(0.5)(torch.ones(250_000, 4)) > 0).double() - 0.5
    of_pairs = 4 * kept.T @ kept / len(kept)
    assert (of_pairs - torch.eye(4)).abs().max() < 5 / len(kept) ** 0.5
    following = 4 * (kept.flatten()[:-4] * kept.flatten()[4:]).mean()
    assert abs(float(following)) < 5 / kept.numel() ** 0.5


def test_the_gradient_passes_where_the_unit_was_kept() -> None:
    torch.manual_seed(0)
    inputs = torch.randn(7, 5, dtype=torch.float64, requires_grad=True)
    outputs = Dropout(0.3)(inputs)
    outputs.sum().backward()
    assert inputs.grad is not None
    torch.testing.assert_close(inputs.grad * inputs, outputs, rtol=1e-15, atol=0)


def test_draws_follow_the_seed() -> None:
    inputs = torch.ones(1000)

    def draw(seed: int) -> torch.Tensor:
        torch.manual_seed(seed)
        return Dropout(0.5)(inputs)

    assert torch.equal(draw(1), draw(1))
    assert not torch.equal(draw(1), draw(2))


def test_off_it_hands_its_input_on() -> None:
    inputs = torch.randn(3, 4)
    assert torch.equal(Dropout(0.5).eval()(inputs), inputs)
    assert torch.equal(Dropout(0.0)(inputs), inputs)
    assert torch.equal(Dropout(1e-12)(inputs), inputs)
    assert torch.equal(Dropout(1.0)(inputs), torch.zeros(3, 4))
    assert Dropout(0.5)(torch.ones(0, 4)).shape == (0, 4)
