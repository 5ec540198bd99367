import math
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from tests.training.tiny import tiny, tiny_state
from vibe_ray.inference import Predictor
from vibe_ray.models.transformer_encoder import (
    TransformerEncoder,
    TransformerEncoderConfig,
    attend,
)

F = 6


def build(*, reach: int = 3, num_layers: int = 2, residual: bool = False) -> TransformerEncoder:
    torch.manual_seed(0)
    config = TransformerEncoderConfig(
        hidden_dim=8, num_layers=num_layers, num_heads=2, reach=reach, residual=residual
    )
    encoder = TransformerEncoder(config, F).double().eval()
    nn.init.normal_(encoder.outputs.weight)
    return encoder


def turned(x: Tensor, position: int) -> Tensor:
    """Rotate (D,) as complex numbers: the first half are the real parts."""
    half = len(x) // 2
    speed = torch.tensor([10_000.0 ** (-i / half) for i in range(half)], dtype=x.dtype)
    number = torch.complex(x[:half], x[half:]) * torch.exp(1j * position * speed)
    return torch.cat([number.real, number.imag])


def naive_attend(q: Tensor, k: Tensor, v: Tensor, reach: int) -> Tensor:
    """One query at a time, positions counted from the sequence's start: (T, D) each."""
    seen = []
    for t in range(len(q)):
        near = [s for s in range(len(k)) if reach == 0 or abs(s - t) <= reach]
        scores = torch.stack([turned(q[t], t) @ turned(k[s], s) for s in near])
        weights = (scores / math.sqrt(q.shape[1])).softmax(0)
        seen.append(sum(w * v[s] for w, s in zip(weights, near, strict=True)))
    return torch.stack(seen)


@pytest.mark.parametrize("reach", [0, 1, 2, 3, 5, 8, 20])
@pytest.mark.parametrize("num_frames", [1, 2, 3, 7, 9, 16])
def test_attention_is_that_of_a_loop_in_value_and_gradient(num_frames: int, reach: int) -> None:
    torch.manual_seed(0)
    qkv = [
        torch.randn(2, 3, num_frames, 4, dtype=torch.float64, requires_grad=True) for _ in range(3)
    ]
    found = attend(*qkv, reach)
    expected = torch.stack(
        [
            torch.stack([naive_attend(*(x[b, h] for x in qkv), reach) for h in range(3)])
            for b in range(2)
        ]
    )
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
    weight = torch.randn_like(found)
    got = torch.autograd.grad((found * weight).sum(), qkv)
    want = torch.autograd.grad(
        (expected * weight).sum(), qkv, allow_unused=True, materialize_grads=True
    )
    for a, b in zip(got, want, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-12)


def test_without_positions_it_is_torchs_own_encoder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vibe_ray.models.transformer_encoder._rotated", lambda x, _positions: x)
    encoder = build(reach=0)
    layer = nn.TransformerEncoderLayer(
        8, 2, 32, activation="gelu", batch_first=True, norm_first=True, dropout=0
    )
    torchs = nn.TransformerEncoder(layer, 2, norm=nn.LayerNorm(8), enable_nested_tensor=False)
    names = {
        "attention_norm": "norm1",
        "frame_norm": "norm2",
        "qkv.weight": "self_attn.in_proj_weight",
        "qkv.bias": "self_attn.in_proj_bias",
        "mix": "self_attn.out_proj",
        "widen": "linear1",
        "narrow": "linear2",
    }
    weights = {}
    for key, value in encoder.state_dict().items():
        if key.startswith(("layers.", "norm.")):
            name = key
            for ours, theirs in names.items():
                name = name.replace(ours, theirs)
            weights[name] = value
    torchs.double().load_state_dict(weights)
    x = torch.randn(3, 10, F, dtype=torch.float64)
    expected = encoder.outputs(torchs(encoder.inputs(x)))
    torch.testing.assert_close(encoder(x), expected, rtol=0, atol=1e-12)


def test_nothing_beyond_reach_matters_and_all_within_does() -> None:
    encoder, t = build(reach=3, num_layers=2), 15
    x = torch.randn(1, 31, F, dtype=torch.float64)
    changed = x.clone()
    changed[:, t] += 1
    differs = (encoder(x) != encoder(changed)).any(-1)[0]
    assert differs.nonzero().squeeze(-1).tolist() == list(range(t - 6, t + 7))


