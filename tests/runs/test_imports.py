"""Released weights as checkpoint directories."""

import json
from pathlib import Path

import pytest
import torch

from tests.features.resnets import random_encoder, spin_checkpoint
from tests.models.test_official import (
    DISCRIMINATOR,
    GENERATOR,
    released_vibe,
    save,
    trained_generator,
)
from vibe_ray.config import TrainConfig
from vibe_ray.features.frame_encoder import load_encoder
from vibe_ray.inference import Predictor
from vibe_ray.runs.imports import frame_baseline, import_checkpoint
from vibe_ray.runs.snapshots import load_config, load_generator, load_regressor


@pytest.fixture(autouse=True)
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """The authors' architecture, a few units wide."""
    config = TrainConfig(generator=GENERATOR, discriminator=DISCRIMINATOR)
    monkeypatch.setattr("vibe_ray.runs.imports.released", lambda: config)


def test_vibe_becomes_a_checkpoint_that_answers(tmp_path: Path) -> None:
    raw, out = save(released_vibe(), tmp_path / "vibe.pth.tar"), tmp_path / "out"
    manifest = import_checkpoint(str(raw), str(out), "vibe")
    assert manifest == {
        "imported_from": "vibe.pth.tar",
        "architecture": "vibe",
        "stated_pa_mpjpe_mm": 56.5,
    }
    assert json.loads((out / "manifest.json").read_text()).items() >= manifest.items()
    assert (out / "discriminator.safetensors").exists()
    _, generator = load_generator(out)
    features = torch.randn(2, 4, 12)
    expected = trained_generator().eval()(features)
    assert torch.equal(generator(features).rotmat, expected.rotmat)
    # The whole windows of two sequences, one after the other, as the predictor sees them.
    found = Predictor.from_checkpoint(str(out)).predict(features[0], chunking="sequence")
    torch.testing.assert_close(found.rotmat, expected.rotmat[0], atol=1e-5, rtol=0)


def test_the_demos_file_has_no_discriminator(tmp_path: Path) -> None:
    weights = {"gen_state_dict": released_vibe()["gen_state_dict"]}
    out = tmp_path / "out"
    import_checkpoint(str(save(weights, tmp_path / "demo")), str(out), "vibe")
    assert not (out / "discriminator.safetensors").exists()
    load_generator(out)


def test_spins_regressor_becomes_a_frame_baseline_to_start_from(tmp_path: Path) -> None:
    regressor = trained_generator().regressor.state_dict()
    content = {"model": {"conv1.weight": torch.ones(2), **regressor}}
    out = tmp_path / "out"
    import_checkpoint(str(save(content, tmp_path / "spin.pt")), str(out), "spin")
    config = load_config(out)
    assert config == frame_baseline(TrainConfig(generator=GENERATOR, discriminator=DISCRIMINATOR))
    assert not config.is_adversarial
    _, generator = load_generator(out)
    features = torch.randn(2, 4, 12)
    expected = trained_generator().eval().regressor(features)  # each frame by itself
    torch.testing.assert_close(generator(features).rotmat, expected.rotmat)
    started = trained_generator()
    started.regressor.fc1.weight.data.zero_()
    load_regressor(started, str(out))
    assert torch.equal(started.regressor.fc1.weight, regressor["fc1.weight"])


def test_spins_image_network_becomes_an_encoder_s_folder(tmp_path: Path) -> None:
    raw, out = save(spin_checkpoint(), tmp_path / "spin.pth.tar"), tmp_path / "out"
    manifest = import_checkpoint(str(raw), str(out), "resnet50")
    encoder = load_encoder(str(out))
    assert encoder.id == random_encoder().id
    known = {"imported_from": "spin.pth.tar", "architecture": "resnet50", "encoder_id": encoder.id}
    assert manifest == json.loads((out / "manifest.json").read_text()) == known


def test_what_does_not_fit_leaves_nothing_behind(tmp_path: Path) -> None:
    content = released_vibe()
    content["gen_state_dict"].pop("encoder.linear.bias")
    raw = save(content, tmp_path / "vibe.pth.tar")
    with pytest.raises(ValueError, match=r"missing encoder\.linear\.bias"):
        import_checkpoint(str(raw), str(tmp_path / "out"), "vibe")
    assert not (tmp_path / "out").exists()
