"""Motion discriminator: does this window of body pose look captured?

VIBE Sec. 3.2. It sees the 69 numbers of the body joints' axis-angles: neither heading nor shape nor
camera may betray a fake. Its score is a plain number, trained towards 1 for captured and 0 for
generated motion, as in the released code; in the paper it is a probability.

Shapes: B windows, T frames, P = 69 pose numbers, H hidden units.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from vibe_ray.body.skeletons import SMPL_JOINTS
from vibe_ray.models.dropout import Dropout
from vibe_ray.models.gru import GRU

BODY_POSE_DIM = 3 * (len(SMPL_JOINTS) - 1)


@dataclass(frozen=True, kw_only=True)
class MotionDiscriminatorConfig:
    pool: Literal["attention", "concat"] = "attention"
    """How frames become one vector: learned weights, or mean and maximum side by side."""
    hidden_dim: int = 1024
    num_layers: int = 2
    attention_layers: int = 3
    """Linear layers of the attention's network: 2 in the paper's text, 3 in the released run."""
    attention_dropout: float = 0.2

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
        width = config.hidden_dim
        self.gru = GRU(BODY_POSE_DIM, width, config.num_layers)
        self.attention: AttentionPool | ConcatPool
        if config.pool == "attention":
            self.attention = AttentionPool(width, config.attention_layers, config.attention_dropout)
            self.fc = nn.Linear(width, 1)
        else:
            self.attention = ConcatPool()
            self.fc = nn.Linear(2 * width, 1)

    def forward(self, body_pose: Tensor) -> Tensor:
        """Score body pose (B, T, P), one number per window (B,)."""
        frames = self.gru(body_pose)  # (B, T, H)
        pooled = self.attention(frames)
        with torch.autocast(pooled.device.type, enabled=False):
            return self.fc(pooled).squeeze(-1)
