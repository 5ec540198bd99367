"""What do loop, recorder and checkpoints know of that which is being trained?

No more than `Learner` says. One learner trains the generator against the discriminator
(`state.py`, `step.py`), another the motion prior (`prior.py`); `tasks.py` knows which is whose.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import nn

from vibe_ray.config import TrainConfig
from vibe_ray.runs.snapshots import Snapshot
from vibe_ray.training.meter import Meter, deal, gather


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


def save_progress(learner: Learner) -> dict[str, Any]:
    """Return how far it has come, as a checkpoint's trainer file holds it; every rank calls it."""
    return {
        "step": learner.step,
        "history": learner.history,
        "meter": gather(learner.meter),
    }


def load_progress(learner: Learner, trainer: Mapping[str, Any]) -> None:
    """Set how far it has come from a trainer file, written by any number of ranks."""
    learner.step = trainer["step"]
    learner.history = trainer["history"]
    learner.meter = deal(trainer["meter"], learner.device)


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
