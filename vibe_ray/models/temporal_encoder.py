"""Temporal encoder: how does a frame's feature learn from the frames around it?

The choice stands here, each kind in a module of its own with its own config. All take features
(B, T, F) of any number of frames and give features of the same shape.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

from torch import Tensor, nn

from vibe_ray.models.gru_encoder import GruEncoder, GruEncoderConfig
from vibe_ray.models.pieces import Piece, Sliceable
from vibe_ray.models.tcmr_encoder import TcmrEncoder, TcmrEncoderConfig
from vibe_ray.models.transformer_encoder import TransformerEncoder, TransformerEncoderConfig


@dataclass(frozen=True, kw_only=True)
class TemporalEncoderConfig:
    """Which kind, and a section of settings for each."""

    kind: Literal["gru", "tcmr", "transformer", "none"] = "gru"
    """`none` passes features through: the generator then is the frame-by-frame baseline."""
    gru: GruEncoderConfig = field(default_factory=GruEncoderConfig)
    tcmr: TcmrEncoderConfig = field(default_factory=TcmrEncoderConfig)
    transformer: TransformerEncoderConfig = field(default_factory=TransformerEncoderConfig)


def temporal_encoder(config: TemporalEncoderConfig, feature_dim: int) -> nn.Module:
    """Build the configured kind for features of a width.

    Raises:
        ValueError: Its settings do not fit together or to that width.
    """
    if config.kind == "gru":
        return GruEncoder(config.gru, feature_dim)
    if config.kind == "tcmr":
        return TcmrEncoder(config.tcmr, feature_dim)
    if config.kind == "transformer":
        return TransformerEncoder(config.transformer, feature_dim)
    return nn.Identity()


def encoded_pieces(encoder: nn.Module, features: Sliceable, length: int) -> Iterator[Tensor]:
    """Encode a sequence (N, F) as the encoder does, `length` frames (n, F) at a time.

    Where every frame looks at all others, the whole sequence is encoded at once, and memory grows
    with its length; of a GRU in both directions the states do, which are small.
    """
    match encoder:
        case nn.Identity():
            return (features[piece.around] for piece in Piece.of(len(features), length, 0))
        case GruEncoder():
            return encoder.pieces(features, length)
        case TransformerEncoder() if encoder.config.reach:
            return encoder.pieces(features, length)
    weight = next(encoder.parameters())
    encoded: Tensor = encoder(features[:].to(weight)[None])[0]
    return iter(encoded.split(length))
