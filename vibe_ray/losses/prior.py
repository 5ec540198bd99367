"""How well does a motion prior keep a motion, and what does it say to the generator?

The paper (Sec. 3.2) gives neither the loss with which MPoser is trained nor its weights, and the
released code has nothing of it. Trained is, as VPoser was, by what is lost of the motion and by how
far the posterior of the latent is from the standard normal prior.

Shapes: B windows, T frames, J joints, L latent numbers.
"""

import dataclasses
from dataclasses import dataclass

from torch import Tensor

from vibe_ray.losses.masked import MaskedTerm, num_items


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
        for item in dataclasses.fields(self):
            weight = getattr(self, item.name)
            if not 0 <= weight < float("inf"):
                raise ValueError(f"prior_losses.{item.name} is {weight}, expected a number >= 0")


def rotation_term(rotmat: Tensor, target: Tensor) -> MaskedTerm:
    """Squared difference of the entries of rotations (B, T, J, 3, 3); a frame is an item."""
    per_frame = (rotmat - target).square().flatten(-3).mean(dim=-1)
    return MaskedTerm(total=per_frame.sum(), count=num_items(per_frame))


def joints_term(joints: Tensor, target: Tensor) -> MaskedTerm:
    """Squared distance of joints (B, T, J, 3), the mean over joints; a frame is an item."""
    per_frame = (joints - target).square().sum(dim=-1).mean(dim=-1)
    return MaskedTerm(total=per_frame.sum(), count=num_items(per_frame))


def kl_term(mean: Tensor, std: Tensor) -> MaskedTerm:
    """KL divergence in nats of normal posteriors (B, T, L) from the standard normal prior.

    Added up over a frame's numbers; a frame is an item.
    """
    per_frame = ((mean.square() + std.square() - 1) / 2 - std.log()).sum(dim=-1)
    return MaskedTerm(total=per_frame.sum(), count=num_items(per_frame))


def motion_prior_term(mean: Tensor) -> MaskedTerm:
    """The generator wants its motion to be likely under a prior that learns no more (L_MPoser).

    The paper puts the length of the latent, |z|_2, into the generator's loss in the place of L_adv.
    Here it is the squared length of the posterior's mean, by the number of latent numbers: up to a
    factor the negative logarithm of the latent's density under the prior, with a gradient at zero.
    Captured motion has about one; a window is an item, and has the mean of its frames.

    Args:
        mean: Of the posterior of generated motion (B, T, L).
    """
    per_window = mean.square().mean(dim=(-2, -1))
    return MaskedTerm(total=per_window.sum(), count=num_items(per_window))
