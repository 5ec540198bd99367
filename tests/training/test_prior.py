"""Training the motion prior: against a second implementation, on several ranks, resumed."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from tests.data import noise
from tests.training.naive_prior import NaivePriors, body_rotations
from tests.training.ranks import PARITY_STEPS, PRIORS, Outcome, run_prior
from tests.training.tiny import (
    T,
    largest_difference,
    launch,
    power_failing,
    random_batch,
    rows,
    tiny_prior,
    tiny_prior_state,
    weights_of,
)
from vibe_ray.body.joints import BodyJoints
from vibe_ray.body.model import load_body
from vibe_ray.data.batches import MotionBatch, StepBatch
from vibe_ray.data.sequences import read_motion_sequences
from vibe_ray.data.shards import ShardWriter
from vibe_ray.distributed.launch import train
from vibe_ray.runs.checkpoints import find_checkpoint
from vibe_ray.training import loop
from vibe_ray.training.launch import RunResult
from vibe_ray.training.prior import PriorState, load_prior


def in_float64(batch: StepBatch) -> StepBatch:
    return StepBatch(batch.pose, MotionBatch(batch.motion.pose.double()))


def make_pair(dtype: torch.dtype, **changes: Any) -> tuple[PriorState, NaivePriors]:
    """Ours and a naive one, which is in float64, with the same weights."""
    state = tiny_prior_state(tiny_prior(**changes))
    for network in state.networks.values():
        network.to(dtype)
    body = load_body(state.config.body)
    state.joints = BodyJoints.skeleton(body, dtype)
    weights = {
        name: {key: value.detach().clone().double() for key, value in network.state_dict().items()}
        for name, network in state.networks.items()
    }
    return state, NaivePriors(state.config, body, weights)


def naive_weights(naive: NaivePriors) -> dict[str, Tensor]:
    return {
        f"{name}.{key}": value.detach()
        for name, weights in naive.weights.items()
        for key, value in weights.items()
    }


@pytest.mark.parametrize(
    "changes", [{}, {"prior__sequential": False}], ids=["sequential", "frame by frame"]
)
def test_an_update_is_that_of_naive_loops(changes: dict[str, Any]) -> None:
    weights = {"prior_losses__rotation": 2.0, "prior_losses__kl": 0.01}
    state, naive = make_pair(torch.float64, **changes, **weights)
    before = weights_of(state)
    for step in range(2):
        batch = in_float64(random_batch(0, 0, 5, seed=step))
        expected = naive.step(batch.motion.pose, state.noise())
        found = {name: float(value) for name, value in state.update(batch).items()}
        assert found == pytest.approx(expected, rel=1e-10)
        assert largest_difference(weights_of(state), naive_weights(naive)) < 1e-10
    assert largest_difference(before, weights_of(state)) > 1e-3
    assert state.step == 2


def test_the_one_for_single_frames_comes_with_a_sequential_one_alone() -> None:
    assert list(tiny_prior_state(tiny_prior()).networks) == ["prior", "frame"]
    assert list(tiny_prior_state(tiny_prior(prior__sequential=False)).networks) == ["prior"]


def test_the_noise_is_of_seed_and_step() -> None:
    def drawn(seed: int, step: int) -> Tensor:
        state = tiny_prior_state(tiny_prior(seed=seed))
        state.step = step
        return state.noise()

    torch.rand(3)  # nothing that was drawn before matters
    assert torch.equal(drawn(0, 0), drawn(0, 0))
    assert drawn(0, 0).shape == (5, T, 4)
    others = [drawn(0, 1), drawn(1, 0), drawn(1, 1)]
    assert not any(torch.equal(drawn(0, 0), other) for other in others)
    state = tiny_prior_state(tiny_prior(data__motion_batch_size=500))
    assert float(state.noise().mean()) == pytest.approx(0, abs=0.05)
    assert float(state.noise().std()) == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize("num_ranks", [2, 3, 5])
def test_noise_is_dealt_as_windows_are(num_ranks: int, monkeypatch: pytest.MonkeyPatch) -> None:
    state = tiny_prior_state(tiny_prior())
    whole, dealt = state.noise(), {}
    for rank in range(num_ranks):
        monkeypatch.setattr(
            "vibe_ray.training.prior.rank_and_world_size", lambda rank=rank: (rank, num_ranks)
        )
        for window, values in zip(range(rank, 5, num_ranks), state.noise(), strict=True):
            dealt[window] = values
    assert torch.equal(torch.stack([dealt[window] for window in range(5)]), whole)


@pytest.mark.parametrize("name", PRIORS)
def test_two_workers_compute_what_one_would(ranks: list[Outcome], motion: str, name: str) -> None:
    config = tiny_prior(data__root=motion, **PRIORS[name])
    alone = run_prior(config, PARITY_STEPS, rank=0, num_ranks=1)
    first, second = (outcome[name] for outcome in ranks)
    assert largest_difference(first["weights"], second["weights"]) == 0
    assert largest_difference(alone["weights"], first["weights"]) < 1e-10
    for step, expected in enumerate(alone["history"]):
        found = {
            term: float(first["history"][step][term] + second["history"][step][term])
            for term in expected
        }
        assert found == pytest.approx({k: float(v) for k, v in expected.items()}, rel=1e-10)
    for whole, *shares in zip(alone["noise"], first["noise"], second["noise"], strict=True):
        assert torch.equal(whole[0::2], shares[0])
        assert torch.equal(whole[1::2], shares[1])
    assert first["validation"] == second["validation"]
    assert first["validation"] == pytest.approx(alone["validation"], rel=1e-4)


def test_validation_is_the_mean_distance_of_joints_over_whole_windows(motion: str) -> None:
    state, naive = make_pair(torch.float32, data__root=motion)
    poses = [
        torch.from_numpy(sequence.pose[start : start + T]).double()
        for sequence in read_motion_sequences(f"{motion}/motion/val")
        for start in range(0, len(sequence.pose) - T + 1, T)
    ]
    assert len(poses) == 2 + 0 + 4 + 1
    expected = {}
    for name, prefix in (("prior", ""), ("frame", "frame/")):
        terms = naive.terms(name, body_rotations(torch.stack(poses)), None)
        expected[f"{prefix}reconstruction_mm"] = 1000 * terms["distance"].item()
        expected[f"{prefix}latent"] = terms["latent"].item()
    assert state.validate() == pytest.approx(expected, rel=1e-5)


def test_what_fills_no_window_is_not_measured(tmp_path: Path) -> None:
    whole = [noise.motion_sequence(str(length), length) for length in (2 * T, T)]
    rest = {name: getattr(whole[1], name)[1:] for name in ("pose", "trans")}
    longer = replace(
        whole[0],
        **{name: np.concatenate([getattr(whole[0], name), more]) for name, more in rest.items()},
    )
    found = []
    for name, sequences in (
        ("a", whole),
        ("b", [longer, whole[1], noise.motion_sequence("short", T - 1)]),
    ):
        with ShardWriter(f"{tmp_path}/{name}/motion/val", noise.header("motion/val")) as writer:
            for sequence in sequences:
                writer.write(sequence)
        found.append(tiny_prior_state(tiny_prior(data__root=f"{tmp_path}/{name}")).validate())
    assert found[0] == found[1]


def test_no_held_out_sequence_of_a_windows_length(tmp_path: Path) -> None:
    path = noise.write(str(tmp_path), "motion/val", (T - 1, 3))
    with pytest.raises(ValueError, match=rf"no sequence of {path} has 5 frames: set data.window_l"):
        tiny_prior_state(tiny_prior(data__root=str(tmp_path))).validate()


def test_each_rate_follows_its_own_network(motion: str) -> None:
    state = tiny_prior_state(tiny_prior(optim__lr_patience=0, optim__lr_factor=0.5))
    for prior, frame in ((5.0, 9.0), (4.0, 9.0), (3.0, 8.0), (3.0, 7.0)):
        state.schedule({"val/reconstruction_mm": prior, "val/frame/reconstruction_mm": frame})
    assert state.rates() == {"prior": 1e-3, "frame": 1e-3}


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"optim__accumulate": 2}, "optim.accumulate"),
        ({"windows__motion": ("motion/train",)}, "windows.motion"),
        ({"validation__max_sequences": 5}, "validation.max_sequences"),
        ({"optim__average_decay": 0.9, "compile": True}, "compile, optim.average_decay"),
    ],
)
def test_settings_that_it_does_not_know_are_refused(changes: dict[str, Any], named: str) -> None:
    message = rf"^a motion prior is trained without {named}: leave it out$"
    with pytest.raises(ValueError, match=message):
        tiny_prior_state(tiny_prior(**changes))


def test_weights_and_terms_that_are_not_finite_are_found() -> None:
    state = tiny_prior_state(tiny_prior())
    state.check_finite()
    with torch.no_grad():
        state.networks["frame"].decoder[0].bias.fill_(torch.inf)
    with pytest.raises(FloatingPointError, match="weights of frame are not finite after step 0"):
        state.check_finite()


@pytest.fixture(scope="module")
def finished(motion: str, tmp_path_factory: pytest.TempPathFactory) -> RunResult:
    return train(tiny_prior(data__root=motion), launch(tmp_path_factory.mktemp("runs")))


def test_a_run_leaves_checkpoints_and_metrics(finished: RunResult) -> None:
    assert {path.name for path in Path(finished.last).iterdir()} == {
        *("config.json", "prior.safetensors", "frame.safetensors", "trainer.pt", "manifest.json"),
    }
    best = min(finished.metrics, key=lambda row: row["val/reconstruction_mm"])
    manifest = json.loads((Path(finished.best) / "manifest.json").read_text())
    assert manifest["metrics"] == best
    assert find_checkpoint(finished.run_dir) == finished.best
    prior, stored = load_prior(Path(finished.best)), Path(finished.best) / "prior.safetensors"
    assert largest_difference(dict(prior.state_dict()), load_file(stored)) == 0
    assert not prior.training
    terms = ("rotation", "joints", "kl", "total")
    trained = {f"train/{name}/{term}" for name in ("prior", "frame") for term in terms}
    assert trained == {name for name in best if name.startswith("train/")}


@pytest.mark.parametrize("step", [1, 4])
def test_a_run_that_was_cut_off_ends_as_if_it_was_not(
    finished: RunResult, motion: str, tmp_path: Path, step: int
) -> None:
    config = tiny_prior(data__root=motion)
    with power_failing(PriorState, step):
        train(config, launch(tmp_path))
    result = train(config, launch(tmp_path, resume=True))
    assert rows(result) == rows(finished)
    for path in Path(finished.last).glob("*.safetensors"):
        assert largest_difference(load_file(path), load_file(Path(result.last) / path.name)) == 0


def test_a_state_goes_on_bit_for_bit_within_an_epoch(tmp_path: Path) -> None:
    def advance(state: PriorState, last: int) -> PriorState:
        for step in range(state.step, last):
            loop.accumulate(state.meter, state.update(random_batch(0, 0, 5, step)), step)
        return state

    first, second = (tiny_prior_state(tiny_prior()) for _ in range(2))
    advance(first, 2).snapshot({}).write(tmp_path)
    second.load(tmp_path)
    whole = advance(tiny_prior_state(tiny_prior()), 5)
    assert largest_difference(weights_of(advance(second, 5)), weights_of(whole)) == 0
    assert all(torch.equal(second.meter[name], whole.meter[name]) for name in whole.meter)
