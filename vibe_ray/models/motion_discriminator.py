"""Motion discriminator: does this window of body pose look captured?

VIBE Sec. 3.2. It sees what `models/motion_view.py` makes of a motion: by default the 69 numbers of
the body joints' axis-angles. Its score is a plain number, trained towards 1 for captured and 0 for
generated motion, as in the released code; in the paper it is a probability.

Shapes: B windows, T frames, P numbers of a frame, H hidden units.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from vibe_ray.models.dropout import Dropout
from vibe_ray.models.gru import GRU
from vibe_ray.models.motion_view import Form, MotionView


@dataclass(frozen=True, kw_only=True)
class MotionDiscriminatorConfig:
    pool: Literal["attention", "concat"] = "attention"
    """How frames become one vector: learned weights, or mean and maximum side by side."""
    hidden_dim: int = 1024
    num_layers: int = 2
    attention_layers: int = 3
    """Linear layers of the attention's network: 2 in the paper's text, 3 in the released run."""
    attention_dropout: float = 0.2
    pose: Form = "axis_angle"
    """How it is told of the body joints' rotations; `rot6d` has no jump at half a turn."""
    root_motion: bool = False
    """Also show by what the root has turned since the first frame, seen from the body."""
    spectral_norm: bool = False
    """Divide each weight matrix, the GRU's too, by its largest singular value (Miyato et al. 2018),
    so that scores cannot grow steep. It is estimated by one more step of power iteration in each
    training pass: one pass for both players and separate passes then agree but for its progress."""

    def __post_init__(self) -> None:
        for name in ("hidden_dim", "num_layers", "attention_layers"):
            if getattr(self, name) < 1:
                raise ValueError(f"discriminator.{name} is {getattr(self, name)}, must be >= 1")
        if not 0 <= self.attention_dropout < 1:
            raise ValueError(
                f"discriminator.attention_dropout is {self.attention_dropout}, "
                "expected 0 <= dropout < 1"
            )


class AttentionPool(nn.Module):
    """Averages frames with learned weights, so that a short glitch can decide the score.

    As released, a tanh and a dropout follow the last layer too: raw weights lie in (-1, 1), and
    dropping one sets it to zero before the softmax, it does not drop its frame.
    """

    def __init__(self, hidden_dim: int, num_layers: int, dropout: float) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for width in [hidden_dim] * (num_layers - 1) + [1]:
            linear = nn.Linear(hidden_dim, width)
            nn.init.uniform_(linear.weight, -0.1, 0.1)
            nn.init.constant_(linear.bias, 0.01)
            layers += [linear, nn.Tanh(), Dropout(dropout)]
        self.attention = nn.Sequential(*layers)

    def forward(self, frames: Tensor) -> Tensor:
        """Pool frames (B, T, H) into one vector per window (B, H)."""
        raw = self.attention(frames).to(frames.dtype)
        weights = raw.softmax(dim=1)  # (B, T, 1), sums to one over T
        return (weights * frames).sum(dim=1)


class ConcatPool(nn.Module):
    """Mean and maximum over frames of the rectified states, side by side."""

    def forward(self, frames: Tensor) -> Tensor:
        """Pool frames (B, T, H) into one vector per window (B, 2H)."""
        rectified = frames.relu()
        return torch.cat([rectified.mean(dim=1), rectified.amax(dim=1)], dim=-1)


class MotionDiscriminator(nn.Module):
    """Scores windows of motion; the names of the weights are VIBE's.

    Under `torch.autocast` pooling and score stay in float32: players are told apart by small
    differences of scores.
    """

    def __init__(self, config: MotionDiscriminatorConfig) -> None:
        super().__init__()
        self.config = config
        self.view = MotionView(pose=config.pose, root_motion=config.root_motion)
        width = config.hidden_dim
        self.gru = GRU(self.view.width, width, config.num_layers)
        self.attention: AttentionPool | ConcatPool
        if config.pool == "attention":
            self.attention = AttentionPool(width, config.attention_layers, config.attention_dropout)
            self.fc = nn.Linear(width, 1)
        else:
            self.attention = ConcatPool()
            self.fc = nn.Linear(2 * width, 1)
        if config.spectral_norm:
            bound_weights(self)

    def forward(self, motion: Tensor) -> Tensor:
        """Score motion (B, T, P) as `view` makes it, one number per window (B,)."""
        frames = self.gru(motion)  # (B, T, H)
        pooled = self.attention(frames)
        with torch.autocast(pooled.device.type, enabled=False):
            return self.fc(pooled).squeeze(-1)


def bound_weights(network: nn.Module) -> None:
    """Give every matrix of linear layers and GRUs the largest singular value 1."""
    for module in list(network.modules()):
        if isinstance(module, GRU | nn.Linear):
            names = [name for name, value in module.named_parameters() if value.ndim == 2]
            for name in names:
                spectral_norm(module, name)
