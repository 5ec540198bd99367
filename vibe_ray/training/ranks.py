"""How do the ranks of a run share a step? N workers compute what one would."""

from collections.abc import Iterable

import torch
import torch.distributed as dist
from torch import Tensor

from vibe_ray.data.batches import StepBatch
from vibe_ray.losses.masked import Loss


def rank_and_world_size() -> tuple[int, int]:
    """Return this process's number and how many there are; without a process group, one."""
    return (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)


def own_share(limit: int = 0) -> slice:
    """Return which of the first `limit` items, or of all, are this rank's."""
    rank, world_size = rank_and_world_size()
    return slice(rank, limit or None, world_size)


def sum_over_ranks(own: Tensor) -> Tensor:
    """Add up every rank's tensor, in place, and return it."""
    return _reduced(own, dist.ReduceOp.SUM)


def least_over_ranks(own: Tensor) -> Tensor:
    """Find the least of every rank's tensor, number by number, in place, and return it."""
    return _reduced(own, dist.ReduceOp.MIN)


def largest_over_ranks(own: Tensor) -> Tensor:
    """Find the largest of every rank's tensor, number by number, in place, and return it."""
    return _reduced(own, dist.ReduceOp.MAX)


def _reduced(own: Tensor, op: dist.ReduceOp.RedOpType) -> Tensor:
    if dist.is_initialized():
        dist.all_reduce(own, op=op)
    return own


def counts_over_ranks(losses: Iterable[Loss], batch: StepBatch) -> dict[str, Tensor]:
    """Return by what each loss's sum is divided, by the loss's name.

    Where nothing is valid on any rank that is one: the sum is zero then.

    Args:
        losses: The same on all ranks.
        batch: This rank's share of a step.
    """
    counts = {loss.name: loss.count(batch) for loss in losses}
    table = sum_over_ranks(torch.stack(list(counts.values())))
    return dict(zip(counts, table.clamp(min=1.0).unbind(), strict=True))


def descend_sum(weighted: Iterable[Tensor]) -> Tensor:
    """Run the backward pass of the sum of weighted shares, and return that sum, detached.

    DDP averages gradients over the ranks; the world size undoes that.
    """
    total = torch.stack(list(weighted)).sum()
    (rank_and_world_size()[1] * total).backward()
    return total.detach()
