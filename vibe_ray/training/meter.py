"""Running means of loss terms that never wait for the device, and where the first NaN arose."""

import math
import resource
import sys
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from vibe_ray.training.ranks import (
    largest_over_ranks,
    least_over_ranks,
    rank_and_world_size,
    sum_over_ranks,
)

NEVER = 2**62
"""First bad step of a term that was always finite."""

Meter = dict[str, Tensor]
"""Name of a loss term -> (3,) float64: its sum, how often it came, its first non-finite step."""


def accumulate(meter: Meter, metrics: dict[str, Tensor], step: int) -> None:
    """Add one step's terms: per term its sum, how often it came, and its first non-finite step.

    Args:
        meter: Name -> (3,) float64 on the terms' device; changed in place.
        metrics: Name -> scalar, this rank's share of the mean over all ranks.
        step: The step just done.
    """
    values = torch.stack(list(metrics.values())).detach().double()
    finite = values.isfinite()
    bad = torch.where(finite, float(NEVER), float(step))
    updates = torch.stack([values, torch.ones_like(values), bad], dim=1)
    for name, update in zip(metrics, updates.unbind(), strict=True):
        if name not in meter:
            meter[name] = update.clone()
        else:
            meter[name][:2] += update[:2]
            torch.minimum(meter[name][2], update[2], out=meter[name][2])


def reduce_means(meter: Meter) -> dict[str, float]:
    """Return the means over steps, summed over ranks, and empty the meter.

    Raises:
        FloatingPointError: As `check_terms`.
    """
    names, table = _reduced(meter)
    _check(names, table)
    meter.clear()
    sums, counts, _ = table.unbind(dim=1)
    return dict(zip(names, (sums / counts).tolist(), strict=True))


def check_terms(meter: Meter) -> None:
    """Make sure that all terms so far were finite.

    Raises:
        FloatingPointError: A term was not finite, on any rank; names the step and the term. Every
            rank raises it, since the sums are taken over all of them first.
    """
    if meter:
        _check(*_reduced(meter))


def gather(meter: Meter) -> dict[str, Any]:
    """Return every rank's meter, for a checkpoint: sums taken rank by rank stay as they are."""
    names, table = _table(meter)
    tables = [table]
    if names and dist.is_initialized():
        tables = [torch.empty_like(table) for _ in range(dist.get_world_size())]
        dist.all_gather(tables, table)
    return {"names": names, "ranks": torch.stack(tables)}  # (ranks, terms, 3)


def deal(saved: dict[str, Any], device: torch.device) -> Meter:
    """Return this rank's part of what `gather` gave, dealt in turn to today's ranks."""
    rank, world_size = rank_and_world_size()
    own = saved["ranks"][rank::world_size].to(device)  # (some ranks, terms, 3)
    if not len(own):  # more ranks than before: nothing measured yet, at as many steps
        own = torch.zeros_like(saved["ranks"][:1]).to(device)
        own[..., 1] = saved["ranks"][:1, :, 1].to(device)
        own[..., 2] = NEVER
    first = own[:, :, 2].amin(dim=0)
    table = torch.stack([own[:, :, 0].sum(dim=0), own[0, :, 1], first], dim=1)
    return dict(zip(saved["names"], table.unbind(), strict=True))


def _table(meter: Meter) -> tuple[list[str], Tensor]:
    names = sorted(meter)
    if not names:
        return [], torch.zeros(0, 3, dtype=torch.float64)
    return names, torch.stack([meter[name] for name in names])  # (terms, 3)


def _reduced(meter: Meter) -> tuple[list[str], Tensor]:
    """Return terms and their table over all ranks; every step counts once."""
    names, table = _table(meter)
    sums, counts, first_bad = (column.clone() for column in table.unbind(dim=1))
    reduced = sum_over_ranks(sums), counts, least_over_ranks(first_bad)
    return names, torch.stack(reduced, dim=1)


def _check(names: list[str], table: Tensor) -> None:
    rows = table.tolist()
    step, name = min((row[2], name) for name, row in zip(names, rows, strict=True))
    if step < NEVER or not all(math.isfinite(row[0]) for row in rows):
        raise FloatingPointError(
            f"loss term {name} was not finite at step {int(step)}: the last checkpoint is good; "
            "lower the learning rate or check the data with `prepare validate`"
        )


def peak_memory_mb(device: torch.device) -> float:
    """Largest resident size of any rank's process so far, in MiB.

    Args:
        device: Of the ranks' tensors; NCCL reduces no others.
    """
    unit = 1 if sys.platform == "darwin" else 1024
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20
    return float(largest_over_ranks(torch.tensor(own, device=device)))
