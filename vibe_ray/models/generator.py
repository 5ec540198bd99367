"""The generator: from a window of frame features to a moving body. The paper's VIBE network.

    features ──▶ temporal encoder ──▶ SMPL regressor ──▶ pose, shape and camera of every frame

Two choices follow the released code, not the paper: the default encoder looks only backwards, and
shape is regressed for every frame instead of averaged over the window. The generator may look at
key-points themselves, too (`keypoints.py`): they come behind the features, in one tensor
(`features.with_keypoints`). Or it makes features of them itself, by an encoder that learns along.

Shapes: B windows, T frames, F features, W numbers of what a detector saw, or none.
"""

import copy
import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain

import torch
from torch import Tensor, nn

from vibe_ray.body.model import BodyArrays
from vibe_ray.body.params import SmplParams
from vibe_ray.data.schema import FEATURE_DIM
from vibe_ray.features.keypoint_encoder import (
    NUM_INPUTS,
    KeypointEncoder,
    KeypointEncoderConfig,
)
from vibe_ray.models.keypoints import Errors, KeypointInput, ReprojectionFeedback
from vibe_ray.models.pieces import Sliceable
from vibe_ray.models.smpl_regressor import (
    FoldedSmplRegressor,
    IteratedSmplRegressor,
    SmplRegressor,
    SmplRegressorConfig,
)
from vibe_ray.models.temporal_encoder import (
    TemporalEncoderConfig,
    encoded_pieces,
    temporal_encoder,
)


@dataclass(frozen=True, kw_only=True)
class GeneratorConfig:
    feature_dim: int = FEATURE_DIM
    """Width of the frame encoder's features, as in the shards' manifest; without key-points."""
    keypoint_dim: int = 0
    """Units through which the temporal encoder sees key-points and confidences beside the features;
    0: it does not."""
    feedback: bool = False
    """Tell the regressor, in every iteration, how far its estimate is from the key-points."""
    one_shape: bool = False
    """Give all frames of a window the mean of their shapes, as the paper says."""
    learns_features: bool = False
    """Make the features of key-points by a frame encoder of its own, which learns with the rest;
    those given are left. The paper's frame encoder is frozen."""
    frame_encoder: KeypointEncoderConfig = field(default_factory=KeypointEncoderConfig)
    """Of that encoder."""
    temporal_encoder: TemporalEncoderConfig = field(default_factory=TemporalEncoderConfig)
    regressor: SmplRegressorConfig = field(default_factory=SmplRegressorConfig)

    def __post_init__(self) -> None:
        if self.keypoint_dim < 0:
            raise ValueError(f"generator.keypoint_dim is {self.keypoint_dim}, must be >= 0")
        if self.learns_features and self.frame_encoder.feature_dim != self.feature_dim:
            raise ValueError(
                f"generator.frame_encoder.feature_dim is {self.frame_encoder.feature_dim} and "
                f"generator.feature_dim {self.feature_dim}: set both to one width"
            )

    @property
    def sees_keypoints(self) -> bool:
        """Whether features must have key-points beside them."""
        return self.keypoint_dim > 0 or self.feedback or self.learns_features

    @property
    def input_dim(self) -> int:
        """Width of what it takes: F, or F + W."""
        return self.feature_dim + NUM_INPUTS * self.sees_keypoints

    def takes(self, width: int) -> bool:
        """Whether it can look at inputs of a width; it leaves key-points that it does not want."""
        return width in (self.input_dim, self.feature_dim + NUM_INPUTS)


class _Network(nn.Module):
    """What features go through, in training and in use."""

    config: GeneratorConfig
    encoder: nn.Module
    frame_encoder: KeypointEncoder | None
    keypoint_input: KeypointInput | None
    regressor: SmplRegressor | FoldedSmplRegressor | IteratedSmplRegressor
    feedback: ReprojectionFeedback | None

    def forward(self, inputs: Tensor) -> SmplParams:
        """Estimate SMPL parameters (B, T, ...) of windows (B, T, F), or (B, T, F + W).

        Raises:
            ValueError: The inputs have another width than the generator was built for.
        """
        check_features(inputs, self.config)
        params = self._regressed(self.encoder(self.temporal_inputs(inputs)), inputs)
        return with_one_shape(params) if self.config.one_shape else params

    def temporal_inputs(self, inputs: Tensor) -> Tensor:
        """Return what the temporal encoder looks at (..., F), of inputs (..., F or F + W)."""
        features = inputs[..., : self.config.feature_dim]
        if self.frame_encoder is not None:
            features = self.frame_encoder(self._seen(inputs))
        if self.keypoint_input is not None:
            features = self.keypoint_input(features, self._seen(inputs))
        return features

    def _regressed(self, encoded: Tensor, inputs: Tensor | None) -> SmplParams:
        """Regress; inputs are not looked at without feedback."""
        errors = None
        if self.feedback is not None and inputs is not None:
            errors = Errors(self.feedback, self._seen(inputs))
        params: SmplParams = self.regressor(encoded, errors)
        return params

    def _seen(self, inputs: Tensor) -> Tensor:
        return inputs[..., self.config.feature_dim :]

    @torch.no_grad()
    def pieces(self, features: Sliceable, length: int) -> Iterator[SmplParams]:
        """Estimate a sequence (N, F) in one pass, but for memory some frames (n, ...) at a time.

        The numbers are those of `forward` for one window of N frames, to rounding; there are no
        gradients. Features may be of any float type and on any device. A shape for all frames is
        known when all have been seen: until then the bodies wait, whose numbers are few.

        Raises:
            ValueError: The features have another width than the generator was built for.
        """
        check_features(features[:1][None], self.config)
        found = self._regressed_pieces(features, length)
        if not self.config.one_shape:
            yield from found
            return
        bodies = list(found)
        betas = torch.cat([part.betas for part in bodies]).mean(dim=0)
        for part in bodies:
            yield SmplParams(part.rotmat, betas.expand_as(part.betas), part.cam)

    def _regressed_pieces(self, features: Sliceable, length: int) -> Iterator[SmplParams]:
        like, start = next(chain(self.parameters(), self.buffers())), 0
        for encoded in encoded_pieces(self.encoder, _TemporalInputs(self, features), length):
            rows = slice(start, start + len(encoded))
            inputs = None if self.feedback is None else features[rows].to(like)
            yield self._regressed(encoded.to(like), inputs)
            start = rows.stop


