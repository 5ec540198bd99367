"""Motion prior MPoser: which motions of the body are likely, learned from captured motion alone.

VIBE Sec. 3.2: a variational auto-encoder over windows of body pose, whose encoder and decoder are
GRUs, with a latent of 32 numbers for each frame. The paper gives no other sizes, no input and no
training, and the released code has nothing of it. Here it is VPoser (Pavlakos et al. 2019) with
GRUs for its linear layers: 6D rotations in, 6D rotations out, a normal posterior for each frame.
Without the GRUs it is VPoser's kind, which sees one frame at a time, for comparison.

Root, shape and camera are not seen: the prior is of how a body moves in itself.

Shapes: B windows, T frames, J = 23 body joints, L latent numbers, H hidden units.
"""

import dataclasses
import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from vibe_ray.body.skeletons import SMPL_JOINTS
from vibe_ray.geometry.rotations import rot6d_to_rotmat, rotmat_to_rot6d
from vibe_ray.models.gru import GRU

NUM_BODY_JOINTS = len(SMPL_JOINTS) - 1
POSE_NUMBERS = 6 * NUM_BODY_JOINTS
SMALLEST_STD = 1e-4
"""Keeps the logarithm in the KL finite; far below any posterior that is worth its price."""


@dataclass(frozen=True, kw_only=True)
class MotionPriorConfig:
    sequential: bool = True
    """GRUs over the window, as MPoser; without, each frame by itself, as VPoser."""
    latent_dim: int = 32
    """Numbers of the latent for each frame."""
    hidden_dim: int = 256
    num_layers: int = 1
    """Layers of either GRU; of no meaning without them."""
    bidirectional: bool = True
    """Whether the GRUs see later frames too; of no meaning without them."""

    def __post_init__(self) -> None:
        for name in ("latent_dim", "hidden_dim", "num_layers"):
            if getattr(self, name) < 1:
                raise ValueError(f"prior.{name} is {getattr(self, name)}, must be at least 1")


@dataclass(frozen=True)
class Posterior:
    """Independent normal distributions of the latent's numbers, given a motion."""

    mean: Tensor
    """(B, T, L)."""
    std: Tensor
    """(B, T, L)."""


@dataclass(frozen=True)
class Reconstruction:
    rotmat: Tensor
    """Body joints' rotations (B, T, J, 3, 3)."""
    posterior: Posterior


class MotionPrior(nn.Module):
    """Encodes windows of motion into a latent for each frame, and decodes them."""

    rest: Tensor
    """6D rotations of the rest pose, from which pose is counted going in and coming out."""

    def __init__(self, config: MotionPriorConfig) -> None:
        super().__init__()
        self.config = config
        latent = config.latent_dim
        self.encoder = _network(config, POSE_NUMBERS, 2 * latent)
        self.decoder = _network(config, latent, POSE_NUMBERS)
        rest = rotmat_to_rot6d(torch.eye(3)).repeat(NUM_BODY_JOINTS)
        self.register_buffer("rest", rest, persistent=False)

    def encode(self, rotmat: Tensor) -> Posterior:
        """Return the posterior of a motion's latent.

        Args:
            rotmat: Rotations of the body's joints (B, T, J, 3, 3), without the root.
        """
        pose = rotmat_to_rot6d(rotmat).flatten(-2) - self.rest
        mean, spread = self.encoder(pose).chunk(2, dim=-1)
        return Posterior(mean, nn.functional.softplus(spread) + SMALLEST_STD)

    def decode(self, latent: Tensor) -> Tensor:
        """Turn a latent (B, T, L) into rotations of the body's joints (B, T, J, 3, 3)."""
        pose = self.decoder(latent) + self.rest
        return rot6d_to_rotmat(pose.unflatten(-1, (NUM_BODY_JOINTS, 6)))

    def forward(self, rotmat: Tensor, noise: Tensor | None = None) -> Reconstruction:
        """Encode and decode.

        Args:
            rotmat: Rotations of the body's joints (B, T, J, 3, 3), without the root.
            noise: Standard normal numbers (B, T, L) that pick a latent from the posterior; None
                decodes its mean.
        """
        posterior = self.encode(rotmat)
        latent = posterior.mean if noise is None else posterior.mean + posterior.std * noise
        return Reconstruction(self.decode(latent), posterior)


def frame_wise(config: MotionPriorConfig) -> MotionPriorConfig:
    """Return the config of the prior that sees one frame at a time and has as many weights."""
    with torch.device("meta"):
        num_weights = sum(p.numel() for p in MotionPrior(config).parameters())
    # Weights by width W: two hidden layers a side, W (in + 1) + W (W + 1) + out (W + 1).
    sizes = POSE_NUMBERS, 2 * config.latent_dim, config.latent_dim, POSE_NUMBERS
    linear, constant = sum(sizes) + 4, sizes[1] + sizes[3]
    width = (math.sqrt(linear**2 + 8 * (num_weights - constant)) - linear) / 4
    return dataclasses.replace(config, sequential=False, hidden_dim=max(1, round(width)))


class _SequenceNetwork(nn.Module):
    def __init__(self, config: MotionPriorConfig, num_in: int, num_out: int) -> None:
        super().__init__()
        width = config.hidden_dim
        self.gru = GRU(num_in, width, config.num_layers, bidirectional=config.bidirectional)
        self.out = nn.Linear(width * (1 + config.bidirectional), num_out)

    def forward(self, frames: Tensor) -> Tensor:
        """(B, T, in) -> (B, T, out)."""
        answer: Tensor = self.out(self.gru(frames))
        return answer


def _network(config: MotionPriorConfig, num_in: int, num_out: int) -> nn.Module:
    if config.sequential:
        return _SequenceNetwork(config, num_in, num_out)
    width = config.hidden_dim
    return nn.Sequential(
        *(nn.Linear(num_in, width), nn.LeakyReLU()),
        *(nn.Linear(width, width), nn.LeakyReLU()),
        nn.Linear(width, num_out),
    )
