"""A generator that learns from windows which are captured as it learns."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.functional import linear

from tests.data import noise
from tests.training.tiny import T, launch, power_failing, rows, tiny, tiny_state
from vibe_ray.body.skeletons import WHOLEBODY_23
from vibe_ray.config import TrainConfig
from vibe_ray.data.batches import StepBatch, local_step_batches
from vibe_ray.data.shards import ShardWriter
from vibe_ray.distributed.launch import train
from vibe_ray.features import keypoint_encoder
from vibe_ray.features.frame_encoder import load_encoder
from vibe_ray.features.keypoint_encoder import (
    NUM_INPUTS,
    KeypointEncoder,
    KeypointEncoderConfig,
    encoder_inputs,
    inputs_of,
)
from vibe_ray.features.with_keypoints import WithKeypoints
from vibe_ray.inference import Predictor
from vibe_ray.runs.snapshots import load_manifest
from vibe_ray.settings import override
from vibe_ray.training.launch import RunResult
from vibe_ray.training.recorder import Cadence
from vibe_ray.training.state import TrainState
from vibe_ray.training.tasks import make_step_plan


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Folder of an untrained encoder without blocks: two linear maps."""
    folder = tmp_path_factory.mktemp("encoder")
    torch.manual_seed(3)
    size = KeypointEncoderConfig(feature_dim=noise.F, hidden_dim=8, num_blocks=0)
    KeypointEncoder(size).save(folder, {})
    return str(folder)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory, encoder: str) -> str:
    """Motion, and stored windows of its encoder's features."""
    folder, made_by = str(tmp_path_factory.mktemp("data")), load_encoder(encoder).id
    noise.write(folder, "motion/train", (60, 31))
    for name in ("open_2d/train", "open_3d/val"):
        with ShardWriter(f"{folder}/{name}", noise.header(name, encoder_id=made_by)) as writer:
            writer.write(noise.pose_sequence("s", 40, encoder_id=made_by))
    return folder


@pytest.fixture(scope="module")
def config(root: str, encoder: str) -> TrainConfig:
    """Of a batch of six, three are stored and have 2D labels, three are captured."""
    return tiny(
        data__root=root,
        data__pose_3d=(),
        data__ratio_2d=0.5,
        windows__motion=("motion/train",),
        windows__encoder=encoder,
    )


@pytest.fixture(scope="module")
def finished(config: TrainConfig, tmp_path_factory: pytest.TempPathFactory) -> RunResult:
    return train(config, launch(tmp_path_factory.mktemp("runs")))


def batch_at(config: TrainConfig, step: int, rank: int = 0, num_ranks: int = 1) -> StepBatch:
    (batch,) = local_step_batches(make_step_plan(config), step, 1, rank, num_ranks)
    return batch.to(torch.device("cpu"))


def test_a_step_is_that_of_stored_windows_with_the_encoders_features(
    config: TrainConfig, encoder: str
) -> None:
    """Features by the encoder's weights, written out; what learns from them is the same."""
    batch = batch_at(config, 2)
    seen = batch.detections
    assert seen is not None
    assert seen.detected.shape[:2] == (3, T)
    weights = load_encoder(encoder).state_dict()
    x = encoder_inputs(WHOLEBODY_23, seen.detected, seen.detected_conf, seen.box, seen.image_size)
    x = linear(x, weights["input.weight"], weights["input.bias"])
    x = (x - x.mean(-1, keepdim=True)) / (x.var(-1, unbiased=False, keepdim=True) + 1e-5).sqrt()
    x = (x * weights["norm.weight"] + weights["norm.bias"]).clamp(min=0)
    made = linear(x, weights["output.weight"], weights["output.bias"]).clamp(min=0)
    columns = dict(vars(batch.pose))
    columns["features"] = torch.cat([batch.pose.features[:3], made])
    by_hand = StepBatch(type(batch.pose)(**columns), batch.motion)
    captured, stored = tiny_state(config), tiny_state(config)
    found, expected = captured.update(batch), stored.update(by_hand)
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-5, atol=1e-7, msg=name)
    assert float(found["train/generator/kp_3d"]) > 0


LEARNED = {"generator.learns_features": True, "generator.frame_encoder.feature_dim": noise.F}
LOOKING = {"generator.keypoint_dim": 4, "generator.feedback": True}


@pytest.mark.parametrize(
    "change", [{"generator.keypoint_dim": 4}, {"generator.feedback": True}, LEARNED]
)
def test_stored_windows_without_key_points_are_refused_for_who_looks_at_them(
    config: TrainConfig, change: dict[str, Any], tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=r"open_2d/train has .*'keypoints-.*no key-points beside"):
        train(override(config, change), launch(tmp_path))
    assert not list(tmp_path.iterdir())
    alone = {"data.pose_2d": (), "data.ratio_2d": 0.0, **change}
    with pytest.raises(ValueError, match=r"open_3d/val has .*no key-points beside"):
        make_step_plan(override(config, alone))


