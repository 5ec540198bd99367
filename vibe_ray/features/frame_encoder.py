"""Which network turns a frame into a feature, and which one was it? All kinds of frame encoders.

A frame encoder is trained once with a regressor, then frozen: VIBE learns from its features, so
features of different encoders must never be mixed. Its id says which they are of. Saving, loading
and the id are the same for every kind and stand here; a kind is one module and one row of `kinds`.

Shapes: N frames, F features.
"""

import dataclasses
import hashlib
import json
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from vibe_ray import storage
from vibe_ray.data.labels import LabelledSequence, LabelNames
from vibe_ray.pretrained import packaged

CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"
FIRST_KIND = "keypoints"
"""What a config is of that names no kind, as those have that were saved when there was one."""

Needs = Literal["crops", "keypoints"]


class FrameEncoder(nn.Module, ABC):
    """A network that turns what a frame shows of a person into a feature."""

    kind: ClassVar[str]
    """What the id begins with."""
    needs: Needs
    """What it looks at: `keypoints` that a detector found, or `crops` of the pixels."""
    config_class: ClassVar[type[Any]]
    """A dataclass of all that its constructor takes."""
    saved_as: ClassVar[torch.dtype] = torch.float16
    """Precision of saved weights, to which `save` rounds them."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.config = config
        self._frozen_id = ""

    @property
    @abstractmethod
    def feature_dim(self) -> int:
        """F."""

    @abstractmethod
    def encode(self, labels: LabelledSequence, *, mirrored: bool = False) -> Tensor:
        """Return features (N, F) of a person's frames, without gradients, on the CPU.

        Args:
            labels: Which have what the encoder needs (`check_has`); what they say of the body is
                not looked at.
            mirrored: Look at the frames in a mirror, left and right changing places.
        """

    @property
    def id(self) -> str:
        """Kind and a hash of the weights: shards of different encoders must not be mixed."""
        return self._frozen_id or self._identify()

    def freeze(self) -> Self:
        """Use it from now on without training it; computes its id once."""
        self.eval().requires_grad_(False)
        self._frozen_id = self._identify()
        return self

    def check_has(self, where: str, names: LabelNames, *, has_pixels: bool) -> None:
        """Make sure that labels have what the encoder needs.

        Args:
            where: Which labels, for the message.
            names: Of their key-points.
            has_pixels: Whether they say of which video or images they are.

        Raises:
            ValueError: They have not.
        """
        if self.needs == "keypoints" and not names.detected:
            raise ValueError(
                f"{where}: no detected key-points, which encoder {self.id} looks at: run a "
                "detector over the frames, or take an encoder of crops"
            )
        if self.needs == "crops" and not has_pixels:
            raise ValueError(
                f"{where}: no video or images, of which encoder {self.id} takes crops: prepare the "
                "labels from where the pixels are, or take an encoder of key-points"
            )

    def save(self, directory: Path, manifest: dict[str, Any]) -> None:
        """Write config, weights (in the kind's precision) and manifest into a directory.

        The weights are rounded to that precision first, so that the id of what was saved is the
        id of what is loaded.
        """
        directory.mkdir(parents=True, exist_ok=True)
        saved = {name: self._rounded(value) for name, value in self.state_dict().items()}
        self.load_state_dict(saved)
        self._frozen_id = ""
        config = {"kind": self.kind, **dataclasses.asdict(self.config)}
        storage.write_json(directory / CONFIG_FILE, config)
        save_file(saved, directory / WEIGHTS_FILE)
        storage.write_json(directory / storage.MANIFEST, {"encoder_id": self.id, **manifest})

    def _rounded(self, value: Tensor) -> Tensor:
        precision = self.saved_as if value.is_floating_point() else value.dtype
        return value.detach().to("cpu", precision).contiguous()

    def _identify(self) -> str:
        digest = hashlib.sha256()
        for name, value in sorted(self.state_dict().items()):
            if not value.is_floating_point():
                continue  # counts of training steps, which no feature depends on
            digest.update(name.encode())
            digest.update(value.detach().cpu().float().contiguous().numpy().tobytes())
        return f"{self.kind}-{digest.hexdigest()[:12]}"


def kinds() -> dict[str, type[FrameEncoder]]:
    """The table of all kinds."""
    from vibe_ray.features.image_encoder import ImageEncoder  # they build on this module
    from vibe_ray.features.keypoint_encoder import KeypointEncoder

    return {"keypoints": KeypointEncoder, "resnet50": ImageEncoder}


def load_encoder(source: str) -> FrameEncoder:
    """Load a frozen encoder, on the CPU.

    Args:
        source: `open` for the packaged one, or the path of a directory written by `save`.

    Raises:
        FileNotFoundError: There is no encoder.
        ValueError: It is of another kind or version.
    """
    path = str(packaged("keypoint_encoder")) if source == "open" else source
    with storage.local_copy(path) as directory:
        return _load(directory, path)


def _load(directory: Path, path: str) -> FrameEncoder:
    for name in (CONFIG_FILE, WEIGHTS_FILE):
        if not (directory / name).is_file():
            raise FileNotFoundError(
                f"no {name} in {path}: expected a frame encoder's directory; train one "
                "with `python -m vibe_ray.train --recipe frame_encoder`"
            )
    config = json.loads((directory / CONFIG_FILE).read_text())
    kind = config.pop("kind", FIRST_KIND)
    if kind not in (known := kinds()):
        raise ValueError(
            f"the encoder in {path} is of kind {kind!r}; this vibe_ray knows {', '.join(known)}"
        )
    encoder_class = known[kind]
    try:
        encoder = encoder_class(encoder_class.config_class(**config))
        weights = load_file(directory / WEIGHTS_FILE)
        encoder.load_state_dict(weights)
    except (TypeError, RuntimeError) as error:
        raise ValueError(f"the encoder in {path} is of another version: {error}") from None
    return encoder.freeze()
