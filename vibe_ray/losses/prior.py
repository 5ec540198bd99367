"""How well does a motion prior keep a motion, and what does it say to the generator?

The paper (Sec. 3.2) gives neither the loss with which MPoser is trained nor its weights, and the
released code has nothing of it. Trained is, as VPoser was, by what is lost of the motion and by how
far the posterior of the latent is from the standard normal prior.

Shapes: B windows, T frames, J joints, L latent numbers.
"""

from dataclasses import dataclass

from torch import Tensor

from vibe_ray.data.batches import StepBatch
from vibe_ray.losses.adversarial import num_generated
from vibe_ray.losses.masked import Loss, check_weights, num_items


@dataclass(frozen=True, kw_only=True)
class PriorWeights:
    """Weights of the motion prior's own loss."""

    rotation: float = 1.0
    joints: float = 100.0
    """Of squared meters: makes a wrong hip count for more than a wrong wrist."""
    kl: float = 1e-5
    """The more, the closer latents of captured motion are to standard normal numbers, and the more
    of a motion is lost."""

    def __post_init__(self) -> None:
        check_weights(self, "prior_losses")


@dataclass(frozen=True)
class Kept:
    """What a prior keeps of windows of motion, beside the motion itself."""

    rotmat: Tensor
    """Rotations of the body's joints (B, T, J, 3, 3)."""
    joints: Tensor
    """SMPL's joints (B, T, 24, 3) of a body so posed, meters."""
    mean: Tensor
    std: Tensor
    """Of the posterior of the latent (B, T, L)."""


@dataclass(frozen=True)
class Motion:
    """Windows of motion, as a prior is asked to keep them."""

    rotmat: Tensor
    """(B, T, J, 3, 3)."""
    joints: Tensor
    """(B, T, 24, 3), meters."""


def rotation(kept: Kept, motion: Motion) -> Tensor:
    """Squared difference of the entries of the rotations."""
    return (kept.rotmat - motion.rotmat).square().flatten(-3).mean(dim=-1).sum()


def joints(kept: Kept, motion: Motion) -> Tensor:
    """Squared distance of the joints, the mean over joints."""
    return (kept.joints - motion.joints).square().sum(dim=-1).mean(dim=-1).sum()


def kl(kept: Kept, motion: Motion) -> Tensor:
    """KL divergence in nats of the posterior from the standard normal prior.

    Added up over a frame's numbers; those are independent and normal.
    """
    mean, std = kept.mean, kept.std
    return ((mean.square() + std.square() - 1) / 2 - std.log()).sum(dim=-1).sum()


def num_frames(batch: StepBatch) -> Tensor:
    """Count the frames of captured motion."""
    return num_items(batch.motion.pose[..., 0])


PRIOR = (
    Loss("rotation", "rotation", rotation, num_frames),
    Loss("joints", "joints", joints, num_frames),
    Loss("kl", "kl", kl, num_frames),
)
"""Of a motion prior in training, weighed by `PriorWeights`; an item is a frame."""


def unlikeliness(mean: Tensor) -> Tensor:
    """Sum over windows how unlikely motion is by the posterior's mean of its latent (B, T, L).

    The paper puts the length of the latent, |z|_2, into the generator's loss in the place of L_adv.
    Here it is the squared length of the posterior's mean, by the number of latent numbers: up to a
    factor the negative logarithm of the latent's density under the prior, with a gradient at zero.
    Captured motion has about one; a window has the mean of its frames.
    """
    return mean.square().mean(dim=(-2, -1)).sum()


MOTION_PRIOR = Loss("generator/motion_prior", "motion_prior", unlikeliness, num_generated)
"""The generator wants its motion to be likely under a prior that learns no more (L_MPoser)."""
