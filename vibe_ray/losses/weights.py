"""How much does each term of VIBE Eq. 1 count?"""

from dataclasses import dataclass

from vibe_ray.losses.masked import check_weights


@dataclass(frozen=True, kw_only=True)
class LossWeights:
    """Weights of the released run; the paper differs in the adversarial one alone, which is 2."""

    kp_2d: float = 300.0
    kp_3d: float = 300.0
    pose: float = 60.0
    betas: float = 0.06
    adversarial: float = 0.5
    """Weighs the generator's adversarial term and the discriminator's own loss alike; 0 trains
    without a discriminator."""
    motion_prior: float = 0.0
    """Weighs how unlikely the generated motion is under a trained prior, the paper's alternative
    to a discriminator; needs the setting `motion_prior`. The paper gives no weight."""

    def __post_init__(self) -> None:
        check_weights(self, "losses")
