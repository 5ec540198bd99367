"""What holds for every kind: how it is chosen, and how it runs in training and inference."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from vibe_ray.config import TrainConfig, from_dict, from_saved
from vibe_ray.models.generator import Generator, GeneratorConfig
from vibe_ray.models.gru_encoder import GruEncoder, GruEncoderConfig
from vibe_ray.models.smpl_regressor import SmplRegressorConfig
from vibe_ray.models.tcmr_encoder import TcmrEncoder, TcmrEncoderConfig
from vibe_ray.models.temporal_encoder import TemporalEncoderConfig, temporal_encoder
from vibe_ray.models.transformer_encoder import TransformerEncoder, TransformerEncoderConfig
from vibe_ray.pretrained import Packaged, packaged
from vibe_ray.runs.snapshots import load_generator
from vibe_ray.settings import override, to_dict

F = 6
KINDS: dict[str, tuple[Any, dict[str, Any], type[nn.Module]]] = {
    "gru": ("gru", {}, GruEncoder),
    "gru both ways": ("gru", {"bidirectional": True, "residual_frames": 3}, GruEncoder),
    "tcmr": ("tcmr", {}, TcmrEncoder),
    "transformer": ("transformer", {}, TransformerEncoder),
    "none": ("none", {}, nn.Identity),
}
LEARNING = [name for name in KINDS if name != "none"]


def config_of(name: str) -> TemporalEncoderConfig:
    return TemporalEncoderConfig(
        gru=GruEncoderConfig(**{"hidden_dim": 4, **KINDS[name][1]}),
        tcmr=TcmrEncoderConfig(hidden_dim=4, attention_dim=3),
        transformer=TransformerEncoderConfig(
            hidden_dim=8, num_layers=2, num_heads=2, reach=3, residual_frames=3
        ),
        kind=KINDS[name][0],
    )


def build(name: str) -> nn.Module:
    """The kind with weights of some size: a residual's output starts at zero."""
    torch.manual_seed(0)
    encoder = temporal_encoder(config_of(name), F)
    for parameter in encoder.parameters():
        nn.init.normal_(parameter, std=0.5)
    return encoder.double().eval()


@pytest.mark.parametrize("name", KINDS)
def test_each_kind_has_its_class(name: str) -> None:
    assert type(build(name)) is KINDS[name][2]


def test_none_passes_features_through_without_weights() -> None:
    encoder, x = build("none"), torch.randn(2, 3, F)
    assert encoder(x) is x
    assert not list(encoder.parameters())


@pytest.mark.parametrize("name", LEARNING)
@pytest.mark.parametrize("num_frames", [1, 2, 3, 4, 5, 16, 17])
def test_windows_of_any_length_are_encoded_alone(name: str, num_frames: int) -> None:
    encoder = build(name)
    x = torch.randn(3, num_frames, F, dtype=torch.float64)
    together = encoder(x)
    assert together.shape == x.shape
    assert together.isfinite().all()
    alone = torch.cat([encoder(window[None]) for window in x])
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", LEARNING)
@pytest.mark.parametrize("num_frames", [1, 16])
def test_every_weight_has_a_part_in_the_graph(name: str, num_frames: int) -> None:
    """What DDP asks for; and of a real window every weight learns."""
    encoder = build(name).train()
    encoder(torch.randn(2, num_frames, F, dtype=torch.float64)).square().sum().backward()
    for key, parameter in encoder.named_parameters():
        assert parameter.grad is not None, key
        assert parameter.grad.isfinite().all(), key
        assert num_frames == 1 or parameter.grad.any(), key


@pytest.mark.parametrize("name", LEARNING)
def test_half_precision_comes_close_and_leaves_in_full(name: str) -> None:
    encoder, x = build(name).float(), torch.randn(2, 16, F)
    with torch.autocast("cpu", torch.bfloat16):
        rough = encoder(x)
    assert rough.dtype == torch.float32
    fine = encoder(x)
    assert 0 < (rough - fine).norm() / fine.norm() < 0.05


@pytest.mark.parametrize("name", LEARNING)
def test_a_compiled_one_is_a_single_graph_and_gives_the_same(name: str) -> None:
    encoder, x = build(name), torch.randn(2, 16, F, dtype=torch.float64)
    compiled = torch.compile(encoder, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(x), encoder(x), rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", LEARNING)
def test_a_folded_generator_gives_the_same(name: str) -> None:
    regressor = SmplRegressorConfig(hidden_dim=5, mean_params="rest")
    config = GeneratorConfig(feature_dim=F, temporal_encoder=config_of(name), regressor=regressor)
    torch.manual_seed(0)
    generator = Generator(config).double()
    for parameter in generator.parameters():
        nn.init.normal_(parameter, std=0.2)
    x = torch.randn(2, 40, F, dtype=torch.float64)
    folded, plain = generator.folded()(x), generator.eval()(x)
    for part in ("rotmat", "betas", "cam"):
        torch.testing.assert_close(getattr(folded, part), getattr(plain, part))


@pytest.mark.parametrize("name", KINDS)
def test_configs_come_back_from_json(name: str) -> None:
    settings = {
        f"generator.temporal_encoder.gru.{key}": value for key, value in KINDS[name][1].items()
    } | {
        "generator.temporal_encoder.kind": KINDS[name][0],
        "generator.temporal_encoder.tcmr.attention_dim": "12",
        "generator.temporal_encoder.transformer.reach": "5",
    }
    config = override(TrainConfig(), settings)
    assert from_dict(to_dict(config)) == config
    assert config.generator.temporal_encoder.transformer.reach == 5
    assert config.generator.temporal_encoder.tcmr.attention_dim == 12


@pytest.mark.parametrize("has_others", [False, True])
def test_a_config_of_the_time_when_the_grus_settings_were_flat_is_read(has_others: bool) -> None:
    values = to_dict(TrainConfig())
    encoder = values["generator"]["temporal_encoder"]
    encoder |= {**encoder.pop("gru"), "bidirectional": True, "hidden_dim": 7}
    if not has_others:
        for section in ("tcmr", "transformer"):
            del encoder[section]
    expected = TemporalEncoderConfig(gru=GruEncoderConfig(bidirectional=True, hidden_dim=7))
    assert from_saved(values, "config.json").generator.temporal_encoder == expected


@pytest.mark.parametrize("name", ["vibe", "frame_baseline"])
def test_weights_of_that_time_are_read(name: Packaged, tmp_path: Path) -> None:
    shutil.copytree(packaged(name), tmp_path, dirs_exist_ok=True)
    values = json.loads((tmp_path / "config.json").read_text())
    encoder = values["generator"]["temporal_encoder"]
    encoder |= encoder.pop("gru")
    (tmp_path / "config.json").write_text(json.dumps(values))
    (found, _), (expected, _) = load_generator(tmp_path), load_generator(packaged(name))
    assert found.generator.temporal_encoder == expected.generator.temporal_encoder


@pytest.mark.parametrize(
    "setting", ["hidden_dim", "num_layers", "bidirectional", "residual_frames"]
)
def test_a_flat_name_is_unknown_and_the_new_one_named(setting: str) -> None:
    name = f"generator.temporal_encoder.{setting}"
    with pytest.raises(ValueError, match=f"no setting '{name}'; did you mean '.*gru.{setting}'"):
        override(TrainConfig(), {name: 1})