def test_captured_windows_come_with_what_the_detector_saw(
    config: TrainConfig, encoder: str, root: str, tmp_path: Path
) -> None:
    """Stored windows with key-points before, captured ones behind; trained, stopped, evaluated."""
    made_by = WithKeypoints(load_encoder(encoder))
    noise.write(str(tmp_path), "motion/train", (60, 31))
    for name in ("open_2d/train", "open_3d/val"):
        known = {"encoder_id": made_by.id, "feature_dim": made_by.feature_dim}
        with ShardWriter(f"{tmp_path}/{name}", noise.header(name, **known)) as writer:
            one = noise.known_sequence("s", 40)
            seen = np.ones((40, NUM_INPUTS), np.float16)
            features = np.concatenate([one.features, seen], axis=1)
            writer.write(replace(one, features=features, encoder_id=made_by.id))
    looking = override(config, {**LOOKING, "data.root": str(tmp_path)})
    batch = batch_at(looking, 1)
    seen_now = batch.detections
    assert seen_now is not None
    features = tiny_state(looking)._with_features(batch).pose.features
    assert features.shape == (6, T, noise.F + NUM_INPUTS)
    assert (features[:3, :, noise.F :] == 1).all()
    torch.testing.assert_close(features[3:, :, noise.F :], inputs_of(seen_now))
    plain = tiny_state(config)._with_features(batch_at(config, 1)).pose.features
    torch.testing.assert_close(features[3:, :, : noise.F], plain[3:])
    result = train(looking, launch(tmp_path))
    assert load_manifest(Path(result.last))["encoder_id"] == made_by.id
    learned = override(looking, LEARNED)  # whose features nobody reads but the generator's own
    features = tiny_state(learned)._with_features(batch).pose.features
    torch.testing.assert_close(features[3:, :, noise.F :], inputs_of(seen_now))
    assert not features[3:, :, : noise.F].any()
    result = train(learned, launch(tmp_path, name="learns_features"))
    assert load_manifest(Path(result.last))["encoder_id"] == made_by.id
    assert Predictor.from_checkpoint(result.last).predict(features[0]).betas.shape == (T, 10)
    alone = override(config, {"data.root": str(tmp_path), "data.pose_2d": (), "data.ratio_2d": 0.0})
    result = train(alone, launch(tmp_path, name="leaves_keypoints"))  # of the validation's features
    assert load_manifest(Path(result.last))["encoder_id"] == made_by.encoder.id
    with pytest.raises(ValueError, match=r"open_2d/train has features of width .*, the generator"):
        make_step_plan(override(config, {"data.root": str(tmp_path)}))
    assert Predictor.from_checkpoint(result.last).predict(features[0]).betas.shape == (T, 10)


def test_the_ranks_features_are_the_one_ranks(config: TrainConfig) -> None:
    state = tiny_state(config)
    whole = state._with_features(batch_at(config, 1)).pose.features
    for rank in range(2):
        part = state._with_features(batch_at(config, 1, rank, 2)).pose.features
        torch.testing.assert_close(part, whole[rank::2], rtol=1e-5, atol=1e-6)


def test_the_encoder_is_no_part_of_what_learns(finished: RunResult, encoder: str) -> None:
    names = {path.name for path in Path(finished.last).iterdir()}
    assert not any("encoder" in name for name in names)
    assert load_manifest(Path(finished.last))["encoder_id"] == load_encoder(encoder).id


@pytest.mark.parametrize("step", [1, 4])
def test_a_run_that_was_cut_off_ends_as_if_it_was_not(
    finished: RunResult, config: TrainConfig, tmp_path: Path, step: int
) -> None:
    with power_failing(TrainState, step):
        train(config, launch(tmp_path, cadence=Cadence(steps=1)))
    torch.rand(3)  # the process's own randomness must not matter
    assert rows(train(config, launch(tmp_path, resume=True))) == rows(finished)


def test_a_run_of_other_motion_is_not_gone_on_with(
    config: TrainConfig, tmp_path: Path, encoder: str
) -> None:
    made_by = load_encoder(encoder).id
    for root, num_frames in (("before", 60), ("after", 61)):
        noise.write(f"{tmp_path}/{root}", "motion/train", (50,))
        noise.write(f"{tmp_path}/{root}", "motion/more", (num_frames,))
        name = f"{tmp_path}/{root}/open_3d/val"
        with ShardWriter(name, noise.header("open_3d/val", encoder_id=made_by)) as writer:
            writer.write(noise.pose_sequence("s", 40, encoder_id=made_by))
    alone = {"data.pose_2d": (), "data.ratio_2d": 0.0, "windows.motion": ("motion/more",)}
    before, after = (
        override(config, {**alone, "data.root": f"{tmp_path}/{root}"})
        for root in ("before", "after")
    )
    train(before, launch(tmp_path))
    with pytest.raises(ValueError, match=r"the manifests of windows\.motion\[0\] have changed"):
        train(after, launch(tmp_path, resume=True))


def test_an_encoder_that_is_not_the_validations_is_refused(config: TrainConfig) -> None:
    with pytest.raises(ValueError, match=r"features of width 16 .* the generator expects 2048"):
        make_step_plan(override(config, {"windows.encoder": "open", "generator.feature_dim": 2048}))
    with pytest.raises(ValueError, match=r"different frame encoders cannot be mixed: .*keypoints-"):
        make_step_plan(override(config, {"windows.encoder": "open"}))


def test_an_encoder_of_pictures_is_refused(
    config: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    pictures = SimpleNamespace(needs="crops")
    monkeypatch.setattr(keypoint_encoder, "load_encoder", lambda source: pictures)
    with pytest.raises(
        ValueError, match=r"windows\.encoder /.* holds an encoder of crops; one of "
    ):
        make_step_plan(config)


def test_motion_at_another_rate_than_what_is_captured_is_refused(
    config: TrainConfig, root: str
) -> None:
    noise.write(root, "motion/fast", (60,), fps=30.0)
    with pytest.raises(ValueError, match=r"plays at 30 frames per second, .*motion/train at 25"):
        make_step_plan(override(config, {"windows.motion": ("motion/fast",)}))