class Generator(_Network):
    """Temporal encoder and SMPL regressor; the names of the weights are VIBE's.

    Args:
        config: Of the networks.
        body: Whose key-points `config.feedback` compares with those seen; else it is not needed.

    Raises:
        FileNotFoundError: The configured mean parameters are missing.
        ValueError: The configured widths do not fit together, or the body is missing.
    """

    regressor: SmplRegressor

    def __init__(self, config: GeneratorConfig, body: BodyArrays | None = None) -> None:
        super().__init__()
        self.config = config
        self.encoder = temporal_encoder(config.temporal_encoder, config.feature_dim)
        self.regressor = SmplRegressor(config.regressor, config.feature_dim)
        self.frame_encoder = self.keypoint_input = self.feedback = None
        if config.learns_features:
            self.frame_encoder = KeypointEncoder(config.frame_encoder)
        if config.keypoint_dim:
            self.keypoint_input = KeypointInput(config.keypoint_dim, config.feature_dim)
        if config.feedback:
            if body is None:
                raise ValueError("generator.feedback needs the body whose key-points it projects")
            self.feedback = ReprojectionFeedback(config.regressor.hidden_dim, body)

    @classmethod
    def from_weights(
        cls,
        config: GeneratorConfig,
        weights: Mapping[str, Tensor],
        body: BodyArrays | None = None,
    ) -> "Generator":
        """Rebuild a trained generator; the mean parameters are among its weights, no file is read.

        Raises:
            RuntimeError: The weights are of another architecture (all differing names are listed).
            ValueError: The body is missing.
        """
        regressor = dataclasses.replace(config.regressor, mean_params="rest")
        generator = cls(dataclasses.replace(config, regressor=regressor), body)
        generator.load_state_dict(weights)
        return generator

    def rate_parts(
        self, regressor_share: float, frame_encoder_share: float
    ) -> list[tuple[list[nn.Parameter], float]]:
        """Return weights by their share of the learning rate; all else has the whole.

        Args:
            regressor_share: Of the regressor, which may start trained.
            frame_encoder_share: Of a frame encoder of its own, likewise.
        """
        regressor = list(self.regressor.parameters())
        encoder = [] if self.frame_encoder is None else list(self.frame_encoder.parameters())
        shared = {id(weight) for weight in chain(regressor, encoder)}
        rest = [weight for weight in self.parameters() if id(weight) not in shared]
        return [(rest, 1.0), (regressor, regressor_share), (encoder, frame_encoder_share)]

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
        self.frame_encoder = copy.deepcopy(generator.frame_encoder)
        self.keypoint_input = copy.deepcopy(generator.keypoint_input)
        self.feedback = copy.deepcopy(generator.feedback)
        self.regressor = generator.regressor.folded(generator.feedback)
        self.eval().requires_grad_(False)


@dataclass(frozen=True)
class _TemporalInputs:
    """A sequence (N, F or F + W) as the temporal encoder looks at it, some frames at a time."""

    network: _Network
    inputs: Sliceable

    def __len__(self) -> int:
        return len(self.inputs)

    def __getitem__(self, frames: slice | Tensor, /) -> Tensor:
        some, network = self.inputs[frames], self.network
        if network.config.sees_keypoints:
            some = some.to(next(network.parameters()))
        return network.temporal_inputs(some)


def with_one_shape(params: SmplParams) -> SmplParams:
    """Give all frames of each window, leading (..., T), the mean of their shapes."""
    betas = params.betas.mean(dim=-2, keepdim=True).expand_as(params.betas)
    return SmplParams(params.rotmat, betas, params.cam)


def check_features(features: Tensor, config: GeneratorConfig) -> None:
    """Raise ValueError unless features are (B, T, F), and have key-points where they are wanted."""
    if features.ndim != 3 or not config.takes(features.shape[-1]):
        raise ValueError(
            f"features have shape {tuple(features.shape)}, expected (windows, frames, "
            f"{config.input_dim}): extract them with the frame encoder that the checkpoint names, "
            "or set generator.feature_dim and train anew"
        )
