"""How does a mean over what is known stay the same on one worker and on many?

A `Loss` is declared once: its name, its weight's, its sum over items and how many items there are.
The counts of all losses are added up over the workers before anything is descended, and a worker's
share of a loss is its own sum over that count; a mean of the workers' means would give rare labels
the weight of their worker. Shapes are fixed: what is unknown is masked to zero, never cut out, so
every worker runs the same graph at every step, and a batch without any label gives zero, not NaN.
"""

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from vibe_ray.data.batches import StepBatch

SOFTENED = 1e-3
"""A millimeter of joints, a 2000th of a box's side in the picture, 0.04 degrees of a rotation."""


@dataclass(frozen=True)
class Loss:
    """A term of what is descended, declared in one place."""

    name: str
    """Under which it is logged."""
    weight: str
    """Name of the setting that weighs it, in the weights' section."""
    total: Callable[..., Tensor]
    """Sum over the counted items (frames or windows) of each one's mean error, a scalar; sums of
    parts of a batch add up to the whole's. Only `share` calls it."""
    count: Callable[[StepBatch], Tensor]
    """How many items a batch has, a scalar of floating point that may be zero; not a matter of any
    estimate, so it is known before the first one is made."""

    def share(self, counts: Mapping[str, Tensor], *of: Any) -> Tensor:
        """Return a part's share of the mean over all workers' items.

        Args:
            counts: Of every loss by its name, over all parts of all workers; none of them zero.
            of: What `total` compares.
        """
        return self.total(*of) / counts[self.name]


def masked_squared_error(prediction: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """Sum the mean squared error of every item that the mask keeps.

    A target outside the mask may be anything, NaN included: it reaches neither value nor gradient.

    Args:
        prediction: (..., *D), where `...` are the dimensions of the mask.
        target: Of the shape of `prediction`.
        mask: (...), nonzero where the target is known.
    """
    return _difference(prediction, target, mask).square().flatten(mask.ndim).mean(dim=-1).sum()


def masked_distance(prediction: Tensor, target: Tensor, mask: Tensor, num_dims: int) -> Tensor:
    """Sum the mean distance of every item that the mask keeps; of targets, as above.

    Args:
        prediction: (..., *P, *D), where `...` are the dimensions of the mask, P those over which
            distances are averaged and D the `num_dims` across which each is measured.
        target: Of the shape of `prediction`.
        mask: (...), nonzero where the target is known.
        num_dims: Of D.
    """
    apart = distances(_difference(prediction, target, mask), num_dims).unsqueeze(-1)
    return torch.where(mask.bool(), apart.flatten(mask.ndim).mean(dim=-1), 0.0).sum()


def distances(difference: Tensor, num_dims: int) -> Tensor:
    """Return lengths (...) of differences (..., *D), D the last `num_dims`, softened near 0.

    A length has no gradient at 0: this is sqrt(length^2 + SOFTENED^2).
    """
    squared = difference.square().flatten(-num_dims).sum(dim=-1)
    return (squared + SOFTENED**2).sqrt()


def _difference(prediction: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    kept = mask.bool()
    spread = kept.reshape(kept.shape + (1,) * (prediction.ndim - kept.ndim))
    # Masking the difference, not its square: the gradient of a masked NaN is then an exact zero.
    return torch.where(spread, prediction - target, 0.0)


def num_known(mask: Tensor) -> Tensor:
    """Count the items that a mask keeps, in its type if that is floating, else in float32."""
    kept = mask.bool()
    return kept.to(mask.dtype if mask.is_floating_point() else torch.float32).sum()


def num_items(items: Tensor) -> Tensor:
    """Count all items (...) where nothing is masked, as a scalar beside them."""
    return items.new_full((), items.numel())


def check_weights(weights: Any, section: str) -> None:
    """Make sure that every weight of a section, a field that is a float, is a number from zero up.

    Raises:
        ValueError: One is not; names the setting.
    """
    for item in dataclasses.fields(weights):
        weight = getattr(weights, item.name)
        if item.type is float and not 0 <= weight < float("inf"):
            raise ValueError(f"{section}.{item.name} is {weight}, expected a number >= 0")
