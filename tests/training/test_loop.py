"""The epochs of a run, with batches and validation from wherever."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tests.training.ranks import Outcome
from tests.training.tiny import largest_difference, random_batch, tiny, tiny_state, weights_of
from vibe_ray.data.batches import StepBatch
from vibe_ray.data.sequences import read_pose_sequences
from vibe_ray.evaluation.evaluator import evaluate
from vibe_ray.evaluation.protocols import PROTOCOLS
from vibe_ray.runs.log import SCORE
from vibe_ray.storage import join
from vibe_ray.training import loop
from vibe_ray.training.loop import run_epochs
from vibe_ray.training.state import TrainState
from vibe_ray.training.step import adversarial_step


class Notes:
    """Remembers what was reached, and with which weights; a recorder."""

    def __init__(self) -> None:
        self.metrics: list[dict[str, float]] = []
        self.weights: list[dict[str, torch.Tensor]] = []
        self.steps: list[int] = []

    def step(self, state: TrainState) -> None:
        self.steps.append(state.step)

    def epoch(self, state: TrainState) -> None:
        self.metrics.append(state.history[-1])
        self.weights.append(weights_of(state))


def without_system(row: dict[str, float]) -> dict[str, float]:
    return {name: value for name, value in row.items() if not name.startswith("system/")}


def batches(first: int, last: int) -> Iterator[StepBatch]:
    return (random_batch(2, 3, 4, seed=step) for step in range(first, last))


def test_a_line_tells_the_step_that_is_done_and_its_epoch(
    shards: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "LOG_SECONDS", 0.0)
    with caplog.at_level("INFO", loop.__name__):
        run_epochs(tiny_state(tiny(data__root=shards)), batches(0, 6), Notes())
    lines = [message.split(",")[0] for message in caplog.messages if message.startswith("step ")]
    epochs = [1, 1, 1, 2, 2, 2]
    assert lines == [f"step {i + 1} of 6 (epoch {epochs[i]} of 2)" for i in range(6)]


def test_an_epochs_metrics_are_means_over_its_steps(shards: str) -> None:
    config = tiny(data__root=shards)
    state, reports = tiny_state(config), Notes()
    run_epochs(state, batches(0, 6), reports)
    by_hand = tiny_state(config)
    for epoch, found in enumerate(reports.metrics):
        steps = [adversarial_step(by_hand, batch) for batch in batches(3 * epoch, 3 * epoch + 3)]
        for name in steps[0]:
            mean = sum(float(step[name]) for step in steps) / len(steps)
            assert found[name] == pytest.approx(mean, rel=1e-6)
        assert largest_difference(reports.weights[epoch], weights_of(by_hand)) == 0
    assert [(row["epoch"], row["step"]) for row in reports.metrics] == [(1, 3), (2, 6)]
    assert reports.steps == [1, 2, 4, 5]
    assert state.history == reports.metrics


def test_validation_is_the_evaluation_of_the_generator_in_eval_mode(shards: str) -> None:
    state = tiny_state(tiny(data__root=shards, generator__regressor__dropout=0.5))
    adversarial_step(state, random_batch(2, 3, 4))
    found = state.validate()
    assert state.generator.training
    generator = state.generator.eval()
    sequences = read_pose_sequences(join(shards, "open_3d/val"))
    expected = evaluate(generator, sequences, state.body, PROTOCOLS["joints"], window_length=5)
    assert found == pytest.approx(expected.metrics, rel=1e-4, abs=1e-3)
    assert "pve_mm" not in found


def test_validation_may_be_of_the_first_sequences_only(shards: str) -> None:
    one, two, whole = (
        tiny_state(tiny(data__root=shards, validation__max_sequences=n)).validate()
        for n in (1, 2, 0)
    )
    assert one != two
    assert two == whole  # there are two


def test_validation_is_the_same_on_all_ranks_as_on_one(ranks: list[Outcome], shards: str) -> None:
    assert ranks[0]["validation"] == ranks[1]["validation"]
    alone = tiny_state(tiny(data__root=shards)).validate()
    # Of all sequences at once, so in float32 products of another shape: micrometers.
    assert ranks[0]["validation"] == pytest.approx(alone, rel=1e-5, abs=1e-3)


def test_schedules_follow_validation(shards: str, monkeypatch: pytest.MonkeyPatch) -> None:
    scores = iter([70.0, 60.0, 65.0, 66.0])
    monkeypatch.setattr(TrainState, "validate", lambda _: {"pa_mpjpe_mm": next(scores)})
    config = tiny(epochs=4, steps_per_epoch=1, optim__lr_patience=1, optim__lr_factor=0.5)
    state, reports = tiny_state(config), Notes()
    run_epochs(state, batches(0, 4), reports)
    rate = config.optim.generator_lr
    assert [row[SCORE] for row in reports.metrics] == [70.0, 60.0, 65.0, 66.0]
    assert [row["lr/generator"] for row in reports.metrics] == [rate] * 3 + [rate / 2]
    assert reports.metrics[3]["lr/discriminator"] == config.optim.discriminator_lr / 2


def test_it_goes_on_from_where_the_state_stands(shards: str, tmp_path: Path) -> None:
    config = tiny(data__root=shards)
    whole, reports = tiny_state(config), Notes()
    run_epochs(whole, batches(0, 6), reports)
    first, second = tiny_state(config), tiny_state(config)
    with pytest.raises(RuntimeError, match="the data ended at step 4 of 6"):
        run_epochs(first, batches(0, 4), Notes())
    first.snapshot({}).write(tmp_path)
    second.load(tmp_path)
    again = Notes()
    run_epochs(second, batches(4, 6), again)
    assert list(map(without_system, second.history)) == list(map(without_system, whole.history))
    assert len(again.metrics) == 1
    assert largest_difference(weights_of(whole), weights_of(second)) == 0


def test_a_finished_run_asks_for_no_data() -> None:
    state, reports = tiny_state(tiny()), Notes()
    state.step = state.config.num_steps
    run_epochs(state, iter([]), reports)
    assert not reports.metrics


def test_nan_in_features_ends_the_run_and_says_where(shards: str) -> None:
    def poisoned() -> Iterator[StepBatch]:
        for step, batch in enumerate(batches(0, 6)):
            batch.pose.features[0, 0, 0] = torch.nan if step == 1 else 0.0
            yield batch

    reports = Notes()
    with pytest.raises(FloatingPointError) as error:
        run_epochs(tiny_state(tiny(data__root=shards)), poisoned(), reports)
    assert str(error.value) == (
        "loss term train/discriminator/fake was not finite at step 1: the last checkpoint is "
        "good; lower the learning rate or check the data with `prepare validate`"
    )
    assert not reports.metrics
