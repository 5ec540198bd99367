"""The generator: from a window of frame features to a moving body. The paper's VIBE network.

    features ──▶ temporal encoder ──▶ SMPL regressor ──▶ pose, shape and camera of every frame

Two choices follow the released code, not the paper: the default encoder looks only backwards, and
shape is regressed for every frame instead of averaged over the window.

Shapes: B windows, T frames, F features.
"""

import copy
import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain

import torch
from torch import Tensor, nn

from vibe_ray.body.params import SmplParams
from vibe_ray.data.schema import FEATURE_DIM
from vibe_ray.models.pieces import Sliceable
from vibe_ray.models.smpl_regressor import FoldedSmplRegressor, SmplRegressor, SmplRegressorConfig
from vibe_ray.models.temporal_encoder import (
    TemporalEncoderConfig,
    encoded_pieces,
    temporal_encoder,
)


@dataclass(frozen=True, kw_only=True)
class GeneratorConfig:
    feature_dim: int = FEATURE_DIM
    """Width of the frame encoder's features, as in the shards' manifest."""
    temporal_encoder: TemporalEncoderConfig = field(default_factory=TemporalEncoderConfig)
    regressor: SmplRegressorConfig = field(default_factory=SmplRegressorConfig)


class _Network(nn.Module):
    """What features go through, in training and in use."""

    config: GeneratorConfig
    encoder: nn.Module
    regressor: SmplRegressor | FoldedSmplRegressor

    def forward(self, features: Tensor) -> SmplParams:
        """Estimate SMPL parameters (B, T, ...) of windows of features (B, T, F).

        Raises:
            ValueError: The features have another width than the generator was built for.
        """
        check_features(features, self.config.feature_dim)
        params: SmplParams = self.regressor(self.encoder(features))
        return params

    @torch.no_grad()
    def pieces(self, features: Sliceable, length: int) -> Iterator[SmplParams]:
        """Estimate a sequence (N, F) in one pass, but for memory some frames (n, ...) at a time.

        The numbers are those of `forward` for one window of N frames, to rounding; there are no
        gradients. Features may be of any float type and on any device.

        Raises:
            ValueError: The features have another width than the generator was built for.
        """
        check_features(features[:1][None], self.config.feature_dim)
        like = next(chain(self.parameters(), self.buffers()))
        for encoded in encoded_pieces(self.encoder, features, length):
            yield self.regressor(encoded.to(like))


class Generator(_Network):
    """Temporal encoder and SMPL regressor; the names of the weights are VIBE's.

    Raises:
        FileNotFoundError: The configured mean parameters are missing.
        ValueError: The configured widths do not fit together.
    """

    regressor: SmplRegressor

    def __init__(self, config: GeneratorConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = temporal_encoder(config.temporal_encoder, config.feature_dim)
        self.regressor = SmplRegressor(config.regressor, config.feature_dim)

    @classmethod
    def from_weights(cls, config: GeneratorConfig, weights: Mapping[str, Tensor]) -> "Generator":
        """Rebuild a trained generator; the mean parameters are among its weights, no file is read.

        Raises:
            RuntimeError: The weights are of another architecture (all differing names are listed).
        """
        regressor = dataclasses.replace(config.regressor, mean_params="rest")
        generator = cls(dataclasses.replace(config, regressor=regressor))
        generator.load_state_dict(weights)
        return generator

    def folded(self) -> "FoldedGenerator":
        """Return a copy for inference, without dropout and with a cheap regressor.

        It gives the answers of this generator in eval mode to rounding, and does not follow it
        when training goes on.
        """
        return FoldedGenerator(self)


class FoldedGenerator(_Network):
    """A generator's snapshot for inference; see `Generator.folded`."""

    def __init__(self, generator: Generator) -> None:
        super().__init__()
        self.config = generator.config
        self.encoder = copy.deepcopy(generator.encoder)
        self.regressor = generator.regressor.folded()
        self.eval().requires_grad_(False)


def check_features(features: Tensor, feature_dim: int) -> None:
    """Raise ValueError unless features are (B, T, `feature_dim`)."""
    if features.ndim != 3 or features.shape[-1] != feature_dim:
        raise ValueError(
            f"features have shape {tuple(features.shape)}, expected (windows, frames, "
            f"{feature_dim}): extract them with the frame encoder that the checkpoint names, or "
            "set generator.feature_dim and train anew"
        )
