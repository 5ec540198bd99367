"""How do gradients become weights?"""

import copy
from typing import TypeVar

import torch
from torch import nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from vibe_ray.config import OptimConfig
from vibe_ray.models.generator import Generator
from vibe_ray.models.motion_discriminator import MotionDiscriminator

Network = TypeVar("Network", bound=nn.Module)


def generator_adam(generator: Generator, config: OptimConfig) -> torch.optim.Optimizer:
    """Return the generator's optimizer, whose regressor may learn at a rate of its own."""
    groups = [
        {"params": list(generator.encoder.parameters()), "lr": config.generator_lr},
        {
            "params": list(generator.regressor.parameters()),
            "lr": config.generator_lr * config.regressor_lr_share,
        },
    ]
    return torch.optim.Adam(
        [group for group in groups if group["params"]],
        weight_decay=config.generator_weight_decay,
        fused=True,
    )


def discriminator_adam(
    discriminator: MotionDiscriminator, config: OptimConfig
) -> torch.optim.Optimizer:
    """Return the discriminator's optimizer."""
    return torch.optim.Adam(
        discriminator.parameters(),
        lr=config.discriminator_lr,
        weight_decay=config.discriminator_weight_decay,
        fused=True,
    )


def descend(network: nn.Module, optimizer: torch.optim.Optimizer, config: OptimConfig) -> None:
    """Update a network by its gradients, shortened to the configured norm where they exceed it."""
    if config.gradient_clip:
        nn.utils.clip_grad_norm_(network.parameters(), config.gradient_clip)
    optimizer.step()


def start_average(network: Network) -> Network:
    """Return a copy of a network for `update_average` to move."""
    return copy.deepcopy(network).requires_grad_(False)


@torch.no_grad()
def update_average(average: nn.Module, network: nn.Module, decay: float, step: int) -> None:
    """Move an average towards a network's weights.

    Args:
        average: Changed in place.
        network: After update number `step`.
        decay: Share of itself that the average keeps.
        step: Counted from 1. The share kept is at most `step / (step + 9)`: the first steps, which
            know little yet, are soon forgotten.
    """
    kept = min(decay, step / (step + 9))
    move = get_ema_multi_avg_fn(kept)
    move(list(average.parameters()), list(network.parameters()), step)
