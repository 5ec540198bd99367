import dataclasses
from pathlib import Path

import pytest
import torch
from vibe_ray.training.frame_learning import (
    FrameEncoderConfig,
    FrameEncoderTraining,
    joint_errors,
)

from vibe_ray.body.model import BodyArrays, BodyConfig, load_body
from vibe_ray.data.sources.open_motion import load_open_motion
from vibe_ray.features.keypoint_encoder import KeypointEncoderConfig
from vibe_ray.models.smpl_regressor import SmplRegressorConfig

TINY = FrameEncoderConfig(
    num_steps=8,
    batch_size=16,
    lr=2e-3,
    warmup_steps=1,
    encoder=KeypointEncoderConfig(feature_dim=64, hidden_dim=32, num_blocks=1),
    regressor=SmplRegressorConfig(hidden_dim=32, dropout=0.0),
    validate_every=4,
    validation_frames=64,
)


@pytest.fixture(scope="module")
def body() -> BodyArrays:
    return load_body(BodyConfig())


def make(body: BodyArrays, config: FrameEncoderConfig = TINY) -> FrameEncoderTraining:
    clips = load_open_motion()
    return FrameEncoderTraining(config, body, clips[1:3], clips[3:4])


def weights(training: FrameEncoderTraining) -> dict[str, torch.Tensor]:
    networks = (training.encoder, training.generator)
    return {f"{i}.{k}": v for i, n in enumerate(networks) for k, v in n.state_dict().items()}


def test_updates_lower_the_loss(body: BodyArrays) -> None:
    training = make(body, dataclasses.replace(TINY, num_steps=60, batch_size=64))
    totals = [float(training.update()["total"]) for _ in range(60)]
    assert sum(totals[-10:]) < 0.8 * sum(totals[:10])


def test_training_is_a_function_of_its_seed(body: BodyArrays) -> None:
    runs = []
    for seed in (0, 0, 1):
        training = make(body, dataclasses.replace(TINY, seed=seed))
        for _ in range(3):
            training.update()
        runs.append(weights(training))
    assert all(torch.equal(runs[0][k], runs[1][k]) for k in runs[0])
    assert not all(torch.equal(runs[0][k], runs[2][k]) for k in runs[0])


def test_resumed_equals_uninterrupted_bit_for_bit(body: BodyArrays, tmp_path: Path) -> None:
    whole = make(body)
    for _ in range(6):
        whole.update()
    half = make(body)
    for _ in range(3):
        half.update()
    half.save(tmp_path)
    torch.manual_seed(123)  # the process's own randomness must not matter
    resumed = make(body)
    assert resumed.resume(tmp_path)
    for _ in range(3):
        resumed.update()
    assert resumed.step == whole.step == 6
    expected = weights(whole)
    assert all(torch.equal(value, expected[k]) for k, value in weights(resumed).items())


def test_nothing_to_resume_changes_nothing(body: BodyArrays, tmp_path: Path) -> None:
    training = make(body)
    assert not training.resume(tmp_path)
    assert training.step == 0


def test_untrained_baseline_predicts_the_mean_pose_of_the_motion(body: BodyArrays) -> None:
    training = make(body)
    regressor = training.generator.regressor
    mean = training.pool.rotmat.mean(dim=0)
    found = regressor.init_pose.view(24, 3, 2)
    torch.testing.assert_close(found[1:], mean[1:, :, :2])
    upright = torch.tensor([[1.0, 0.0], [0.0, -1.0], [0.0, 0.0]])
    assert torch.equal(found[0], upright)


def test_errors_are_those_of_the_definition() -> None:
    generator = torch.Generator().manual_seed(0)
    true = torch.randn(4, 14, 3, generator=generator)
    moved = true + torch.tensor([5.0, 1.0, -2.0])
    valid = torch.tensor([True, True, True, False])
    assert joint_errors(moved, true, valid)["mpjpe_mm"] == pytest.approx(0.0, abs=1e-2)
    moved[3] = 1e6  # not valid
    scaled = joint_errors(1.5 * moved, true, valid)
    assert scaled["pa_mpjpe_mm"] == pytest.approx(0.0, abs=1e-2)
    assert scaled["mpjpe_mm"] > 100


def test_rate_warms_up_and_falls_along_a_cosine() -> None:
    config = FrameEncoderConfig(num_steps=1100, warmup_steps=100, lr=1.0, final_lr_share=0.01)
    assert config.lr_at(0) == pytest.approx(0.01)
    assert config.lr_at(99) == pytest.approx(1.0)
    assert config.lr_at(600) == pytest.approx(0.01 + 0.99 / 2)
    assert config.lr_at(1100) == pytest.approx(0.01)


def test_dropout_is_refused() -> None:
    with pytest.raises(ValueError, match=r"regressor\.dropout is 0\.5"):
        FrameEncoderConfig(regressor=SmplRegressorConfig(dropout=0.5))
