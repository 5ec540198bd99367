"""The epochs of a run: steps, validation, schedules, checkpoints. The same with Ray and without.

Ray is not needed here: a worker hands in an iterator of batches and a recorder.
"""

import logging
import time
from collections.abc import Iterable, Iterator
from typing import Protocol

from vibe_ray.data.batches import StepBatch
from vibe_ray.training.learner import Learner
from vibe_ray.training.meter import accumulate, peak_memory_mb, reduce_means
from vibe_ray.training.ranks import rank_and_world_size

logger = logging.getLogger(__name__)

LOG_SECONDS = 10.0


class Recorder(Protocol):
    """Keeps what a run has reached. Every rank calls it at the same steps."""

    def step(self, state: Learner) -> None:
        """Called after a step that ends no epoch; may make a checkpoint."""

    def epoch(self, state: Learner) -> None:
        """Called when an epoch's metrics stand last in the state's history; makes a checkpoint."""


def run_epochs(state: Learner, batches: Iterable[StepBatch], recorder: Recorder) -> None:
    """Train to the config's last step, from wherever the state stands.

    Args:
        state: Changed in place.
        batches: This rank's share of every step from `state.step` on.
        recorder: Told of every step and epoch.

    Raises:
        FloatingPointError: A loss term was not finite.
        RuntimeError: The batches ended before the last step.
    """
    pace = Pace(state)
    steps = iter(batches)
    while state.step < state.config.num_steps:
        pace.wait()
        batch = _next(steps, state)
        pace.begin()
        accumulate(state.meter, state.update(batch.to(state.device)), state.step - 1)
        pace.end()
        if state.step % state.config.steps_per_epoch == 0:
            finish_epoch(state, pace)
            recorder.epoch(state)
        else:
            recorder.step(state)


def finish_epoch(state: Learner, pace: "Pace") -> None:
    """Average the epoch's terms, validate, step the schedules and note all in the history."""
    state.check_finite()
    metrics = reduce_means(state.meter) | pace.metrics()
    metrics |= {f"val/{name}": value for name, value in state.validate().items()}
    state.schedule(metrics)
    metrics |= {
        "step": state.step,
        "epoch": state.epoch,
        **{f"lr/{name}": rate for name, rate in state.rates().items()},
        "system/peak_memory_mb": peak_memory_mb(state.device),
        "system/num_workers": rank_and_world_size()[1],
    }
    state.history.append(metrics)
    pace.restart()


def _next(steps: Iterator[StepBatch], state: Learner) -> StepBatch:
    try:
        return next(steps)
    except StopIteration:
        raise RuntimeError(
            f"the data ended at step {state.step} of {state.config.num_steps}"
        ) from None


class Pace:
    """How fast it goes: a line every few seconds from rank 0, and an epoch's share of waiting."""

    def __init__(self, state: Learner) -> None:
        self._state = state
        self._line = (state.step, time.monotonic())
        self.restart()

    def restart(self) -> None:
        """Begin an epoch."""
        self._waited, self._first_step = 0.0, self._state.step
        self._start = self._asked = time.monotonic()

    def wait(self) -> None:
        """The next batch is asked for."""
        self._asked = time.monotonic()

    def begin(self) -> None:
        """It is there."""
        self._waited += time.monotonic() - self._asked

    def end(self) -> None:
        """The step is done, or on its way to the device."""
        now = time.monotonic()
        state, config = self._state, self._state.config
        last_step, last_time = self._line
        if state.rank != 0 or now - last_time < LOG_SECONDS:
            return
        rate = (state.step - last_step) / (now - last_time)
        left = (config.num_steps - state.step) / max(rate, 1e-9)
        epoch = (state.step - 1) // config.steps_per_epoch + 1  # of the step that is done
        logger.info(
            "step %d of %d (epoch %d of %d), %.2f steps/s, %d:%02d left",
            *(state.step, config.num_steps, epoch, config.epochs, rate),
            *divmod(int(left), 60),
        )
        self._line = (state.step, now)

    def metrics(self) -> dict[str, float]:
        """Return the epoch's speed, and the share of its time spent waiting for data."""
        seconds = max(time.monotonic() - self._start, 1e-9)
        return {
            "system/steps_per_s": (self._state.step - self._first_step) / seconds,
            "system/data_wait_share": self._waited / seconds,
        }
