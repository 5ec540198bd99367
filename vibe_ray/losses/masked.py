"""How does a mean over what is known stay the same on one worker and on many?

A term is kept as a sum and a count. The training step adds both up over its workers and divides
once; a mean of the workers' means would give rare labels the weight of their worker. Shapes are
fixed: what is unknown is masked to zero, never cut out, so every worker runs the same graph at
every step and a batch without any label gives zero, not NaN.
"""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class MaskedTerm:
    """A loss term before its division; terms of parts of a batch add up to the whole's."""

    total: Tensor
    """Sum over the counted items (frames or windows) of each one's mean error, a scalar."""
    count: Tensor
    """How many items are in the sum, a scalar of floating point; may be zero."""


def masked_squared_error(prediction: Tensor, target: Tensor, mask: Tensor) -> MaskedTerm:
    """Sum the mean squared error of every item that the mask keeps.

    A target outside the mask may be anything, NaN included: it reaches neither value nor gradient.

    Args:
        prediction: (..., *D), where `...` are the dimensions of the mask.
        target: Of the shape of `prediction`.
        mask: (...), nonzero where the target is known.
    """
    kept = mask.bool()
    spread = kept.reshape(kept.shape + (1,) * (prediction.ndim - kept.ndim))
    # Masking the difference, not its square: the gradient of a masked NaN is then an exact zero.
    difference = torch.where(spread, prediction - target, 0.0)
    per_item = difference.square().flatten(kept.ndim).mean(dim=-1)
    return MaskedTerm(total=per_item.sum(), count=num_known(mask))


def num_known(mask: Tensor) -> Tensor:
    """Count the items that a mask keeps, in its type if that is floating, else in float32."""
    kept = mask.bool()
    return kept.to(mask.dtype if mask.is_floating_point() else torch.float32).sum()


def num_items(items: Tensor) -> Tensor:
    """Count all items (...) where nothing is masked, as a scalar beside them."""
    return items.new_full((), items.numel())
