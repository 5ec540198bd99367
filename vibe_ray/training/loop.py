"""The epochs of a run: steps, validation, schedules, reports. The same with Ray and without.

Ray is not needed here: `launch.py` hands in an iterator of batches and a place to report to,
either Ray Train's or this process's.
"""

import logging
import time
from collections.abc import Iterable, Iterator
from typing import Protocol

import torch.distributed as dist

from vibe_ray.data.batches import StepBatch
from vibe_ray.data.shards import read_pose_sequences
from vibe_ray.evaluation.evaluator import Evaluator
from vibe_ray.evaluation.protocols import PROTOCOLS
from vibe_ray.storage import join
from vibe_ray.training.meter import accumulate, peak_memory_mb, reduce_means
from vibe_ray.training.state import TrainState
from vibe_ray.training.step import adversarial_step

logger = logging.getLogger(__name__)

SCORE = "val/pa_mpjpe_mm"
"""What schedules and the choice of the best checkpoint follow; lower is better."""
LOG_SECONDS = 10.0


class Reporter(Protocol):
    def __call__(self, metrics: dict[str, float], state: TrainState) -> None:
        """Take one epoch's metrics and keep a checkpoint of the state."""


def run_epochs(state: TrainState, batches: Iterable[StepBatch], report: Reporter) -> None:
    """Train to the config's last step, from wherever the state stands.

    Args:
        state: Changed in place.
        batches: This rank's share of every step from `state.step` on.
        report: Called by every rank at the end of every epoch.

    Raises:
        FloatingPointError: A loss term was not finite.
        RuntimeError: The batches ended before the last step.
    """
    progress = _Progress(state)
    steps = iter(batches)
    while state.step < state.config.num_steps:
        batch = _next(steps, state)
        accumulate(state.meter, adversarial_step(state, batch.to(state.device)), state.step - 1)
        progress.tick()
        if state.step % state.config.steps_per_epoch == 0:
            finish_epoch(state, report)


def finish_epoch(state: TrainState, report: Reporter) -> None:
    """Average the epoch's terms, validate, step the schedules and report."""
    metrics = reduce_means(state.meter)
    metrics |= {f"val/{name}": value for name, value in validate(state).items()}
    for scheduler in state.schedulers:
        scheduler.step(metrics[SCORE])
    metrics |= {
        "step": state.step,
        "epoch": state.epoch,
        "lr/generator": state.generator_optimizer.param_groups[0]["lr"],
        "lr/discriminator": state.discriminator_optimizer.param_groups[0]["lr"],
        "system/peak_memory_mb": peak_memory_mb(),
    }
    report(metrics, state)


def validate(state: TrainState) -> dict[str, float]:
    """Evaluate the generator on the validation split, each rank on its share of the sequences."""
    config = state.config
    rank, world_size = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)
    evaluator = Evaluator(
        state.body, PROTOCOLS[config.validation.protocol], config.data.window_length, state.device
    )
    limit = config.validation.max_sequences
    sequences = read_pose_sequences(join(config.data.root, config.data.validation))
    predict = state.generator.folded()
    for index, sequence in enumerate(sequences):
        if limit and index >= limit:
            break
        if index % world_size == rank:
            evaluator.add(predict, sequence)
    if dist.is_initialized():
        evaluator.all_reduce()
    return evaluator.result().metrics


def _next(steps: Iterator[StepBatch], state: TrainState) -> StepBatch:
    try:
        return next(steps)
    except StopIteration:
        raise RuntimeError(
            f"the data ended at step {state.step} of {state.config.num_steps}"
        ) from None


class _Progress:
    """One line every few seconds from rank 0; the values themselves wait for the epoch's end."""

    def __init__(self, state: TrainState) -> None:
        self.state = state
        self.last_step = state.step
        self.last = time.monotonic()

    def tick(self) -> None:
        now = time.monotonic()
        if self.state.rank != 0 or now - self.last < LOG_SECONDS:
            return
        state, config = self.state, self.state.config
        rate = (state.step - self.last_step) / (now - self.last)
        left = (config.num_steps - state.step) / max(rate, 1e-9)
        logger.info(
            "step %d of %d (epoch %d of %d), %.2f steps/s, %d:%02d left",
            *(state.step, config.num_steps, state.epoch + 1, config.epochs, rate),
            *divmod(int(left), 60),
        )
        self.last, self.last_step = now, state.step
