"""Features that end with what a detector saw: for networks that look at key-points themselves.

A feature says what its encoder has learned to keep. What it leaves out no later network finds in
it, so one may ask for the encoder's inputs beside it: key-points and confidences as
`keypoint_encoder.encoder_inputs` has them, I key-points wide. They are what a detector saw
(`detected`), never what supervises (`kp_2d`). Any encoder will do, one of crops as well.

Shapes: N frames, F features of the encoder, W = 3 * I + 3 inputs.
"""

from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from vibe_ray.data.labels import LabelledSequence, LabelNames
from vibe_ray.data.manifest import Manifest
from vibe_ray.features.frame_encoder import FrameEncoder
from vibe_ray.features.keypoint_encoder import NUM_INPUTS, labels_inputs

MARK = "+keypoints"
"""Ends the ids of encoders whose features end with key-points."""
FLAG = "--keypoints"
"""Of `prepare`, which asks for them."""

Encoder = TypeVar("Encoder", bound=FrameEncoder)


class WithKeypoints(FrameEncoder):
    """A frozen encoder, and beside its features what a detector saw.

    Args:
        encoder: Frozen.
        is_read: Whether somebody reads its features; else they are zeros, and are not computed.
    """

    kind = "with_keypoints"

    def __init__(self, encoder: FrameEncoder, *, is_read: bool = True) -> None:
        super().__init__(encoder.config)
        self.encoder, self._is_read = encoder, is_read
        self.needs = encoder.needs
        self.eval()

    def forward(self, inputs: Tensor) -> Tensor:
        """Map what an encoder of key-points maps (..., W) to (..., F + W)."""
        if not self._is_read:
            return nn.functional.pad(inputs, (self.encoder.feature_dim, 0))
        return torch.cat([self.encoder(inputs), inputs], dim=-1)

    @property
    def feature_dim(self) -> int:
        """F + W."""
        return self.encoder.feature_dim + NUM_INPUTS

    @property
    def id(self) -> str:
        """The encoder's, marked."""
        return self.encoder.id + MARK

    def encode(self, labels: LabelledSequence, *, mirrored: bool = False) -> Tensor:
        """Return the encoder's features and what a detector saw (N, F + W)."""
        inputs = labels_inputs(labels, mirrored=mirrored)
        if not self._is_read:
            return nn.functional.pad(inputs, (self.encoder.feature_dim, 0))
        return torch.cat([self.encoder.encode(labels, mirrored=mirrored), inputs], dim=-1)

    def check_has(self, where: str, names: LabelNames, *, has_pixels: bool) -> None:
        """Make sure that labels have what the encoder needs, and detections; see `FrameEncoder`."""
        self.encoder.check_has(where, names, has_pixels=has_pixels)
        if not names.detected:
            raise ValueError(
                f"{where}: no detected key-points, which {FLAG} puts beside the features: run a "
                "detector over the frames, or leave it out. What supervises is never taken for them"
            )

    def save(self, directory: Path, manifest: dict[str, Any]) -> None:
        """Save the encoder, which has all the weights."""
        self.encoder.save(directory, manifest)


def given_keypoints(
    encoder: Encoder, wanted: bool, *, is_read: bool = True
) -> Encoder | WithKeypoints:
    """Return an encoder that gives key-points beside its features if they are wanted.

    Args:
        encoder: Frozen.
        wanted: Whether key-points are.
        is_read: Whether its features are, too; as of `WithKeypoints`.
    """
    return WithKeypoints(encoder, is_read=is_read) if wanted else encoder


def has_keypoints(encoder_id: str) -> bool:
    """Whether the features of an encoder end with key-points."""
    return encoder_id.endswith(MARK)


def without_keypoints(encoder_id: str) -> str:
    """Return the id of the same encoder without key-points beside its features."""
    return encoder_id.removesuffix(MARK)


def leaving_keypoints(manifest: Manifest) -> Manifest:
    """Return what a data set is for a network that leaves the key-points beside its features."""
    if not has_keypoints(manifest.encoder_id):
        return manifest
    return manifest.model_copy(
        update={
            "encoder_id": without_keypoints(manifest.encoder_id),
            "feature_dim": manifest.feature_dim - NUM_INPUTS,
        }
    )


def check_has_keypoints(data: str, encoder_id: str) -> None:
    """Refuse features without key-points beside them, for a network that looks at key-points.

    Args:
        data: The data set.
        encoder_id: Of what made its features.

    Raises:
        ValueError: There are none.
    """
    if not has_keypoints(encoder_id):
        raise ValueError(
            f"{data} has features of frame encoder {encoder_id!r} and no key-points beside them, "
            "at which generator.keypoint_dim, generator.feedback and generator.learns_features "
            f"look: prepare it with `prepare open {FLAG}` or `prepare features {FLAG}`, or leave "
            "them out"
        )
