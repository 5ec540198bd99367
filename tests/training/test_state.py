"""Checkpoints: what is in them, and that a run taken up again goes on bit for bit."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from tests.data.noise import F
from tests.training.tiny import (
    DROPOUT,
    NO_DROPOUT,
    largest_difference,
    random_batch,
    tiny,
    tiny_state,
    weights_of,
    with_keypoints,
)
from vibe_ray.features.frame_encoder import load_encoder
from vibe_ray.features.keypoint_encoder import KeypointEncoder, KeypointEncoderConfig
from vibe_ray.pretrained import packaged
from vibe_ray.recipes import open_world
from vibe_ray.runs.exports import ENCODER_DIR
from vibe_ray.runs.log import SCORE
from vibe_ray.runs.snapshots import (
    DISCRIMINATOR_FILE,
    GENERATOR_FILE,
    load_config,
    load_generator,
    load_regressor,
    load_weights,
)
from vibe_ray.settings import override
from vibe_ray.training.meter import accumulate, reduce_means
from vibe_ray.training.state import TrainState
from vibe_ray.training.step import adversarial_step

SCORES = [90.0, 80.0, 85.0, 81.0, 82.0, 70.0, 99.0, 98.0, 97.0]
LOOKING = {"generator.keypoint_dim": 4, "generator.feedback": True, "generator.one_shape": True}
LEARNED = {
    "generator.learns_features": True,
    "generator.frame_encoder.feature_dim": F,
    "generator.frame_encoder.hidden_dim": 6,
    "generator.frame_encoder.num_blocks": 1,
}


def advance(state: TrainState, num_steps: int) -> None:
    for step in range(state.step, state.step + num_steps):
        batch = random_batch(2, 3, 4, seed=step)
        if state.config.generator.sees_keypoints:
            batch = with_keypoints(batch)
        accumulate(state.meter, adversarial_step(state, batch), step)


def saved(state: TrainState, path: Path) -> Path:
    path.mkdir()
    state.snapshot({"step": state.step}).write(path)
    return path


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"generator.temporal_encoder.kind": "tcmr"},
        {"generator.temporal_encoder.kind": "transformer"},
        {"discriminator.spectral_norm": True, "discriminator.pose": "rot6d"},
        LOOKING,
        LEARNED,
    ],
    ids=["gru", "tcmr", "transformer", "discriminator", "keypoints", "frame encoder"],
)
def test_a_run_taken_up_again_goes_on_bit_for_bit(changes: dict[str, Any], tmp_path: Path) -> None:
    config = tiny(**changes, **DROPOUT, optim__discriminator_every=2)
    whole = tiny_state(config)
    advance(whole, 5)
    first = tiny_state(config)
    advance(first, 2)
    second = tiny_state(config)
    advance(second, 1)  # whatever it did before is forgotten
    second.load(saved(first, tmp_path / "checkpoint"))
    assert second.step == 2
    advance(second, 3)
    assert largest_difference(weights_of(whole), weights_of(second)) == 0
    assert reduce_means(whole.meter) == reduce_means(second.meter)


def test_an_average_is_what_is_stored_and_both_go_on_bit_for_bit(tmp_path: Path) -> None:
    config = tiny(**DROPOUT, optim__average_decay=0.9, optim__generator_lr=1e-3)
    whole, first, second = tiny_state(config), tiny_state(config), tiny_state(config)
    advance(whole, 5)
    advance(first, 2)
    path = saved(first, tmp_path / "checkpoint")
    stored = load_weights(path, GENERATOR_FILE)
    assert largest_difference(stored, dict(first.best_generator.state_dict())) == 0
    assert largest_difference(stored, dict(first.generator.state_dict())) > 1e-5
    assert largest_difference(stored, dict(load_generator(path)[1].state_dict())) == 0
    second.load(path)
    advance(second, 3)
    assert largest_difference(weights_of(whole), weights_of(second)) == 0
    averages = (dict(state.best_generator.state_dict()) for state in (whole, second))
    assert largest_difference(*averages) == 0


def test_plateau_schedules_go_on_after_loading(tmp_path: Path) -> None:
    def rates(state: TrainState, scores: list[float]) -> list[list[float]]:
        seen = []
        for score in scores:
            state.schedule({SCORE: score})
            seen.append([rate for descent in state.descents.values() for rate in descent.rates])
        return seen

    config = tiny(optim__lr_patience=1, optim__lr_factor=0.5, optim__generator_lr=1e-3)
    expected = rates(tiny_state(config), SCORES)
    assert [row[0] for row in expected] == [*[1e-3] * 3, *[5e-4] * 4, *[2.5e-4] * 2]
    for split in range(1, len(SCORES)):
        first, second = tiny_state(config), tiny_state(config)
        before = rates(first, SCORES[:split])
        second.load(saved(first, tmp_path / str(split)))
        assert before + rates(second, SCORES[split:]) == expected


def test_files_and_names_of_a_checkpoint(tmp_path: Path) -> None:
    state = tiny_state(tiny())
    path = saved(state, tmp_path / "checkpoint")
    assert {file.name for file in path.iterdir()} == {
        *("config.json", "generator.safetensors", "discriminator.safetensors"),
        *("trainer.pt", "manifest.json"),
    }
    for name, network in (("generator", state.generator), ("discriminator", state.discriminator)):
        stored = load_file(path / f"{name}.safetensors")
        assert largest_difference(stored, dict(network.state_dict())) == 0
    assert load_config(path) == state.config
    manifest = json.loads((path / "manifest.json").read_text())
    assert manifest["step"] == 0
    assert manifest["written_by"]["torch"] == torch.__version__


def test_a_run_without_a_discriminator_stores_none(tmp_path: Path) -> None:
    config = tiny(losses__adversarial=0.0)
    path = saved(tiny_state(config), tmp_path / "checkpoint")
    assert not (path / DISCRIMINATOR_FILE).exists()
    tiny_state(config).load(path)


def test_a_wrapped_network_is_stored_under_the_raw_ones_names(tmp_path: Path) -> None:
    class Wrapper(nn.Module):
        def __init__(self, module: nn.Module) -> None:
            super().__init__()
            self.module = module

    state = tiny_state(tiny())
    state.parallelize(Wrapper)
    path = saved(state, tmp_path / "checkpoint")
    assert isinstance(state.synced_discriminator, Wrapper)
    assert load_weights(path, GENERATOR_FILE).keys() == state.generator.state_dict().keys()


@pytest.mark.parametrize("changes", [{}, LOOKING], ids=["plain", "keypoints"])
def test_a_loaded_generator_answers_as_the_trained_one_does(
    changes: dict[str, Any], tmp_path: Path
) -> None:
    state = tiny_state(tiny(**changes, **DROPOUT))
    advance(state, 3)
    config, generator = load_generator(saved(state, tmp_path / "checkpoint"))
    features = with_keypoints(random_batch(2, 3, 4)).pose.features
    assert config == state.config
    assert not generator.training
    state.generator.eval()
    assert torch.equal(generator(features).rotmat, state.generator(features).rotmat)


def test_states_of_equal_configs_are_equal_on_every_rank() -> None:
    torch.rand(5)
    states = [tiny_state(tiny()), tiny_state(tiny(), rank=3), tiny_state(tiny(seed=1))]
    weights = [weights_of(state) for state in states]
    assert largest_difference(weights[0], weights[1]) == 0
    assert largest_difference(weights[0], weights[2]) > 0


def test_dropout_seeds_do_not_collide() -> None:
    seeds = set()
    for seed in range(3):
        for rank in range(4):
            state = tiny_state(tiny(seed=seed), rank)
            for state.step in range(50):
                seeds.add(state.dropout_seed())
    assert len(seeds) == 3 * 4 * 50


def test_missing_files_say_what_was_expected(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as error:
        load_generator(tmp_path)
    assert str(error.value) == (
        f"no config.json in {tmp_path}: expected a checkpoint directory, or a run's folder "
        "written by `python -m vibe_ray.train`"
    )
    path = saved(tiny_state(tiny()), tmp_path / "checkpoint")
    (path / GENERATOR_FILE).unlink()
    message = f"no generator.safetensors in {path}: the checkpoint is incomplete or foreign"
    with pytest.raises(FileNotFoundError) as error:
        load_generator(path)
    assert str(error.value) == message
    with pytest.raises(FileNotFoundError, match="the checkpoint is incomplete or foreign"):
        tiny_state(tiny()).load(path)


def test_a_regressor_may_start_from_a_checkpoints(tmp_path: Path) -> None:
    trained = tiny_state(tiny(seed=1))
    advance(trained, 2)
    path = saved(trained, tmp_path / "checkpoint")
    state = tiny_state(tiny(initial_regressor=str(path)))
    scratch = weights_of(tiny_state(tiny()))
    for name, value in weights_of(state).items():
        of_regressor = name.startswith("generator.regressor.")
        expected = weights_of(trained)[name] if of_regressor else scratch[name]
        assert torch.equal(value, expected)


def test_the_packaged_regressor_fits_the_open_recipes_width() -> None:
    changes = {
        "initial_regressor": "open",
        "generator.feature_dim": 2048,
        "generator.regressor.hidden_dim": open_world().generator.regressor.hidden_dim,
    }
    state = tiny_state(tiny(**NO_DROPOUT, **changes))
    stored = load_file(packaged("frame_baseline") / GENERATOR_FILE)
    weight = state.generator.regressor.fc2.weight
    assert torch.equal(weight, stored["regressor.fc2.weight"].float())


def test_what_looks_at_keypoints_starts_at_the_regressor_of_a_checkpoint(tmp_path: Path) -> None:
    path = saved(tiny_state(tiny()), tmp_path / "checkpoint")
    state = tiny_state(tiny(**LOOKING, seed=3, initial_regressor=str(path)))
    expected = load_weights(path, GENERATOR_FILE)
    for name, value in state.generator.regressor.state_dict().items():
        assert torch.equal(value, expected[f"regressor.{name}"])


def test_a_step_learns_to_look_at_keypoints() -> None:
    state = tiny_state(tiny(**LOOKING))
    assert state.generator.feedback is not None
    assert state.generator.keypoint_input is not None
    advance(state, 1)
    assert (state.generator.feedback.weight != 0).any(dim=0).all()
    assert (state.generator.keypoint_input.output.weight != 0).any(dim=0).any()


def test_a_frame_encoder_of_its_own_starts_trained_and_learns_at_its_own_rate(
    tmp_path: Path,
) -> None:
    torch.manual_seed(7)
    trained = KeypointEncoder(KeypointEncoderConfig(feature_dim=F, hidden_dim=6, num_blocks=1))
    trained.save(tmp_path / ENCODER_DIR, {})
    config = tiny(**LEARNED, initial_frame_encoder=str(tmp_path), optim__frame_encoder_lr_share=0)
    state, plain = tiny_state(config), tiny_state(tiny())
    own = state.generator.frame_encoder
    assert own is not None
    started = {name: weight.clone() for name, weight in own.state_dict().items()}
    for name, weight in load_encoder(str(tmp_path / ENCODER_DIR)).state_dict().items():
        assert torch.equal(started[name], weight)
    inputs = with_keypoints(random_batch(0, 3, 4)).pose.features
    features = trained(inputs[..., F:])
    found, expected = state.generator.eval()(inputs), plain.generator.eval()(features)
    for name, value in vars(expected).items():  # the rest is as without
        torch.testing.assert_close(getattr(found, name), value, rtol=0, atol=1e-5, msg=name)
    advance(state, 2)
    assert all(torch.equal(own.state_dict()[name], weight) for name, weight in started.items())
    moving = tiny_state(override(config, {"optim.frame_encoder_lr_share": 0.1}))
    advance(moving, 2)
    assert moving.generator.frame_encoder is not None
    for name, weight in moving.generator.frame_encoder.state_dict().items():
        assert 0 < (weight - started[name]).abs().max() < 3e-4, name  # a tenth of 1e-3, two steps


def test_a_frame_encoder_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    KeypointEncoder(KeypointEncoderConfig(feature_dim=F, hidden_dim=5)).save(
        tmp_path / ENCODER_DIR, {}
    )
    with pytest.raises(ValueError, match=r"holds .*hidden_dim=5.* set generator.frame_encoder to"):
        tiny_state(tiny(**LEARNED, initial_frame_encoder=str(tmp_path)))
    with pytest.raises(ValueError, match=r"no frame encoder of its own: set generator.learns_feat"):
        tiny_state(tiny(initial_frame_encoder=str(tmp_path)))


def test_a_regressor_of_another_width_is_refused(tmp_path: Path) -> None:
    other = saved(tiny_state(tiny(generator__regressor__hidden_dim=7)), tmp_path / "other")
    generator = tiny_state(tiny()).generator
    with pytest.raises(ValueError, match=r"does not fit: \{'deccam.weight': \(3, 7\)") as error:
        load_regressor(generator, str(other))
    assert "expected {'deccam.weight': (3, 12)" in str(error.value)
    assert str(error.value).endswith(
        "set generator.regressor.hidden_dim to its width or initial_regressor=scratch"
    )


def test_a_regressor_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no generator.safetensors in .*/none"):
        tiny_state(tiny(initial_regressor=str(tmp_path / "none")))


def test_a_snapshot_does_not_move_with_training(tmp_path: Path) -> None:
    state = tiny_state(tiny(**NO_DROPOUT))
    advance(state, 1)
    before = weights_of(state)
    snapshot = state.snapshot({})
    advance(state, 2)
    tmp_path.joinpath("c").mkdir()
    snapshot.write(tmp_path / "c")
    again = tiny_state(tiny(**NO_DROPOUT))
    again.load(tmp_path / "c")
    assert again.step == 1
    assert largest_difference(weights_of(again), before) == 0
    assert largest_difference(weights_of(state), before) > 0
    advance(again, 2)
    assert largest_difference(weights_of(again), weights_of(state)) == 0


def test_weights_that_are_not_finite_are_found() -> None:
    state = tiny_state(tiny())
    advance(state, 1)
    state.check_finite()
    with torch.no_grad():
        state.discriminator.fc.bias.fill_(torch.inf)
    with pytest.raises(FloatingPointError, match="weights of D are not finite after step 1: the"):
        state.check_finite()
