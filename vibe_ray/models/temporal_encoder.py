"""Temporal encoder: how does a frame's feature learn from the frames around it?

VIBE Sec. 3.1. Shapes: B windows, T frames, F features, H hidden units.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vibe_ray.models.gru import GRU


@dataclass(frozen=True, kw_only=True)
class TemporalEncoderConfig:
    kind: Literal["gru", "none"] = "gru"
    """`none` passes features through: the generator then is the frame-by-frame baseline."""
    hidden_dim: int = 1024
    num_layers: int = 2
    bidirectional: bool = False
    """The paper says bidirectional, the released weights look only at the past."""
    add_linear: bool = True
    """Map the GRU's output back to F; a bidirectional one always is."""
    residual: bool = True
    """Add the features to the output, so that training starts from what each frame alone tells."""
    residual_frames: int = 1
    """Frames, an odd number, over which the residual is a learned average, with weights of each
    feature's own. 1 is VIBE's residual. A plain one hands a feature's jitter on to the body:
    TCMR left it out for that; averaged, it still lets training start from the frames."""

    def __post_init__(self) -> None:
        for name in ("hidden_dim", "num_layers"):
            if getattr(self, name) < 1:
                raise ValueError(f"temporal_encoder.{name} is {getattr(self, name)}, must be >= 1")
        if self.residual_frames < 1 or self.residual_frames % 2 == 0:
            raise ValueError(
                f"temporal_encoder.residual_frames is {self.residual_frames}, must be odd"
            )


class TemporalEncoder(nn.Module):
    """GRU over a window, mapped back to the features' width; PyTorch's initialization.

    As released, a ReLU stands before the linear layer and is absent without one. The state starts
    at zero in every window.

    Raises:
        ValueError: Without a linear layer the output would not have the width of the features.
    """

    def __init__(self, config: TemporalEncoderConfig, feature_dim: int) -> None:
        super().__init__()
        self.config = config
        self.gru: GRU | None = None
        self.linear: nn.Linear | None = None
        self.average: FrameAverage | None = None
        if config.kind == "none":
            return
        directions = 2 if config.bidirectional else 1
        has_linear = config.add_linear or config.bidirectional
        if not has_linear and config.hidden_dim != feature_dim:
            raise ValueError(
                f"temporal_encoder.hidden_dim is {config.hidden_dim} and the features are "
                f"{feature_dim} wide: set add_linear=true, or hidden_dim={feature_dim}"
            )
        self.gru = GRU(
            feature_dim, config.hidden_dim, config.num_layers, bidirectional=config.bidirectional
        )
        if has_linear:
            self.linear = nn.Linear(directions * config.hidden_dim, feature_dim)
        if config.residual and config.residual_frames > 1:
            self.average = FrameAverage(feature_dim, config.residual_frames)

    def forward(self, features: Tensor) -> Tensor:
        """Encode features (B, T, F) as features of the same shape that know their neighbors."""
        if self.gru is None:
            return features
        encoded = self.gru(features)  # (B, T, H), or (B, T, 2H) in both directions
        if self.linear is not None:
            encoded = self.linear(encoded.relu()).to(features.dtype)  # (B, T, F)
        if not self.config.residual:
            return encoded
        return encoded + (features if self.average is None else self.average(features))


class FrameAverage(nn.Module):
    """Weighted average over neighboring frames, its weights learned feature by feature.

    Starts as a triangle that sums to one; at a window's ends the outermost frames are repeated.
    Stays in the features' precision under `torch.autocast`.
    """

    def __init__(self, feature_dim: int, num_frames: int) -> None:
        super().__init__()
        half = num_frames // 2
        triangle = 1.0 + half - torch.arange(-half, half + 1).abs()
        weight = (triangle / triangle.sum()).repeat(feature_dim, 1, 1)
        self.weight = nn.Parameter(weight)  # (F, 1, num_frames)

    def forward(self, features: Tensor) -> Tensor:
        """Average features (B, T, F) over time, same shape."""
        half = self.weight.shape[-1] // 2
        padded = F.pad(features.mT, (half, half), mode="replicate")  # (B, F, T + 2 half)
        with torch.autocast(features.device.type, enabled=False):
            return F.conv1d(padded, self.weight, groups=len(self.weight)).mT
