import pytest
import torch
from torch import Tensor

from tests.models import naive_vibe
from vibe_ray.models.tcmr_encoder import TcmrEncoder, TcmrEncoderConfig

F, H = 6, 4


def build(num_layers: int = 2) -> TcmrEncoder:
    torch.manual_seed(0)
    config = TcmrEncoderConfig(hidden_dim=H, num_layers=num_layers, attention_dim=3)
    return TcmrEncoder(config, F).double()


def naive(encoder: TcmrEncoder, window: Tensor, t: int) -> Tensor:
    """The feature of one frame of one window (T, F): each branch run for this frame alone."""
    w = dict(encoder.named_parameters())

    def last_state(name: str, frames: Tensor) -> Tensor:
        layers = encoder.config.num_layers
        gru = {f"gru.{k}": v for k, v in getattr(encoder, name).named_parameters()}
        return naive_vibe.gru(frames[None], gru, layers, bidirectional=name == "whole")[0]

    states = {"whole": last_state("whole", window)[t]}
    if t > 0:
        states["past"] = last_state("past", window[:t])[-1]
    if t < len(window) - 1:
        states["future"] = last_state("future", window[t + 1 :].flip(0))[-1]
    said = {
        name: w[f"from_{name}.weight"] @ states[name].clamp(min=0) + w[f"from_{name}.bias"]
        for name in states
    }
    # A branch that is missing at an end still is compared, by what it says of nothing.
    compared = [
        torch.tanh(w["compare.weight"] @ said.get(name, w[f"from_{name}.bias"]) + w["compare.bias"])
        for name in ("whole", "past", "future")
    ]
    raw = w["weigh.weight"] @ torch.cat(compared) + w["weigh.bias"]
    shares = {n: raw[i].exp() for i, n in enumerate(("whole", "past", "future")) if n in said}
    return sum(shares[n] * said[n] for n in said) / sum(shares.values())


@pytest.mark.parametrize("num_layers", [1, 2])
@pytest.mark.parametrize("num_frames", [1, 2, 5])
def test_agrees_with_the_equations_in_value_and_gradient(num_layers: int, num_frames: int) -> None:
    encoder = build(num_layers)
    x = torch.randn(2, num_frames, F, dtype=torch.float64, requires_grad=True)
    expected = torch.stack(
        [torch.stack([naive(encoder, window, t) for t in range(num_frames)]) for window in x]
    )
    found = encoder(x)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
    weight = torch.randn_like(found)
    inputs = [x, *encoder.parameters()]
    got = torch.autograd.grad((found * weight).sum(), inputs)
    want = torch.autograd.grad(
        (expected * weight).sum(), inputs, allow_unused=True, materialize_grads=True
    )
    for a, b in zip(got, want, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-10)


def test_two_witnesses_do_not_see_the_frame_itself() -> None:
    encoder, t = build(), 3
    x = torch.randn(1, 7, F, dtype=torch.float64)
    changed = x.clone()
    changed[:, t] += 1
    before, after = encoder.branches(x), encoder.branches(changed)
    assert torch.equal(before[:, : t + 1, 1], after[:, : t + 1, 1])  # the past
    assert torch.equal(before[:, t:, 2], after[:, t:, 2])  # the future
    assert (before[:, t + 1 :, 1] != after[:, t + 1 :, 1]).any()
    assert (before[:, :t, 2] != after[:, :t, 2]).any()
    assert (before[:, t, 0] != after[:, t, 0]).any()


def test_who_has_seen_nothing_has_no_say() -> None:
    encoder = build()
    weights = encoder.weights(encoder.branches(torch.randn(2, 5, F, dtype=torch.float64)))
    torch.testing.assert_close(weights.sum(-1), torch.ones(2, 5, dtype=torch.float64))
    nothing = weights == 0
    assert nothing[:, 0, 1].all()
    assert nothing[:, -1, 2].all()
    assert int(nothing.sum()) == 4


@pytest.mark.parametrize("name", ["hidden_dim", "num_layers", "attention_dim"])
def test_senseless_settings_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match=rf"temporal_encoder\.tcmr\.{name} is 0"):
        TcmrEncoderConfig(**{name: 0})
