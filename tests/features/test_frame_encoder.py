import hashlib
import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from safetensors.numpy import load_file
from torch import Tensor, nn

from tests.data import noise
from vibe_ray.data.labels import LabelledSequence, LabelNames
from vibe_ray.features import frame_encoder
from vibe_ray.features.frame_encoder import FrameEncoder, kinds, load_encoder
from vibe_ray.features.keypoint_encoder import KeypointEncoder, KeypointEncoderConfig
from vibe_ray.pretrained import packaged

SMALL = KeypointEncoderConfig(hidden_dim=16, num_blocks=1)


@dataclass(frozen=True, kw_only=True)
class MeanColorConfig:
    num: int = 3


class MeanColor(FrameEncoder):
    """The smallest encoder of another kind: a scaled mean color of crops."""

    kind = "mean_color"
    needs = "crops"
    config_class = MeanColorConfig

    def __init__(self, config: MeanColorConfig) -> None:
        super().__init__(config)
        self.scale = nn.Parameter(torch.rand(config.num))

    @property
    def feature_dim(self) -> int:
        return int(self.config.num)

    def encode(self, labels: LabelledSequence, *, mirrored: bool = False) -> Tensor:
        return torch.ones(labels.num_frames, 3) * self.scale.detach()


@pytest.fixture
def two_kinds(monkeypatch: pytest.MonkeyPatch) -> None:
    table = {**kinds(), "mean_color": MeanColor}
    monkeypatch.setattr(frame_encoder, "kinds", lambda: table)


def small(seed: int = 0) -> KeypointEncoder:
    torch.manual_seed(seed)
    return KeypointEncoder(SMALL)


def test_the_table_calls_each_kind_as_it_calls_itself() -> None:
    assert [(name, found.kind) for name, found in kinds().items()] == [
        ("keypoints", "keypoints"),
        ("resnet50", "resnet50"),
    ]


def test_the_packaged_encoder_is_the_one_that_shards_and_checkpoints_name() -> None:
    encoder = load_encoder("open")
    assert encoder.id == "keypoints-dd2e293ffac3"
    assert (encoder.kind, encoder.needs, encoder.feature_dim) == ("keypoints", "keypoints", 2048)
    for name in ("vibe", "frame_baseline"):
        manifest = json.loads((packaged(name) / "manifest.json").read_text())  # type: ignore[arg-type]
        assert manifest["encoder_id"] == encoder.id


def test_the_id_is_a_hash_of_the_weights_as_any_reader_sees_them(tmp_path: Path) -> None:
    encoder = small()
    encoder.save(tmp_path, {})
    digest = hashlib.sha256()
    for name, value in sorted(load_file(tmp_path / "model.safetensors").items()):
        digest.update(name.encode() + value.astype("<f4").tobytes())
    assert encoder.id == f"keypoints-{digest.hexdigest()[:12]}"


@pytest.mark.usefixtures("two_kinds")
@pytest.mark.parametrize("encoder", [small(), MeanColor(MeanColorConfig(num=5))])
def test_every_kind_is_saved_and_loaded(tmp_path: Path, encoder: FrameEncoder) -> None:
    encoder.save(tmp_path / "encoder", {"seed": 0})
    loaded = load_encoder(str(tmp_path / "encoder"))
    assert type(loaded) is type(encoder)
    assert loaded.config == encoder.config
    assert loaded.id == encoder.id
    assert loaded.id.startswith(f"{encoder.kind}-")
    for name, value in encoder.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value)
    manifest = json.loads((tmp_path / "encoder" / "manifest.json").read_text())
    assert manifest == {"encoder_id": loaded.id, "seed": 0}


def test_what_is_loaded_is_frozen(tmp_path: Path) -> None:
    small().save(tmp_path, {})
    loaded = load_encoder(str(tmp_path))
    assert not loaded.training
    assert not any(p.requires_grad for p in loaded.parameters())


def test_other_weights_have_another_id() -> None:
    encoder = small()
    before = encoder.id
    with torch.no_grad():
        encoder.output.bias[7] += 1.0
    assert encoder.id != before
    assert small().id != small(seed=1).id
    assert small().id == small().freeze().id


def test_saving_a_frozen_encoder_anew_keeps_id_and_weights_together(tmp_path: Path) -> None:
    encoder = small().freeze()  # not rounded yet
    encoder.save(tmp_path, {})
    assert encoder.id == load_encoder(str(tmp_path)).id


def test_a_config_of_before_there_were_kinds_is_the_keypoints(tmp_path: Path) -> None:
    shutil.copytree(packaged("keypoint_encoder"), tmp_path / "encoder")
    config = json.loads((tmp_path / "encoder/config.json").read_text())
    config.pop("kind", None)
    (tmp_path / "encoder/config.json").write_text(json.dumps(config))
    assert load_encoder(str(tmp_path / "encoder")).id == load_encoder("open").id


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_missing_files_are_told(tmp_path: Path, name: str) -> None:
    small().save(tmp_path, {})
    (tmp_path / name).unlink()
    with pytest.raises(FileNotFoundError, match=rf"no {name} in .*--recipe frame_encoder"):
        load_encoder(str(tmp_path))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hidden_dim": 32}, "of another version"),
        ({"width": 3}, "of another version"),
        ({"kind": "vit"}, r"of kind 'vit'; this vibe_ray knows keypoints, resnet50"),
    ],
)
def test_a_foreign_config_is_told(tmp_path: Path, change: dict[str, int], message: str) -> None:
    small().save(tmp_path, {})
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | change))
    with pytest.raises(ValueError, match=message):
        load_encoder(str(tmp_path))


def test_labels_without_what_an_encoder_needs_are_refused() -> None:
    small().check_has("here", noise.NAMES, has_pixels=False)
    with pytest.raises(ValueError, match="here: no detected key-points, which encoder keypoints-"):
        small().check_has("here", LabelNames(kp_2d=noise.NAMES.kp_2d), has_pixels=True)
    colors = MeanColor(MeanColorConfig())
    colors.check_has("here", LabelNames(), has_pixels=True)
    with pytest.raises(ValueError, match="here: no video or images, of which encoder mean_color-"):
        colors.check_has("here", noise.NAMES, has_pixels=False)
