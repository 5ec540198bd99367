import dataclasses
import itertools

import pytest
import torch

from tests.models import naive_vibe
from vibe_ray.models.gru_encoder import GruEncoder, GruEncoderConfig

# (hidden_dim, bidirectional, add_linear, residual); features are 6 wide.
VARIANTS = [
    (hidden, *flags)
    for hidden, flags in itertools.product((4, 6), itertools.product((False, True), repeat=3))
    if hidden == 6 or flags[0] or flags[1]
]


def build(variant: tuple[int, bool, bool, bool], num_layers: int = 2) -> GruEncoder:
    hidden, bidirectional, add_linear, residual = variant
    torch.manual_seed(0)
    config = GruEncoderConfig(
        hidden_dim=hidden,
        num_layers=num_layers,
        bidirectional=bidirectional,
        add_linear=add_linear,
        residual=residual,
    )
    return GruEncoder(config, feature_dim=6).double()


@pytest.mark.parametrize("num_layers", [1, 3])
@pytest.mark.parametrize("variant", VARIANTS)
def test_agrees_with_the_equations_in_value_and_gradient(
    variant: tuple[int, bool, bool, bool], num_layers: int
) -> None:
    encoder = build(variant, num_layers)
    x = torch.randn(3, 5, 6, dtype=torch.float64, requires_grad=True)
    inputs = [x, *encoder.parameters()]
    _, bidirectional, add_linear, residual = variant
    naive = naive_vibe.encoder(
        x,
        dict(encoder.named_parameters()),
        num_layers=num_layers,
        bidirectional=bidirectional,
        linear=add_linear or bidirectional,
        residual=residual,
    )
    ours = encoder(x)
    torch.testing.assert_close(ours, naive, rtol=0, atol=1e-12)
    weight = torch.randn_like(ours)
    gradients = torch.autograd.grad((ours * weight).sum(), inputs)
    expected = torch.autograd.grad((naive * weight).sum(), inputs)
    for got, want in zip(gradients, expected, strict=True):
        torch.testing.assert_close(got, want, rtol=0, atol=1e-10)


def test_one_direction_sees_no_future_and_both_do() -> None:
    x = torch.randn(1, 6, 6, dtype=torch.float64)
    changed = x.clone()
    changed[:, 4:] += 1
    causal = build((4, False, True, True))
    both = build((4, True, True, True))
    assert torch.equal(causal(x)[:, :4], causal(changed)[:, :4])
    assert (both(x)[:, :4] != both(changed)[:, :4]).any()


@pytest.mark.parametrize("shape", [(1, 1, 6), (1, 4, 6), (4, 1, 6)])
def test_single_windows_and_frames(shape: tuple[int, int, int]) -> None:
    assert build((4, False, True, True))(torch.randn(shape, dtype=torch.float64)).shape == shape


def test_an_output_of_another_width_is_refused() -> None:
    config = GruEncoderConfig(hidden_dim=4, add_linear=False)
    with pytest.raises(ValueError, match=r"hidden_dim is 4 .* 6 wide: set add_linear=true"):
        GruEncoder(config, feature_dim=6)


def test_senseless_settings_are_refused() -> None:
    with pytest.raises(ValueError, match=r"temporal_encoder\.gru\.num_layers is 0"):
        GruEncoderConfig(num_layers=0)


def test_the_averaged_residual_is_a_weighted_mean_of_neighbors() -> None:
    config = GruEncoderConfig(hidden_dim=4, num_layers=1, residual_frames=3)
    encoder = GruEncoder(config, 6).double()
    assert encoder.average is not None
    features = torch.randn(2, 5, 6, dtype=torch.float64)
    with torch.no_grad():
        encoder.average.weight.copy_(torch.rand(6, 1, 3))
    found = encoder.average(features)
    for t in range(5):
        expected = sum(
            encoder.average.weight[:, 0, k] * features[:, min(max(t + k - 1, 0), 4)]
            for k in range(3)
        )
        torch.testing.assert_close(found[:, t], expected)
    without = GruEncoder(dataclasses.replace(config, residual=False), 6).double()
    without.load_state_dict(encoder.state_dict(), strict=False)
    torch.testing.assert_close(encoder(features), without(features) + found)


def test_an_even_average_is_refused() -> None:
    with pytest.raises(ValueError, match="residual_frames is 4, must be odd"):
        GruEncoderConfig(residual_frames=4)
