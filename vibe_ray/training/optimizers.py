"""How do gradients become weights, and at which rates?"""

import copy
import math
from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

import torch
from torch import nn
from torch.optim.lr_scheduler import ReduceLROnPlateau
from torch.optim.swa_utils import get_ema_multi_avg_fn

from vibe_ray.config import OptimConfig, TrainConfig
from vibe_ray.runs.snapshots import plain

Network = TypeVar("Network", bound=nn.Module)


class Descent:
    """Adam on one network, whose parts may learn at rates of their own, and its rates' schedule."""

    def __init__(
        self,
        parts: Sequence[tuple[Iterable[nn.Parameter], float]],
        lr: float,
        config: TrainConfig,
        weight_decay: float = 0.0,
    ) -> None:
        """Set up.

        Args:
            parts: Weights, and their share of the rate; those without weights are left out.
            lr: The rate.
            config: Of the run.
            weight_decay: Of all parts.

        Raises:
            ValueError: The schedule has no such steps.
        """
        of_parts = [(list(weights), share) for weights, share in parts]
        groups = [(weights, share) for weights, share in of_parts if weights]
        self.optimizer = torch.optim.Adam(
            [{"params": weights, "lr": lr * share} for weights, share in groups],
            weight_decay=weight_decay,
            fused=True,
        )
        self._shares = [share for _, share in groups]
        self._lr, self._optim, self._num_steps = lr, config.optim, config.num_steps
        optim = config.optim
        if optim.warmup_steps and optim.lr_schedule != "cosine":
            raise ValueError(
                f"optim.warmup_steps is {optim.warmup_steps}, but optim.lr_schedule is "
                f"{optim.lr_schedule!r}, which has none: set it to cosine"
            )
        self._plateau = ReduceLROnPlateau(
            self.optimizer, factor=optim.lr_factor, patience=optim.lr_patience
        )

    @property
    def rates(self) -> list[float]:
        """The rate of each part."""
        return [group["lr"] for group in self.optimizer.param_groups]

    def step(self, network: nn.Module, step: int) -> None:
        """Update a network by its gradients, shortened to the configured norm if they exceed it.

        Args:
            network: Whose weights these are.
            step: Updates done before.
        """
        if self._optim.lr_schedule == "cosine":
            rate = cosine_rate(self._lr, step, self._num_steps, self._optim)
            for group, share in zip(self.optimizer.param_groups, self._shares, strict=True):
                group["lr"] = share * rate
        if self._optim.gradient_clip:
            nn.utils.clip_grad_norm_(network.parameters(), self._optim.gradient_clip)
        self.optimizer.step()

    def end_epoch(self, score: float) -> None:
        """Let the rates follow an epoch's validation, of which less is better."""
        if self._optim.lr_schedule == "plateau":
            self._plateau.step(score)

    def schedule_state(self) -> dict[str, Any]:
        """Return where the schedule stands, in plain values."""
        return plain(self._plateau.state_dict())

    def load(self, optimizer: dict[str, Any], schedule: dict[str, Any]) -> None:
        """Go on from the states of the optimizer and of the schedule."""
        self.optimizer.load_state_dict(optimizer)
        self._plateau.load_state_dict(schedule)


def cosine_rate(lr: float, step: int, num_steps: int, optim: OptimConfig) -> float:
    """Return the rate of an update: a linear warm-up, then a cosine.

    Args:
        lr: The highest.
        step: Updates done before.
        num_steps: Of the whole run.
        optim: Says how long the warm-up is, and where the cosine ends.
    """
    if step < optim.warmup_steps:
        return lr * (step + 1) / optim.warmup_steps
    done = (step - optim.warmup_steps) / max(1, num_steps - optim.warmup_steps)
    return lr * (
        optim.final_lr_share
        + (1 - optim.final_lr_share) * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))
    )


def start_average(network: Network, decay: float) -> Network | None:
    """Return a copy of a network for `update_average` to move; none where nothing is averaged."""
    if not decay:
        return None
    return copy.deepcopy(network).requires_grad_(False)


@torch.no_grad()
def update_average(average: nn.Module | None, network: nn.Module, decay: float, step: int) -> None:
    """Move an average towards a network's weights.

    Args:
        average: Changed in place, where there is one.
        network: After update number `step`.
        decay: Share of itself that the average keeps.
        step: Counted from 1. The share kept is at most `step / (step + 9)`: the first steps, which
            know little yet, are soon forgotten.
    """
    if average is None:
        return
    kept = min(decay, step / (step + 9))
    move = get_ema_multi_avg_fn(kept)
    move(list(average.parameters()), list(network.parameters()), step)
