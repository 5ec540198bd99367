import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from vibe_ray.training.frame_learning import (
    FrameEncoderConfig,
    FrameEncoderTraining,
    encode_frames,
)

from vibe_ray.body.model import BodyConfig, load_body
from vibe_ray.data.schema import MotionSequence
from vibe_ray.data.sources.open_motion import load_open_motion
from vibe_ray.data.synthetic.captures import CapturedClips
from vibe_ray.data.synthetic.dataset import Split
from vibe_ray.features.frame_encoder import load_encoder
from vibe_ray.features.keypoint_encoder import KeypointEncoderConfig
from vibe_ray.models.smpl_regressor import SmplRegressorConfig
from vibe_ray.runs.snapshots import load_generator
from vibe_ray.training.frame_encoder import (
    BASELINE_DIR,
    ENCODER_DIR,
    METRICS_FILE,
    save_result,
    train_frame_encoder,
)

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
Update = Callable[[FrameEncoderTraining], dict[str, torch.Tensor]]


def motion() -> list[MotionSequence]:
    return load_open_motion()[1:5]


def make(config: FrameEncoderConfig = TINY) -> FrameEncoderTraining:
    return FrameEncoderTraining(config, load_body(BodyConfig()), motion()[:1], motion()[1:2])


def lines(directory: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (directory / METRICS_FILE).read_text().splitlines()]


def train_until(step: int, directory: Path, config: FrameEncoderConfig = TINY) -> None:
    """Train in a process that is killed in the update after a step."""
    update: Update = FrameEncoderTraining.update

    def update_or_die(self: FrameEncoderTraining) -> dict[str, torch.Tensor]:
        if self.step == step:
            raise KeyboardInterrupt
        return update(self)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(FrameEncoderTraining, "update", update_or_die)
        with pytest.raises(KeyboardInterrupt):
            train_frame_encoder(make(config), directory)


def assert_equal_runs(found: FrameEncoderTraining, expected: FrameEncoderTraining) -> None:
    for name in ("encoder", "generator"):
        left, right = (getattr(training, name).state_dict() for training in (found, expected))
        assert all(torch.equal(left[key], right[key]) for key in right)


@pytest.mark.parametrize("step", [1, 2, 3])
def test_a_killed_run_goes_on_bit_for_bit(tmp_path: Path, step: int) -> None:
    whole, again = make(), make()
    train_frame_encoder(whole, tmp_path / "whole")
    train_until(step, tmp_path / "killed")
    train_frame_encoder(again, tmp_path / "killed")
    assert_equal_runs(again, whole)
    assert [line["step"] for line in lines(tmp_path / "killed")] == [2, 4]
    assert lines(tmp_path / "killed") == lines(tmp_path / "whole")


def test_rows_logged_after_the_last_state_are_logged_once(tmp_path: Path) -> None:
    whole, again = make(), make()
    train_frame_encoder(whole, tmp_path / "whole")
    train_until(1, tmp_path / "killed")
    rare = dataclasses.replace(TINY, checkpoint_s=1e9)
    train_until(3, tmp_path / "killed", rare)  # from the state of step 1; the row of step 2 is out
    assert [line["step"] for line in lines(tmp_path / "killed")] == [2]
    train_frame_encoder(again, tmp_path / "killed")
    assert_equal_runs(again, whole)
    assert lines(tmp_path / "killed") == lines(tmp_path / "whole")


def test_a_rows_terms_are_means_over_its_steps(tmp_path: Path) -> None:
    train_frame_encoder(make(), tmp_path)
    naive = make()
    totals = [float(naive.update()["total"]) for _ in range(4)]
    found = [line["train/total"] for line in lines(tmp_path)]
    assert found == pytest.approx([sum(totals[:2]) / 2, sum(totals[2:]) / 2])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seed": 1}, "seed 0 -> 1"),
        ({"num_steps": 6}, "num_steps 4 -> 6"),
        ({"losses": dataclasses.replace(TINY.losses, pose=1.0)}, r"losses\.pose 60\.0 -> 1\.0"),
    ],
)
def test_a_finished_run_is_not_taken_for_one_with_other_settings(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    train_frame_encoder(make(), tmp_path)
    other = make(dataclasses.replace(TINY, **changes))
    with pytest.raises(ValueError, match=f"another training: {message}; .*another --out"):
        train_frame_encoder(other, tmp_path)


@pytest.mark.parametrize("split", ["training", "validation"])
def test_a_finished_run_is_not_taken_for_one_of_other_motion(tmp_path: Path, split: str) -> None:
    train_frame_encoder(make(), tmp_path)
    clips = {"training": motion()[:1], "validation": motion()[1:2]}
    pose = clips[split][0].pose.copy()
    pose[-1, -1] += 1e-6
    clips[split] = [dataclasses.replace(clips[split][0], pose=pose)]
    other = FrameEncoderTraining(TINY, load_body(BodyConfig()), *clips.values())
    with pytest.raises(ValueError, match=rf"{split} motion 1 clips \(\w+\) -> 1 clips \(\w+\); "):
        train_frame_encoder(other, tmp_path)


def test_a_state_that_does_not_say_what_it_is_of_is_refused(tmp_path: Path) -> None:
    train_frame_encoder(make(), tmp_path)
    state = torch.load(tmp_path / "state.pt", weights_only=True)
    del state["identity"]
    torch.save(state, tmp_path / "state.pt")
    with pytest.raises(ValueError, match="did not note its settings and motion"):
        train_frame_encoder(make(), tmp_path)


def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_the_state(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train_until(2, tmp_path)
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
    encoder = load_encoder(str(tmp_path / ENCODER_DIR))
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
    assert manifests[0]["encoder_id"] == encoder.id
    assert manifests[0]["test_clips"] == [clip.name for clip in motion()[2:]]
    assert manifests[0]["test_metrics"] == metrics
