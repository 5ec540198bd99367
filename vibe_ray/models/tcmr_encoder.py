"""Temporal encoder that hides a frame from two of its three witnesses, after TCMR.

H. Choi et al., "Beyond Static Features for Temporally Consistent 3D Human Pose and Shape from a
Video", CVPR 2021. A frame's own feature, handed on by a residual, carries its errors on to the body
and lets them jump from frame to frame. So there is no residual, and beside a GRU over all frames
stand one over the frames before and one over the frames after, which must foretell what they have
not seen.

Different from TCMR: it estimates the middle frame of a window and slides the window on frame by
frame; here every frame of a window is a middle with the past and future that the window holds, all
in one pass. TCMR also supervises what each branch alone would give; here only the fused feature
is. A branch that has seen nothing, such as the past of the first frame, has no say.

Shapes: B windows, T frames, F features, H hidden units, A units of the attention.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from vibe_ray.models.gru import GRU


@dataclass(frozen=True, kw_only=True)
class TcmrEncoderConfig:
    hidden_dim: int = 1024
    """Units of each GRU in each direction."""
    num_layers: int = 2
    attention_dim: int = 256
    """Width in which the branches' features are compared to weigh them."""

    def __post_init__(self) -> None:
        for name in ("hidden_dim", "num_layers", "attention_dim"):
            if getattr(self, name) < 1:
                raise ValueError(
                    f"temporal_encoder.tcmr.{name} is {getattr(self, name)}, must be >= 1"
                )


class TcmrEncoder(nn.Module):
    """GRUs over all frames, those before and those after, fused by learned weights."""

    def __init__(self, config: TcmrEncoderConfig, feature_dim: int) -> None:
        super().__init__()
        self.config = config
        width, layers = config.hidden_dim, config.num_layers
        self.whole = GRU(feature_dim, width, layers, bidirectional=True)
        self.past = GRU(feature_dim, width, layers)
        self.future = GRU(feature_dim, width, layers)
        self.from_whole = nn.Linear(2 * width, feature_dim)
        self.from_past = nn.Linear(width, feature_dim)
        self.from_future = nn.Linear(width, feature_dim)
        self.compare = nn.Linear(feature_dim, config.attention_dim)
        self.weigh = nn.Linear(3 * config.attention_dim, 3)

    def forward(self, features: Tensor) -> Tensor:
        """Encode features (B, T, F) as features of the same shape that know their neighbors."""
        branches = self.branches(features)
        weights = self.weights(branches)[..., None]  # (B, T, 3, 1)
        return (weights * branches).sum(dim=2)

    def branches(self, features: Tensor) -> Tensor:
        """Return what all frames, the past and the future say of a frame (B, T, 3, F)."""
        whole = self.whole(features)
        past = _shifted(self.past(features), 1)
        future = _shifted(self.future(features.flip(1)).flip(1), -1)
        said = (
            self.from_whole(whole.relu()),
            self.from_past(past.relu()),
            self.from_future(future.relu()),
        )
        return torch.stack(said, dim=2).to(features.dtype)

    def weights(self, branches: Tensor) -> Tensor:
        """Weigh the branches (B, T, 3, F) against each other: (B, T, 3), sums to one."""
        compared = self.compare(branches).tanh().flatten(2)
        raw = self.weigh(compared).to(branches.dtype)
        return raw.masked_fill(_blind(branches.shape[1], branches.device), -torch.inf).softmax(-1)


def _shifted(states: Tensor, frames: int) -> Tensor:
    """Let states (B, T, H) speak of the next frame, or with -1 of the one before; zero first."""
    moved = torch.zeros_like(states)
    if frames > 0:
        moved[:, 1:] = states[:, :-1]
    else:
        moved[:, :-1] = states[:, 1:]
    return moved


def _blind(num_frames: int, device: torch.device) -> Tensor:
    """Say which branches (T, 3) have seen nothing: the first frame's past, the last's future."""
    frames = torch.arange(num_frames, device=device)
    never = torch.zeros_like(frames, dtype=torch.bool)
    return torch.stack([never, frames == 0, frames == num_frames - 1], dim=-1)
