"""Checkpoints are made when they are due, in the background, and of good states alone."""

from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
import torch

from tests.training.tiny import largest_difference, random_batch, tiny, tiny_state, weights_of
from vibe_ray.data.mixing import StepPlan
from vibe_ray.runs.step_folders import complete_steps
from vibe_ray.training import recorder
from vibe_ray.training.recorder import Cadence, Checkpointer, RunRecorder
from vibe_ray.training.state import TrainState
from vibe_ray.training.step import adversarial_step

ABOUT = {"data_hash": "abc"}


def train_steps(state: TrainState, checkpointer: Checkpointer, num_steps: int) -> None:
    for _ in range(num_steps):
        adversarial_step(state, random_batch(2, 3, 4, seed=state.step))
        checkpointer.after_step(state)
    checkpointer.wait()


def test_a_checkpoint_at_every_so_many_steps(tmp_path: Path) -> None:
    state = tiny_state(tiny(checkpoints_kept=9))
    train_steps(state, Checkpointer(str(tmp_path), Cadence(steps=2), ABOUT), 5)
    assert complete_steps(str(tmp_path)) == [2, 4]
    again = tiny_state(tiny(checkpoints_kept=9))
    again.load(tmp_path / "step_0000004")
    adversarial_step(again, random_batch(2, 3, 4, seed=4))
    assert largest_difference(weights_of(again), weights_of(state)) == 0


def test_a_checkpoint_at_every_so_many_minutes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = tiny_state(tiny(checkpoints_kept=9))
    # A clock by which each step takes a minute.
    monkeypatch.setattr(recorder.time, "monotonic", lambda: 60.0 * state.step)
    train_steps(state, Checkpointer(str(tmp_path), Cadence(minutes=10), ABOUT), 35)
    assert complete_steps(str(tmp_path)) == [11, 22, 33]  # counted from the step after the last


def test_none_within_an_epoch_if_so_wished(tmp_path: Path) -> None:
    state = tiny_state(tiny())
    train_steps(state, Checkpointer(str(tmp_path), Cadence(minutes=0), ABOUT), 12)
    assert complete_steps(str(tmp_path)) == []


def test_what_has_diverged_is_not_saved(tmp_path: Path) -> None:
    state = tiny_state(tiny())
    checkpointer = Checkpointer(str(tmp_path), Cadence(steps=1), ABOUT)
    train_steps(state, checkpointer, 1)
    with torch.no_grad():
        state.generator.regressor.fc1.bias.fill_(torch.nan)
    with pytest.raises(FloatingPointError):
        train_steps(state, checkpointer, 1)
    assert complete_steps(str(tmp_path)) == [1]


def test_a_checkpoint_that_cannot_be_stored_ends_the_run(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    state = tiny_state(tiny())
    with pytest.raises(NotADirectoryError):
        train_steps(state, Checkpointer(str(tmp_path / "file/run"), Cadence(steps=1), ABOUT), 1)


def test_what_ends_a_run_is_not_hidden_by_what_then_cannot_be_stored(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    state = tiny_state(tiny())
    adversarial_step(state, random_batch(2, 3, 4))

    def record(num_checkpoints: int, ended_by: BaseException | None = None) -> None:
        plan = cast(StepPlan, SimpleNamespace(data_hash="abc", encoder_id=""))
        run_dir = str(tmp_path / "file/run")
        with RunRecorder(run_dir, Cadence(steps=1), plan, announce=print) as recorder:
            for _ in range(num_checkpoints):
                recorder.step(state)
            if ended_by is not None:
                raise ended_by

    for error in (FloatingPointError("diverged"), KeyboardInterrupt()):
        with pytest.raises(type(error)) as raised:
            record(1, error)
        assert raised.value is error
        assert "what the run reached last was not stored: [Errno 20]" in caplog.text
        caplog.clear()
    for num_checkpoints in (1, 2):  # found out at the end, and by the next checkpoint
        with pytest.raises(NotADirectoryError):
            record(num_checkpoints)
    assert not caplog.text  # told once


@pytest.mark.parametrize("wrong", [{"steps": -1}, {"minutes": -0.5}])
def test_a_cadence_that_cannot_be(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="expected 0 or more"):
        Cadence(**wrong)  # type: ignore[arg-type]
