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

from vibe_ray.data.batches import StepBatch
from vibe_ray.losses.masked import Loss, num_items

SMALLEST_SCORE = 1e-12


def from_one(score: Tensor) -> Tensor:
    """Sum the squared distances of scores (B,) from 1."""
    return (score - 1).square().sum()


def from_zero(score: Tensor) -> Tensor:
    """Sum the squared distances of scores (B,) from 0."""
    return score.square().sum()


def num_generated(batch: StepBatch) -> Tensor:
    """Count the windows of which a generator makes motion."""
    return num_items(batch.pose.pose[:, 0, 0])


def num_captured(batch: StepBatch) -> Tensor:
    """Count the windows of captured motion."""
    return num_items(batch.motion.pose[:, 0, 0])


ADVERSARIAL = Loss("generator/adversarial", "adversarial", from_one, num_generated)
"""The generator wants its motion's scores to be 1 (L_adv, Eq. 5)."""
REAL = Loss("discriminator/real", "adversarial", from_one, num_captured)
"""The discriminator wants captured motion's scores to be 1 (first part of Eq. 6). The released code
weights its loss by the adversarial weight, too."""
FAKE = Loss("discriminator/fake", "adversarial", from_zero, num_generated)
"""The discriminator wants generated motion's scores to be 0 (second part of Eq. 6). They must be
those of detached motion, or of motion whose gradient `turn_gradient` makes the generator's."""


def turn_gradient(motion: Tensor, score: Tensor) -> Tensor:
    """Let the backward pass of `FAKE` bring motion the gradient of `ADVERSARIAL`.

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
