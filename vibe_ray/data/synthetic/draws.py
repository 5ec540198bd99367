"""Random numbers of the synthetic captures, all from one explicit generator.

Processes in time are stationary: a clip of one frame has the same statistics as any frame of a
long clip, so frames for the encoder's training and clips for the shards come from one code.

Shapes: C clips, N frames.
"""

import math

import numpy as np
import torch
from torch import Tensor


def mixed_seed(seed: int, *position: int) -> int:
    """Return the seed of a position, such as a step, in a run with a seed of its own."""
    for number in position:
        seed = seed * 1_000_003 + number
    return seed % 2**63


def generator_of_step(seed: int, step: int) -> torch.Generator:
    """Return the random numbers of a training step, the same in every process."""
    return torch.Generator().manual_seed(mixed_seed(seed, step + 1))


def uniform(shape: tuple[int, ...], low: float, high: float, generator: torch.Generator) -> Tensor:
    """Draw numbers uniform in [low, high)."""
    return torch.rand(shape, generator=generator) * (high - low) + low


def log_uniform(
    shape: tuple[int, ...], low: float, high: float, generator: torch.Generator
) -> Tensor:
    """Draw positive numbers whose logarithm is uniform."""
    return uniform(shape, math.log(low), math.log(high), generator).exp()


def normal(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Draw standard normal numbers."""
    return torch.randn(shape, generator=generator)


def slow_wave(
    num_clips: int, seconds: Tensor, period: tuple[float, float], generator: torch.Generator
) -> Tensor:
    """Return one slow sine per clip with random period and phase, (C, N) in [-1, 1].

    Args:
        num_clips: C.
        seconds: Time of each frame (N,).
        period: Shortest and longest period in seconds.
        generator: Source of randomness.
    """
    length = log_uniform((num_clips, 1), *period, generator)
    phase = uniform((num_clips, 1), 0.0, 2 * math.pi, generator)
    return torch.sin(2 * math.pi * seconds / length + phase)


def drift(shape: tuple[int, ...], correlation: float, generator: torch.Generator) -> Tensor:
    """Return unit-variance AR(1) noise along dimension 1.

    Args:
        shape: (C, N, ...).
        correlation: Between neighbouring frames, in [0, 1).
        generator: Source of randomness.
    """
    from scipy.signal import lfilter  # which imports half of SciPy: no command waits for its help

    steps = normal(shape, generator)
    if shape[1] == 1 or correlation == 0:
        return steps
    steps[:, 1:] *= math.sqrt(
        1 - correlation**2
    )  # the first frame is drawn from the stationary law
    filtered = lfilter([1.0], [1.0, -correlation], steps.numpy().astype(np.float64), axis=1)
    return torch.from_numpy(filtered.astype(np.float32))


def held_frames(shape: tuple[int, ...], refresh_prob: float, generator: torch.Generator) -> Tensor:
    """Return for every frame the frame whose draws are still in force, int64.

    With draws of an event of probability p gathered by `hold`, this is the two-state Markov chain
    whose stationary probability is p and whose events last 1 / (refresh_prob * (1 - p)) frames.

    Args:
        shape: (C, N, ...).
        refresh_prob: Probability that a frame replaces the draws in force.
        generator: Source of randomness.
    """
    if shape[1] == 1:
        return torch.zeros(shape, dtype=torch.int64)
    refresh = torch.rand(shape, generator=generator) < refresh_prob
    frames = torch.arange(shape[1]).view(1, -1, *[1] * (len(shape) - 2))
    return torch.where(refresh, frames, 0).cummax(dim=1).values


def hold(draws: Tensor, frames: Tensor) -> Tensor:
    """Replace each frame's draws (C, N, ...) by those in force, `frames` from `held_frames`."""
    return draws if draws.shape[1] == 1 else draws.gather(1, frames.expand_as(draws))


def events(
    shape: tuple[int, ...], prob: float, mean_frames: float, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Return spans in which something is the case: (bool mask, held frames), both of `shape`.

    Args:
        shape: (C, N, ...).
        prob: Share of frames covered.
        mean_frames: Mean length of a span.
        generator: Source of randomness.
    """
    frames = held_frames(shape, min(1.0, 1.0 / (max(mean_frames, 1.0) * (1 - prob))), generator)
    return hold(torch.rand(shape, generator=generator) < prob, frames), frames
