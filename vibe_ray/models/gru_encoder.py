"""VIBE's temporal encoder: a GRU over a window of features.

VIBE Sec. 3.1. Shapes: B windows, T frames, F features, H hidden units.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from vibe_ray.models.frame_average import FrameAverage, check_residual_frames
from vibe_ray.models.gru import GRU
from vibe_ray.models.pieces import Piece, Sliceable


@dataclass(frozen=True, kw_only=True)
class GruEncoderConfig:
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
                raise ValueError(
                    f"temporal_encoder.gru.{name} is {getattr(self, name)}, must be >= 1"
                )
        check_residual_frames("temporal_encoder.gru", self.residual_frames)


class GruEncoder(nn.Module):
    """GRU over a window, mapped back to the features' width; PyTorch's initialization.

    As released, a ReLU stands before the linear layer and is absent without one. The state starts
    at zero in every window. The names of the weights are VIBE's.

    Raises:
        ValueError: Without a linear layer the output would not have the width of the features.
    """

    def __init__(self, config: GruEncoderConfig, feature_dim: int) -> None:
        super().__init__()
        self.config = config
        self.linear: nn.Linear | None = None
        self.average: FrameAverage | None = None
        directions = 2 if config.bidirectional else 1
        has_linear = config.add_linear or config.bidirectional
        if not has_linear and config.hidden_dim != feature_dim:
            raise ValueError(
                f"temporal_encoder.gru.hidden_dim is {config.hidden_dim} and the features are "
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
        encoded = self._mapped(self.gru(features), features.dtype)
        if not self.config.residual:
            return encoded
        return encoded + (features if self.average is None else self.average(features))

    def pieces(self, features: Sliceable, length: int) -> Iterator[Tensor]:
        """Encode a sequence (N, F) as `forward` does, `length` frames (n, F) at a time."""
        weight, last = next(self.parameters()), None
        both = self.gru.both_ways(features, length) if self.config.bidirectional else None
        for piece in Piece.of(len(features), length, margin=self.config.residual_frames // 2):
            around = features[piece.around].to(weight)[None]
            x = around[:, piece.inside]
            if both is None:
                states, last = self.gru.go_on(x, last)
            else:
                states, both = both[None, : x.shape[1]], both[x.shape[1] :]
            encoded = self._mapped(states, x.dtype)
            if self.config.residual:
                encoded += x if self.average is None else self.average(around)[:, piece.inside]
            yield encoded[0]

    def _mapped(self, states: Tensor, dtype: torch.dtype) -> Tensor:
        """Map states (B, T, H), or (B, T, 2H) of both directions, to features (B, T, F)."""
        return states if self.linear is None else self.linear(states.relu()).to(dtype)
