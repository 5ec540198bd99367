"""How much does each term of VIBE Eq. 1 count?"""

from dataclasses import dataclass
from typing import Literal

from vibe_ray.losses.masked import check_weights


@dataclass(frozen=True, kw_only=True)
class LossWeights:
    """Weights of the released run; the paper differs in the adversarial one alone, which is 2."""

    norm: Literal["squared", "distance"] = "squared"
    """Whether L_2D, L_3D and the pose's part of L_SMPL are mean squares, as released, or mean
    distances, which far-off joints draw less. Weights belong to a norm."""
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
        if self.norm not in ("squared", "distance"):
            raise ValueError(f"losses.norm is {self.norm!r}, expected 'squared' or 'distance'")
