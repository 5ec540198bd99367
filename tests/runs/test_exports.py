"""Trained networks in half precision: what is written, and that every command takes it."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.data import noise
from tests.training.tiny import (
    random_batch,
    tiny,
    tiny_frames,
    tiny_frames_state,
    tiny_prior,
    tiny_prior_state,
    tiny_state,
)
from vibe_ray.body.skeletons import WHOLEBODY_23
from vibe_ray.data.batches import local_step_batches
from vibe_ray.features.frame_encoder import load_encoder
from vibe_ray.features.keypoint_encoder import encoder_inputs
from vibe_ray.inference import Predictor
from vibe_ray.runs.exports import export_checkpoint
from vibe_ray.runs.snapshots import load_config, load_generator
from vibe_ray.settings import override
from vibe_ray.training.prior import load_prior
from vibe_ray.training.tasks import create, make_step_plan

CPU = torch.device("cpu")
OF_RUN = {
    "step": 6,
    "data_hash": "abc",
    "encoder_id": "",
    "metrics": {"val/reconstruction_mm": 5.0, "system/steps_per_s": 9.0},
}


def test_a_package_names_no_place_of_the_machine_it_was_made_on(tmp_path: Path) -> None:
    here = {"data.root": "/my/data", "windows.encoder": "/my/encoder", "motion_prior": "/my/prior"}
    config = override(tiny(), {**here, "initial_regressor": "scratch"})
    state = tiny_state(config)
    begun = {"initial_regressor": "/my/run", "initial_frame_encoder": "open"}
    state.config = override(config, begun)
    (tmp_path / "run").mkdir()
    state.snapshot(OF_RUN).write(tmp_path / "run")
    export_checkpoint(str(tmp_path / "run"), str(tmp_path / "out"))
    assert "/my/" not in (tmp_path / "out/config.json").read_text()
    found = load_config(tmp_path / "out")
    assert (found.initial_regressor, found.windows.encoder) == ("elsewhere", "elsewhere")
    assert (found.initial_frame_encoder, found.motion_prior) == ("open", "elsewhere")
    assert found.generator == config.generator


def test_a_motion_prior_is_written_without_what_it_was_compared_with(tmp_path: Path) -> None:
    state = tiny_prior_state(tiny_prior(data__root="/somewhere", seed=3))
    (tmp_path / "run").mkdir()
    state.snapshot(OF_RUN).write(tmp_path / "run")
    manifest = export_checkpoint(str(tmp_path / "run"), str(tmp_path / "out"))
    assert manifest == {
        "step": 6,
        "data_hash": "abc",
        "seed": 3,
        "validation_metrics": {"val/reconstruction_mm": 5.0},
    }
    assert json.loads((tmp_path / "out/manifest.json").read_text()).items() > manifest.items()
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {"config.json", "manifest.json", "prior.safetensors"}
    assert load_config(tmp_path / "out") == override(state.config, {"data.root": "data/open"})
    stored = load_file(tmp_path / "out/prior.safetensors")
    prior = load_prior(tmp_path / "out")
    for name, value in state.networks["prior"].state_dict().items():
        assert stored[name].dtype == torch.float16
        torch.testing.assert_close(prior.state_dict()[name], value, rtol=2**-11, atol=1e-7)
    config = tiny(losses__motion_prior=1.0, motion_prior=str(tmp_path / "out"))
    create(config, torch.device("cpu"))


@pytest.mark.parametrize("adversarial", [0.0, 0.5])
def test_a_generator_answers_as_before(adversarial: float, tmp_path: Path) -> None:
    state = tiny_state(tiny(losses__adversarial=adversarial))
    (tmp_path / "run").mkdir()
    state.snapshot({**OF_RUN, "encoder_id": "noise"}).write(tmp_path / "run")
    out = str(tmp_path / "out")
    assert export_checkpoint(str(tmp_path / "run"), out)["encoder_id"] == "noise"
    assert (tmp_path / "out/discriminator.safetensors").exists() == (adversarial > 0)
    features = random_batch(2, 3, 4).pose.features[0]
    before, after = (Predictor.from_checkpoint(path) for path in (str(tmp_path / "run"), out))
    assert after.encoder_id == "noise"
    found, expected = (predictor.predict(features).rotmat for predictor in (after, before))
    torch.testing.assert_close(found, expected, atol=2e-3, rtol=0)
    again = export_checkpoint(out, str(tmp_path / "again"))  # which changes no weight more
    assert again["data_hash"] == "abc"
    for path in (tmp_path / "out").glob("*.safetensors"):
        assert path.read_bytes() == (tmp_path / "again" / path.name).read_bytes()


def test_what_is_no_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=f"no checkpoint at {tmp_path}/none"):
        export_checkpoint(str(tmp_path / "none"), str(tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_a_frame_encoder_becomes_a_package_of_its_own_and_one_of_its_baseline(
    tmp_path: Path,
) -> None:
    for split in ("train", "val"):
        noise.write(str(tmp_path), f"motion/{split}", (12,))
    config = tiny_frames(data__root=str(tmp_path), seed=3)
    state = tiny_frames_state(config)
    (batch,) = local_step_batches(make_step_plan(config), 0, 1)
    batch = batch.to(state.device)
    state.update(batch)
    (tmp_path / "run").mkdir()
    state.snapshot(OF_RUN).write(tmp_path / "run")
    with pytest.raises(ValueError, match=r"holds a frame encoder in training: .*prepare export"):
        load_generator(tmp_path / "run")
    manifest = export_checkpoint(str(tmp_path / "run"), str(tmp_path / "out"))
    encoder = load_encoder(str(tmp_path / "out/keypoint_encoder"))
    of_baseline, baseline = load_generator(tmp_path / "out/frame_baseline")
    assert of_baseline.task == "generator"
    assert of_baseline.generator == config.generator
    create(override(of_baseline, {"initial_regressor": str(tmp_path / "out/frame_baseline")}), CPU)
    assert manifest["encoder_id"] == encoder.id
    assert (manifest["step"], manifest["seed"], manifest["data_hash"]) == (6, 3, "abc")
    for part in ("keypoint_encoder", "frame_baseline"):
        stored = json.loads((tmp_path / "out" / part / "manifest.json").read_text())
        assert stored.items() >= manifest.items()
        (weights,) = (tmp_path / "out" / part).glob("*.safetensors")
        assert {value.dtype for value in load_file(weights).values()} == {torch.float16}
    seen = batch.detections
    assert seen is not None
    with torch.no_grad():
        given = seen.detected, seen.detected_conf, seen.box, seen.image_size
        found, expected = (
            baseline(encoder(encoder_inputs(WHOLEBODY_23, *given))),
            state.network(seen),
        )
    torch.testing.assert_close(found.rotmat, expected.rotmat, atol=5e-3, rtol=0)
