"""What do loop, recorder and checkpoints know of that which is being trained?

No more than `Learner` says. One trains the generator against the discriminator (`state.py`,
`step.py`), one the motion prior (`prior.py`), one the frame encoder (`frame_encoder.py`);
`tasks.py` knows which is whose.
"""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from vibe_ray.config import TrainConfig
from vibe_ray.data.batches import StepBatch
from vibe_ray.runs.snapshots import Snapshot
from vibe_ray.training.meter import Meter, deal, gather
from vibe_ray.training.precision import products


class Learner(Protocol):
    """Networks, optimizers, schedules and counters of one rank."""

    config: TrainConfig
    device: torch.device
    rank: int
    step: int
    """Updates done."""
    meter: Meter
    """Sums of this rank's metrics in the epoch so far; empty when an epoch has been reported."""
    history: list[dict[str, float]]
    """Metrics of every finished epoch."""

    @property
    def epoch(self) -> int:
        """Finished epochs."""

    def parallelize(self, wrap: Callable[[nn.Module], nn.Module]) -> None:
        """Wrap the networks for synchronized backward passes, e.g. by Ray's `prepare_model`."""

    def update(self, batch: StepBatch) -> dict[str, Tensor]:
        """Learn from this rank's share of a step, and return every loss term.

        Detached, unweighted, on the device: each is this rank's share of the mean over all ranks'
        items, so that their sum over the ranks is the term.
        """

    def validate(self) -> dict[str, float]:
        """Measure on the validation split, each rank on its share; the same on every rank."""

    def check_finite(self) -> None:
        """Make sure that nothing has diverged; waits for the device, so not at every step.

        Raises:
            FloatingPointError: Names the loss term and its step, or the network. All ranks raise.
        """

    def schedule(self, metrics: Mapping[str, float]) -> None:
        """Let learning rates follow an epoch's validation."""

    def rates(self) -> dict[str, float]:
        """Return the learning rates by network."""

    def snapshot(self, manifest: dict[str, Any]) -> Snapshot:
        """Copy all that a checkpoint holds; every rank calls it."""

    def load(self, directory: Path) -> None:
        """Continue from a checkpoint of the same config, with any number of ranks."""


@dataclass(kw_only=True)
class Progress:
    """Where a learner computes and how far it has come: what all of them have."""

    config: TrainConfig
    device: torch.device
    rank: int
    step: int = 0
    meter: Meter = field(default_factory=dict)
    history: list[dict[str, float]] = field(default_factory=list)
    """Part of the state, so that a run's log is a function of its checkpoint, whenever which
    process was killed."""

    @property
    def epoch(self) -> int:
        """Finished epochs."""
        return self.step // self.config.steps_per_epoch

    def products(self) -> AbstractContextManager[object]:
        """Return the context in which the networks are called."""
        return products(self.config.precision, self.device)

    def progress(self) -> dict[str, Any]:
        """Return how far it has come, as a checkpoint holds it; every rank calls it."""
        return {"step": self.step, "history": self.history, "meter": gather(self.meter)}

    def load_progress(self, trainer: Mapping[str, Any]) -> None:
        """Set how far it has come from a trainer file, written by any number of ranks."""
        self.step = trainer["step"]
        self.history = trainer["history"]
        self.meter = deal(trainer["meter"], self.device)


def check_settings(config: TrainConfig, learned: str, given: Mapping[str, bool]) -> None:
    """Refuse settings that a learner would not follow.

    Args:
        config: Of the run.
        learned: What is trained, for the message.
        given: More of them, and whether the config has them.

    Raises:
        ValueError: Names them.
    """
    optim = config.optim
    without = {
        "optim.accumulate": optim.accumulate > 1,
        "compile": config.compile,
        "windows.motion": bool(config.windows.motion),
        "validation.max_sequences": config.validation.max_sequences > 0,
        **given,
    }
    unknown = [name for name, is_given in without.items() if is_given]
    if unknown:
        raise ValueError(f"{learned} is trained without {', '.join(unknown)}: leave it out")


def check_weights(networks: Mapping[str, nn.Module], step: int) -> None:
    """Make sure that the weights of networks, named for the message, are finite.

    Raises:
        FloatingPointError: Names the network. All ranks raise, since all have the same weights.
    """
    for name, network in networks.items():
        if not bool(nn.utils.get_total_norm(network.parameters()).isfinite()):
            raise FloatingPointError(
                f"weights of {name} are not finite after step {step}: the last checkpoint "
                "is good; lower the learning rate, or set optim.gradient_clip"
            )
