"""A checkpoint made usable: features of any length in, SMPL parameters out. No Ray.

Shapes: N frames of one person, T frames of a window, F features, V vertices, K key-points.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import torch
from torch import Tensor

from vibe_ray.body.joints import BodyJoints
from vibe_ray.body.mesh import BodyModel
from vibe_ray.body.model import BodyArrays, load_body
from vibe_ray.body.params import SmplParams
from vibe_ray.config import TrainConfig
from vibe_ray.evaluation.passes import predict_pieces, predict_sequence
from vibe_ray.models.generator import FoldedGenerator
from vibe_ray.models.pieces import Sliceable
from vibe_ray.runs.checkpoints import find_checkpoint
from vibe_ray.runs.integrity import opened
from vibe_ray.runs.snapshots import load_generator, load_manifest


@dataclass(frozen=True)
class Predictor:
    """A trained generator, folded for inference, with its body."""

    config: TrainConfig
    generator: FoldedGenerator
    body: BodyArrays
    device: torch.device
    encoder_id: str = ""
    """Frame encoder whose features it was trained on; empty where the checkpoint does not say."""

    @classmethod
    def from_checkpoint(cls, path: str, device: str = "cpu") -> "Predictor":
        """Load a generator.

        Args:
            path: A checkpoint directory or a run's folder (its best), local or in a store; or
                `open` for the packaged weights.
            device: As PyTorch names it.

        Raises:
            FileNotFoundError: No checkpoint there, or its body file is missing.
            ValueError: The checkpoint's config has settings this version does not know, or a file
                of it is damaged.
        """
        with opened(find_checkpoint(path)) as directory:
            config, generator = load_generator(directory)
            encoder_id = load_manifest(directory).get("encoder_id", "")
        folded = generator.folded().to(device)
        return cls(config, folded, load_body(config.body), torch.device(device), encoder_id)

    @torch.no_grad()
    def predict(
        self, features: Tensor, chunking: Literal["windows", "sequence"] = "windows"
    ) -> SmplParams:
        """Estimate the body in every frame of one person.

        Args:
            features: (N, F), any float type; with key-points beside them, (N, F + W), where the
                generator looks at those (`features.with_keypoints`).
            chunking: `windows` of the length trained on, as VIBE's evaluation does, or the whole
                `sequence` in one go, as its demo does. They give different numbers, since the
                recurrent state starts anew at each window.

        Returns:
            Parameters with leading (N,), on the predictor's device.

        Raises:
            ValueError: The features are not (N, F) with N > 0, or not finite.
        """
        wanted = self.config.generator
        if features.ndim != 2 or not wanted.takes(features.shape[1]) or not len(features):
            raise ValueError(
                f"features have shape {tuple(features.shape)}, expected (frames, "
                f"{wanted.input_dim})"
            )
        if not torch.stack(features.aminmax()).isfinite().all():  # NaN is both; needs no copy
            raise ValueError("features hold NaN or infinity")
        length = self.config.data.window_length if chunking == "windows" else len(features)
        return predict_sequence(self.generator, features, length, self.device)

    def pieces(self, features: Sliceable) -> Iterator[SmplParams]:
        """Estimate a person's frames in one pass, as `predict` does of a `sequence`, in pieces.

        Memory does not hold what was not asked to be kept: of a long sequence some frames are
        sliced from the features and estimated at a time, and what is estimated is the caller's.

        Args:
            features: (N, F), any float type; are gone through several times by some networks.

        Yields:
            Parameters with leading (n,), on the predictor's device, in the order of the frames.
        """
        yield from predict_pieces(self.generator, features, len(features), self.device)

    @torch.no_grad()
    def kp_3d(self, params: SmplParams) -> Tensor:
        """Return the 49 key-points (N, K, 3) in meters, camera axes; no mesh is built."""
        return self._keypoints.of_sequence(params.betas, params.rotmat)

    @torch.no_grad()
    def verts(self, params: SmplParams) -> Tensor:
        """Return the meshes' vertices (N, V, 3) in meters, camera axes."""
        return self._mesh(params.betas, params.rotmat).verts

    @cached_property
    def _keypoints(self) -> BodyJoints:
        return BodyJoints.keypoints(self.body).to(self.device)

    @cached_property
    def _mesh(self) -> BodyModel:
        return BodyModel(self.body).to(self.device)