@pytest.mark.parametrize("reach", [2, 3])
def test_a_sequence_ten_times_as_long_gives_what_its_windows_do(reach: int) -> None:
    """Frames farther from a window's ends than the network looks do not know where it was cut."""
    encoder, T = build(reach=reach), 16
    edge = reach * encoder.config.num_layers
    x = torch.randn(2, 10 * T, F, dtype=torch.float64)
    whole = encoder(x)
    for start in range(9 * T + 1):  # also where blocks lie otherwise
        window = encoder(x[:, start : start + T])
        expected = whole[:, start + edge : start + T - edge]
        torch.testing.assert_close(window[:, edge : T - edge], expected, rtol=0, atol=1e-12)
    ends = encoder(x[:, :T])[:, :edge], encoder(x[:, -T:])[:, -edge:]
    torch.testing.assert_close(ends[0], whole[:, :edge], rtol=0, atol=1e-12)
    torch.testing.assert_close(ends[1], whole[:, -edge:], rtol=0, atol=1e-12)


def test_a_predictor_gives_the_same_in_windows_and_in_one_go(tmp_path: Path) -> None:
    T, reach, num_layers = 20, 3, 2
    encoder = "generator.temporal_encoder"
    settings = {"hidden_dim": 16, "num_heads": 2, "num_layers": num_layers, "reach": reach}
    changes = {f"{encoder}.transformer.{name}": value for name, value in settings.items()}
    changes |= {f"{encoder}.transformer.residual_frames": 1, f"{encoder}.kind": "transformer"}
    state = tiny_state(tiny(**changes, **{"data.window_length": T}))
    nn.init.normal_(state.generator.encoder.outputs.weight, std=0.3)
    state.snapshot({}).write(tmp_path)
    predictor = Predictor.from_checkpoint(str(tmp_path))
    x = torch.randn(10 * T, state.config.generator.feature_dim)
    whole, cut = (predictor.predict(x, chunking=how) for how in ("sequence", "windows"))
    differ = (whole.rotmat - cut.rotmat).abs().flatten(1).amax(1).unflatten(0, (10, T))
    edge = num_layers * reach
    assert differ[:, edge : T - edge].max() < 1e-5
    assert differ[1:, 0].min() > 1e-4  # what one window cannot know of the one before
    assert differ[0, : T - edge].max() < 1e-5  # nothing is cut off at the sequence's own ends
    assert differ[-1, edge:].max() < 1e-5


def test_an_hour_is_rounded_no_more_than_a_second() -> None:
    """A motion said over and over is answered the same, bit for bit, at its end."""
    encoder = build(reach=4).float()
    one = torch.randn(1, 8, F)
    whole = encoder(one.repeat(1, 3600 * 30 // 8, 1)).unflatten(1, (-1, 8))
    assert torch.equal(whole[:, 2], whole[:, -3])


def test_with_a_residual_training_starts_from_the_frames() -> None:
    torch.manual_seed(0)
    config = TransformerEncoderConfig(hidden_dim=8, num_heads=2)
    x = torch.randn(2, 16, F)
    assert torch.equal(TransformerEncoder(config, F)(x), x)


def test_dropout_is_drawn_in_training_alone() -> None:
    encoder, x = build(), torch.randn(2, 16, F, dtype=torch.float64)
    assert torch.equal(encoder(x), encoder(x))
    assert not torch.equal(encoder.train()(x), encoder(x))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_heads": 0}, r"transformer\.num_heads is 0, must be >= 1"),
        ({"reach": -1}, r"transformer\.reach is -1, must be >= 0"),
        ({"dropout": 1.0}, r"transformer\.dropout is 1.0, expected"),
        ({"residual_frames": 2}, r"transformer\.residual_frames is 2, must be odd"),
    ],
)
def test_senseless_settings_are_refused(change: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TransformerEncoderConfig(**change)


def test_a_width_that_heads_cannot_share_is_refused() -> None:
    config = TransformerEncoderConfig(hidden_dim=12, num_heads=4)
    with pytest.raises(ValueError, match=r"hidden_dim is 12, must be a multiple .* 8"):
        TransformerEncoder(config, F)
