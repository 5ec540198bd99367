"""What do the two players of the adversarial game want?

VIBE Eq. 5 and 6. Least squares: scores are plain numbers, drawn to 1 for captured and to 0 for
generated motion. A window is one item of each mean.

Shapes: B windows.
"""

from torch import Tensor

from vibe_ray.losses.masked import MaskedTerm


def generator_term(score: Tensor) -> MaskedTerm:
    """The generator wants its motion's scores (B,) to be 1 (L_adv, Eq. 5)."""
    return _squared(score - 1)


def discriminator_real_term(score: Tensor) -> MaskedTerm:
    """The discriminator wants captured motion's scores (B,) to be 1 (first part of Eq. 6)."""
    return _squared(score - 1)


def discriminator_fake_term(score: Tensor) -> MaskedTerm:
    """The discriminator wants generated motion's scores (B,) to be 0 (second part of Eq. 6).

    The scores must be those of detached motion: this term is not the generator's.
    """
    return _squared(score)


def _squared(distance: Tensor) -> MaskedTerm:
    count = distance.new_full((), distance.numel())
    return MaskedTerm(total=distance.square().sum(), count=count)
