"""Temporal encoder that attends: a transformer which does not mind how long a sequence is.

Two things tie an attention to the lengths it was trained on, and both are left out. Positions are
rotary (Su et al., "RoFormer", 2021): a score knows how far apart two frames are, not where they
are. And a frame attends to few frames on each side, half a training window by default, so that no
frame of a long sequence has more neighbors, or farther ones, than the middle of a training window
had. Where a sequence is cut matters only within `num_layers * reach` frames of the cut.

Cost and memory grow with the length, not with its square: queries come in blocks of `reach`
frames, the keys of a block are its own and those of the blocks at its sides. There also is the
origin of the positions, so that rounding is the same at the end of an hour as at its start.

Shapes: B windows, T frames, F features, H width, h heads, D = H / h, R = reach, N blocks.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vibe_ray.models.dropout import Dropout
from vibe_ray.models.frame_average import FrameAverage, check_residual_frames
from vibe_ray.models.pieces import Piece, Sliceable

ROTARY_BASE = 10_000.0
"""The slowest pair of numbers turns by about one radian in so many frames."""


@dataclass(frozen=True, kw_only=True)
class TransformerEncoderConfig:
    hidden_dim: int = 512
    num_layers: int = 3
    num_heads: int = 8
    reach: int = 8
    """Frames on each side that a layer attends to; 0 for all frames. Half of `data.window_length`:
    more is seldom seen in training and new to the network in long sequences."""
    dropout: float = 0.1
    residual: bool = True
    """Add the features to the output, which then starts at zero: training starts from exactly what
    each frame alone tells."""
    residual_frames: int = 1
    """Frames, an odd number, over which the residual is a learned average, as for the GRU."""

    def __post_init__(self) -> None:
        section = "temporal_encoder.transformer"
        for name, least in (("hidden_dim", 1), ("num_layers", 1), ("num_heads", 1), ("reach", 0)):
            if getattr(self, name) < least:
                raise ValueError(f"{section}.{name} is {getattr(self, name)}, must be >= {least}")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"{section}.dropout is {self.dropout}, expected 0 <= dropout < 1")
        check_residual_frames(section, self.residual_frames)


class TransformerEncoder(nn.Module):
    """Pre-norm transformer over a window, mapped back to the features' width.

    It wants a smaller rate than a GRU: in the open recipe `optim.generator_lr` of 2e-4, not 1e-3.

    Raises:
        ValueError: The width cannot be dealt to the heads in pairs of numbers.
    """

    def __init__(self, config: TransformerEncoderConfig, feature_dim: int) -> None:
        super().__init__()
        self.config = config
        width = config.hidden_dim
        if width % (2 * config.num_heads):
            raise ValueError(
                f"temporal_encoder.transformer.hidden_dim is {width}, must be a multiple of twice "
                f"the number of heads, {2 * config.num_heads}"
            )
        self.inputs = nn.Linear(feature_dim, width)
        self.layers = nn.Sequential(*(Layer(config) for _ in range(config.num_layers)))
        self.norm = nn.LayerNorm(width)
        self.outputs = nn.Linear(width, feature_dim)
        self.average: FrameAverage | None = None
        if config.residual:
            nn.init.zeros_(self.outputs.weight)
            nn.init.zeros_(self.outputs.bias)
            if config.residual_frames > 1:
                self.average = FrameAverage(feature_dim, config.residual_frames)

    def forward(self, features: Tensor) -> Tensor:
        """Encode features (B, T, F) as features of the same shape that know their neighbors."""
        states = self.inputs(features).to(features.dtype)  # (B, T, H)
        encoded = self.outputs(self.norm(self.layers(states))).to(features.dtype)
        if not self.config.residual:
            return encoded
        return encoded + (features if self.average is None else self.average(features))

    def pieces(self, features: Sliceable, length: int) -> Iterator[Tensor]:
        """Encode a sequence (N, F) as `forward` does, `length` frames (n, F) at a time.

        Each piece is encoded with the frames around it that can reach it.
        """
        config = self.config
        margin = config.num_layers * config.reach + config.residual_frames // 2
        for piece in Piece.of(len(features), length, margin):
            around = features[piece.around].to(self.inputs.weight)
            yield self(around[None])[0, piece.inside]


class Layer(nn.Module):
    """Attention over frames, then two linear layers on each frame, both added to their input.

    Under `torch.autocast` the sum that runs through the layers stays in its precision.
    """

    def __init__(self, config: TransformerEncoderConfig) -> None:
        super().__init__()
        width = config.hidden_dim
        self.num_heads, self.reach = config.num_heads, config.reach
        self.attention_norm = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.mix = nn.Linear(width, width)
        self.frame_norm = nn.LayerNorm(width)
        self.widen = nn.Linear(width, 4 * width)
        self.narrow = nn.Linear(4 * width, width)
        self.dropout = Dropout(config.dropout)

    def forward(self, states: Tensor) -> Tensor:
        """Let states (B, T, H) learn of their neighbors."""
        seen = self.mix(self._attended(self.attention_norm(states)))
        states = states + self.dropout(seen)
        thought = self.narrow(F.gelu(self.widen(self.frame_norm(states))))
        return states + self.dropout(thought)

    def _attended(self, states: Tensor) -> Tensor:
        heads = self.qkv(states).unflatten(-1, (3, self.num_heads, -1))  # (B, T, 3, h, D)
        q, k, v = heads.permute(2, 0, 3, 1, 4)  # each (B, h, T, D)
        return attend(q, k, v, self.reach).transpose(1, 2).flatten(2)


def attend(q: Tensor, k: Tensor, v: Tensor, reach: int) -> Tensor:
    """Attend to frames by content and distance.

    Args:
        q: Queries (B, h, T, D), D even.
        k: Keys, likewise.
        v: Values, likewise.
        reach: Frames on each side that may be seen, 0 for all.

    Returns:
        (B, h, T, D).
    """
    num_heads, num_frames = q.shape[1:3]
    if reach == 0 or num_frames <= reach + 1:
        positions = torch.arange(num_frames, device=q.device)
        return F.scaled_dot_product_attention(_rotated(q, positions), _rotated(k, positions), v)
    q, k, v = (x.flatten(0, 1) for x in (q, k, v))  # (B h, T, D)
    # Blocks take the heads' place in the call: one mask serves all windows and heads.
    q = _in_blocks(q, reach)  # (B h, N, R, D)
    k, v = (_with_sides(_in_blocks(x, reach)) for x in (k, v))  # (B h, N, 3R, D)
    beside = torch.arange(3 * reach, device=q.device)
    seen = F.scaled_dot_product_attention(
        _rotated(q, beside[reach : 2 * reach]),
        _rotated(k, beside),
        v,
        attn_mask=_visible(num_frames, reach, q.device),
    )
    return seen.flatten(1, 2)[:, :num_frames].unflatten(0, (-1, num_heads))


def _in_blocks(x: Tensor, reach: int) -> Tensor:
    """Cut (..., T, D) into blocks (..., N, R, D), the last one filled up with zeros."""
    return F.pad(x, (0, 0, 0, -x.shape[-2] % reach)).unflatten(-2, (-1, reach))


def _with_sides(blocks: Tensor) -> Tensor:
    """Put the blocks before and after beside each block: (..., N, R, D) -> (..., N, 3R, D)."""
    before = F.pad(blocks, (0, 0, 0, 0, 1, 0))[..., :-1, :, :]
    after = F.pad(blocks, (0, 0, 0, 0, 0, 1))[..., 1:, :, :]
    return torch.cat([before, blocks, after], dim=-2)


def _visible(num_frames: int, reach: int, device: torch.device) -> Tensor:
    """Say which keys a query may see (N, R, 3R): those in reach that exist.

    What fills up the last block sees itself alone, since a softmax over nothing is not a number.
    """
    num_blocks = -(-num_frames // reach)
    query = torch.arange(num_blocks * reach, device=device).view(num_blocks, reach, 1)
    key = query[:, :1] + torch.arange(-reach, 2 * reach, device=device)
    exists = (key >= 0) & (key < num_frames)
    return ((query - key).abs() <= reach) & (exists | (query == key))


def _rotated(x: Tensor, positions: Tensor) -> Tensor:
    """Turn pairs of numbers of x (..., P, D) by angles that grow with their positions (P,)."""
    dtype = torch.promote_types(x.dtype, torch.float32)
    half = x.shape[-1] // 2
    speed = ROTARY_BASE ** (-torch.arange(half, device=x.device, dtype=dtype) / half)
    angle = positions.to(dtype)[:, None] * speed  # (P, D / 2)
    a, b = x.chunk(2, dim=-1)
    cos, sin = angle.cos(), angle.sin()
    return torch.cat([a * cos - b * sin, a * sin + b * cos], dim=-1).to(x.dtype)
