import dataclasses
import json
from pathlib import Path

import pytest
import torch

from vibe_ray.body.model import BodyConfig, load_body
from vibe_ray.data.open_motion import load_open_motion
from vibe_ray.data.schema import MotionSequence
from vibe_ray.data.synthetic.captures import CapturedClips
from vibe_ray.data.synthetic.dataset import Split
from vibe_ray.features.keypoint_encoder import KeypointEncoder, KeypointEncoderConfig
from vibe_ray.models.smpl_regressor import SmplRegressorConfig
from vibe_ray.training.frame_encoder import (
    BASELINE_DIR,
    ENCODER_DIR,
    METRICS_FILE,
    save_result,
    train_frame_encoder,
)
from vibe_ray.training.frame_learning import (
    FrameEncoderConfig,
    FrameEncoderTraining,
    encode_frames,
)
from vibe_ray.training.snapshots import load_generator

TINY = FrameEncoderConfig(
    num_steps=4,
    batch_size=8,
    warmup_steps=1,
    encoder=KeypointEncoderConfig(hidden_dim=16, num_blocks=1),
    regressor=SmplRegressorConfig(hidden_dim=16, dropout=0.0),
    validate_every=2,
    validation_frames=32,
    checkpoint_s=0.0,
)


def motion() -> list[MotionSequence]:
    return load_open_motion()[1:5]


def make(config: FrameEncoderConfig = TINY) -> FrameEncoderTraining:
    return FrameEncoderTraining(config, load_body(BodyConfig()), motion()[:1], motion()[1:2])


def lines(directory: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (directory / METRICS_FILE).read_text().splitlines()]


def test_a_killed_run_goes_on_bit_for_bit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = make()
    train_frame_encoder(whole, tmp_path / "whole")

    killed, update = make(), FrameEncoderTraining.update

    def die_at_step_3(self: FrameEncoderTraining) -> dict[str, torch.Tensor]:
        if self.step == 3:
            raise KeyboardInterrupt
        return update(self)

    monkeypatch.setattr(FrameEncoderTraining, "update", die_at_step_3)
    with pytest.raises(KeyboardInterrupt):
        train_frame_encoder(killed, tmp_path / "killed")
    monkeypatch.undo()
    again = make()
    train_frame_encoder(again, tmp_path / "killed")
    for name in ("encoder", "generator"):
        expected, found = (getattr(t, name).state_dict() for t in (whole, again))
        assert all(torch.equal(found[k], expected[k]) for k in expected)
    assert [line["step"] for line in lines(tmp_path / "killed")] == [2, 4]
    for name in ("val/mpjpe_mm", "val/pa_mpjpe_mm"):
        assert lines(tmp_path / "killed")[-1][name] == lines(tmp_path / "whole")[-1][name]


def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_the_state(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train_frame_encoder(make(dataclasses.replace(TINY, num_steps=2)), tmp_path)
    good = (tmp_path / "state.pt").read_bytes()
    training = make()

    def resume_broken(self: FrameEncoderTraining, directory: Path) -> bool:
        found = resume(self, directory)
        torch.nn.init.constant_(self.encoder.output.bias, torch.inf)
        return found

    resume = FrameEncoderTraining.resume
    monkeypatch.setattr(FrameEncoderTraining, "resume", resume_broken)
    with pytest.raises(FloatingPointError, match="was not finite at step 3"):
        train_frame_encoder(training, tmp_path)
    assert (tmp_path / "state.pt").read_bytes() == good


def test_result_loads_as_encoder_and_as_checkpoint(tmp_path: Path) -> None:
    training = make()
    training.update()
    splits: dict[Split, list[MotionSequence]]
    splits = {"train": motion()[:1], "val": motion()[1:2], "test": motion()[2:]}
    metrics = save_result(training, splits, tmp_path)
    encoder = KeypointEncoder.load(tmp_path / ENCODER_DIR)
    config, generator = load_generator(tmp_path / BASELINE_DIR)
    assert config.generator.temporal_encoder.kind == "none"
    clips: CapturedClips = training.validation
    with torch.no_grad():
        features = encode_frames(encoder, clips)
        found, expected = generator(features), training.generator.eval()(features)
    assert torch.equal(found.rotmat, expected.rotmat)
    manifests = [
        json.loads((tmp_path / part / "manifest.json").read_text())
        for part in (ENCODER_DIR, BASELINE_DIR)
    ]
    assert manifests[1].pop("written_by")
    assert manifests[0] == manifests[1]
    assert manifests[0]["encoder_id"] == encoder.encoder_id
    assert manifests[0]["test_clips"] == [clip.name for clip in motion()[2:]]
    assert manifests[0]["test_metrics"] == metrics
