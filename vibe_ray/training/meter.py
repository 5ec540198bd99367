"""Running means of loss terms that never wait for the device, and where the first NaN arose."""

import math
import resource
import sys

import torch
import torch.distributed as dist
from torch import Tensor

NEVER = 2**62
"""First bad step of a term that was always finite."""


def accumulate(meter: dict[str, Tensor], metrics: dict[str, Tensor], step: int) -> None:
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


def reduce_means(meter: dict[str, Tensor]) -> dict[str, float]:
    """Return the means over steps, summed over ranks, and empty the meter.

    Raises:
        FloatingPointError: A term was not finite, on any rank; names the step and the term. Every
            rank raises it, since the sums are taken over all of them first.
    """
    names = sorted(meter)
    table = torch.stack([meter[name] for name in names])  # (terms, 3)
    sums, counts, first_bad = table.unbind(dim=1)
    if dist.is_initialized():
        sums, first_bad = sums.clone(), first_bad.clone()
        dist.all_reduce(sums)
        dist.all_reduce(first_bad, op=dist.ReduceOp.MIN)
    means = (sums / counts).tolist()
    steps = first_bad.tolist()
    meter.clear()
    bad = min(zip(steps, names, strict=True))
    if bad[0] < NEVER or not all(math.isfinite(mean) for mean in means):
        raise FloatingPointError(
            f"loss term {bad[1]} was not finite at step {int(bad[0])}: the last checkpoint is "
            "good; lower the learning rate or check the data with `prepare validate`"
        )
    return dict(zip(names, means, strict=True))


def peak_memory_mb() -> float:
    """Largest resident size of any rank's process so far, in MiB."""
    unit = 1 if sys.platform == "darwin" else 1024
    peak = torch.tensor(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20)
    if dist.is_initialized():
        dist.all_reduce(peak, op=dist.ReduceOp.MAX)
    return float(peak)
