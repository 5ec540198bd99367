from typing import Literal

import pytest
import torch

from tests.models import naive_vibe
from vibe_ray.models.motion_discriminator import MotionDiscriminator, MotionDiscriminatorConfig

Pool = Literal["attention", "concat"]


def build(pool: Pool, attention_layers: int = 3, num_layers: int = 2) -> MotionDiscriminator:
    torch.manual_seed(0)
    config = MotionDiscriminatorConfig(
        pool=pool, hidden_dim=10, num_layers=num_layers, attention_layers=attention_layers
    )
    return MotionDiscriminator(config).double()


@pytest.mark.parametrize(
    ("pool", "attention_layers"),
    [("attention", 1), ("attention", 2), ("attention", 3), ("attention", 4), ("concat", 0)],
)
@pytest.mark.parametrize(("B", "T"), [(1, 1), (1, 6), (3, 1), (3, 6)])
def test_agrees_with_the_equations_in_value_and_gradient(
    pool: Pool, attention_layers: int, B: int, T: int
) -> None:
    network = build(pool, max(attention_layers, 1)).eval()
    x = torch.randn(B, T, 69, dtype=torch.float64, requires_grad=True)
    naive = naive_vibe.discriminator(x, dict(network.named_parameters()), 2, attention_layers)
    ours = network(x)
    assert ours.shape == (B,)
    torch.testing.assert_close(ours, naive, rtol=0, atol=1e-12)
    inputs = [x, *network.parameters()]
    scale = torch.randn_like(naive)
    got = torch.autograd.grad((ours * scale).sum(), inputs)
    want = torch.autograd.grad((naive * scale).sum(), inputs)
    for a, b in zip(got, want, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-10)


def test_dropping_a_raw_attention_weight_sets_it_to_zero() -> None:
    """With everything dropped all raw weights are zero: the pooling is the plain mean."""
    network = build("attention", attention_layers=1).train()
    network.attention.attention[-1].p = 1.0
    x = torch.randn(2, 5, 69, dtype=torch.float64)
    frames = network.gru(x)
    expected = network.fc(frames.mean(dim=1))[:, 0]
    torch.testing.assert_close(network(x), expected, rtol=0, atol=1e-12)


def test_training_draws_dropout_and_eval_does_not() -> None:
    network = build("attention")
    x = torch.randn(2, 5, 69, dtype=torch.float64)
    assert not torch.equal(network.train()(x), network(x))
    assert torch.equal(network.eval()(x), network(x))


def test_windows_are_scored_alone() -> None:
    network = build("attention").eval()
    x = torch.randn(4, 5, 69, dtype=torch.float64)
    together, alone = network(x), torch.cat([network(window[None]) for window in x])
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-12)


def test_the_order_of_frames_matters() -> None:
    x = torch.randn(1, 5, 69, dtype=torch.float64)
    for pool in ("attention", "concat"):
        network = build(pool).eval()
        assert not torch.allclose(network(x), network(x.flip(1)))


def test_attention_starts_as_the_released_one() -> None:
    config = MotionDiscriminatorConfig(hidden_dim=64)
    linears = [m for m in MotionDiscriminator(config).attention.modules() if hasattr(m, "weight")]
    assert len(linears) == 3
    for linear in linears:
        assert torch.all(linear.bias == 0.01)
        assert 0.08 < linear.weight.abs().max() <= 0.1


@pytest.mark.parametrize(("pool", "expected"), [("attention", 11_762_690), ("concat", 9_663_489)])
def test_parameters_are_as_many_as_the_released_network_has(pool: Pool, expected: int) -> None:
    with torch.device("meta"):
        network = MotionDiscriminator(MotionDiscriminatorConfig(pool=pool))
    assert sum(p.numel() for p in network.parameters()) == expected


@pytest.mark.parametrize("change", [{"attention_dropout": -0.1}, {"attention_layers": 0}])
def test_senseless_settings_are_refused(change: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=f"discriminator.{next(iter(change))} is"):
        MotionDiscriminatorConfig(**change)
