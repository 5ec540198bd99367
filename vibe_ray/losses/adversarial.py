"""What do the two players of the adversarial game want?

VIBE Eq. 5 and 6. Least squares: scores are plain numbers, drawn to 1 for captured and to 0 for
generated motion. A window is one item of each mean.

Of a generated window with score d the discriminator descends d^2 and the generator (d - 1)^2: both
gradients go through the same network and differ by a factor of that window's own, (d - 1) / d. So
one backward pass serves both players: the discriminator's weights take the gradient of d^2, and
what reaches the window itself is turned into the generator's.

Shapes: B windows.
"""

import torch
from torch import Tensor

from vibe_ray.losses.masked import MaskedTerm, num_items

SMALLEST_SCORE = 1e-12


def generator_term(score: Tensor) -> MaskedTerm:
    """The generator wants its motion's scores (B,) to be 1 (L_adv, Eq. 5)."""
    return _squared(score - 1)


def discriminator_real_term(score: Tensor) -> MaskedTerm:
    """The discriminator wants captured motion's scores (B,) to be 1 (first part of Eq. 6)."""
    return _squared(score - 1)


def discriminator_fake_term(score: Tensor) -> MaskedTerm:
    """The discriminator wants generated motion's scores (B,) to be 0 (second part of Eq. 6).

    The scores must be those of detached motion, or of motion whose gradient `turn_gradient` makes
    the generator's.
    """
    return _squared(score)


def turn_gradient(motion: Tensor, score: Tensor) -> Tensor:
    """Let the backward pass of `discriminator_fake_term` bring motion `generator_term`'s gradient.

    Args:
        motion: Generated windows (B, ...), of which only the discriminator makes use.
        score: What it gave them (B,).

    Returns:
        The scores to be descended (B,), the same but for a zero, which has lost its direction:
        it becomes the least number that has not.
    """
    lift = torch.where(score.abs() < SMALLEST_SCORE, SMALLEST_SCORE - score, 0.0)
    lifted = score + lift.detach()
    of_fake = lifted.detach()
    factor = ((of_fake - 1) / of_fake).view(-1, *[1] * (motion.ndim - 1))
    motion.register_hook(lambda gradient: gradient * factor)
    return lifted


def _squared(distance: Tensor) -> MaskedTerm:
    return MaskedTerm(total=distance.square().sum(), count=num_items(distance))
