"""The open frame encoder: one frame's detected 2D key-points to a 2048-number feature.

It has the role of SPIN's ResNet-50: trained once with a regressor, then frozen. Any detector's
key-points go in by name; what a detector does not report has confidence 0.

Shapes: N frames, D key-points of a detector, I = the encoder's own key-points, F features.
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from vibe_ray.body.skeletons import COCO_17, WHOLEBODY_23, mirrored_name
from vibe_ray.data.batches import Detections
from vibe_ray.data.labels import LabelledSequence
from vibe_ray.features.frame_encoder import FrameEncoder, load_encoder

FEET = ("lbigtoe", "lsmalltoe", "lheel", "rbigtoe", "rsmalltoe", "rheel")
INPUT_KEYPOINTS = (*COCO_17, *FEET)
"""COCO's 17 and BODY_25's feet. BODY_25's neck and mid-hip are left out: detectors compute them
from shoulders and hips, so they say nothing new."""
NUM_INPUTS = 3 * len(INPUT_KEYPOINTS) + 3
"""Width of what the encoder looks at: x, y and confidence of each key-point, and the box's place.
"""
BATCH_FRAMES = 1024
"""Frames that are encoded at once: layers are as wide as the features."""
MAX_COORDINATE = 3.0
"""Half boxes; a key-point further out is a mistake and is clipped."""


@dataclass(frozen=True, kw_only=True)
class KeypointEncoderConfig:
    """Size of the network."""

    feature_dim: int = 2048
    hidden_dim: int = 1024
    num_blocks: int = 3
    block_layers: int = 1
    """Linear layers of a block, 1 or 2; a block of two starts as the identity."""

    def __post_init__(self) -> None:
        for name in ("feature_dim", "hidden_dim"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}, must be at least 1")
        if self.block_layers not in (1, 2):
            raise ValueError(f"block_layers is {self.block_layers}, expected 1 or 2")


class ResidualBlock(nn.Module):
    """x + linear(relu(norm(x)))."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.linear = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, dim) to (N, dim)."""
        return x + self.linear(self.norm(x).relu())


class TwoLayerBlock(nn.Module):
    """x + linear(relu(hidden(norm(x)))); x, at first."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.hidden = nn.Linear(dim, dim)
        self.linear = nn.Linear(dim, dim)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, dim) to (N, dim)."""
        return x + self.linear(self.hidden(self.norm(x)).relu())


BLOCKS: dict[int, type[ResidualBlock] | type[TwoLayerBlock]] = {1: ResidualBlock, 2: TwoLayerBlock}
"""By their number of linear layers."""


class KeypointEncoder(FrameEncoder):
    """Residual MLP from normalized key-points and the box's place to non-negative features."""

    kind = "keypoints"
    needs = "keypoints"
    config_class = KeypointEncoderConfig
    config: KeypointEncoderConfig

    def __init__(self, config: KeypointEncoderConfig) -> None:
        super().__init__(config)
        self.input = nn.Linear(NUM_INPUTS, config.hidden_dim)
        block = BLOCKS[config.block_layers]
        self.blocks = nn.Sequential(*(block(config.hidden_dim) for _ in range(config.num_blocks)))
        self.norm = nn.LayerNorm(config.hidden_dim)
        self.output = nn.Linear(config.hidden_dim, config.feature_dim)

    def forward(self, inputs: Tensor) -> Tensor:
        """Map `encoder_inputs` (..., 3 * I + 3) to features (..., F), ReLU'd as ResNet's are."""
        return self.output(self.norm(self.blocks(self.input(inputs))).relu()).relu()

    @property
    def feature_dim(self) -> int:
        """F."""
        return self.config.feature_dim

    @torch.inference_mode()
    def encode(self, labels: LabelledSequence, *, mirrored: bool = False) -> Tensor:
        """Return features (N, F) of detected key-points; no more is looked at of the frames."""
        inputs = labels_inputs(labels, mirrored=mirrored)
        features = torch.empty(len(inputs), self.feature_dim)
        for start in range(0, len(inputs), BATCH_FRAMES):
            some = slice(start, start + BATCH_FRAMES)
            features[some] = self(inputs[some].to(self.output.weight.device))
        return features


def load_keypoint_encoder(source: str, setting: str) -> KeypointEncoder:
    """Load a frozen encoder of key-points, as `load_encoder` does.

    Args:
        source: As of `load_encoder`.
        setting: What named it, for the message.

    Raises:
        FileNotFoundError: There is no encoder.
        ValueError: It is of another kind or version.
    """
    encoder = load_encoder(source)
    if not isinstance(encoder, KeypointEncoder):
        raise ValueError(
            f"{setting} {source} holds an encoder of {encoder.needs}; one of key-points is wanted, "
            "since a simulated detector gives no more"
        )
    return encoder


def mirrored_labels(labels: LabelledSequence) -> LabelledSequence:
    """Mirror what the encoder sees of the frames, as if the picture were mirrored."""
    flip = np.array([-1, 1], np.float32)
    shift = np.array([labels.width, 0], np.float32)
    box = labels.box.copy()
    box[:, 0] = np.where(box[:, 2] > 0, labels.width - box[:, 0], box[:, 0])
    # A point becomes its counterpart, of which the detector need not know.
    names = tuple(mirrored_name(name) for name in labels.names.detected)
    return dataclasses.replace(
        labels,
        box=box,
        names=dataclasses.replace(labels.names, detected=names),
        detected=labels.detected * flip + shift,
    )


def canonical_name(name: str) -> str:
    """Return a key-point's name without the skeleton it is from: `OP LHeel` -> `lheel`."""
    return name.removeprefix("OP ").lower()


def check_known(names: Sequence[str]) -> None:
    """Raise ValueError unless the encoder looks at one of these key-points."""
    if not any(canonical_name(name) in INPUT_KEYPOINTS for name in names):
        raise ValueError(
            f"no known key-point among {list(names)[:5]}..., expected names such as "
            f"{list(INPUT_KEYPOINTS[:5])}"
        )


def labels_inputs(labels: LabelledSequence, *, mirrored: bool = False) -> Tensor:
    """Return the encoder's inputs (N, 3 * I + 3) of what was detected in a person's frames.

    Args:
        labels: Of the frames; what they say of the body is not looked at.
        mirrored: Look at the frames in a mirror.
    """
    labels = mirrored_labels(labels) if mirrored else labels
    return encoder_inputs(
        labels.names.detected,
        torch.tensor(labels.detected),
        torch.tensor(labels.detected_conf),
        torch.tensor(labels.box),
        torch.tensor([labels.width, labels.height], dtype=torch.float32),
    )


def inputs_of(seen: Detections) -> Tensor:
    """Return the encoder's inputs (B, T, 3 * I + 3) of what was detected in windows."""
    return encoder_inputs(
        WHOLEBODY_23, seen.detected, seen.detected_conf, seen.box, seen.image_size
    )


def encoder_inputs(
    names: Sequence[str], kp: Tensor, conf: Tensor, box: Tensor, image_size: Tensor
) -> Tensor:
    """Normalize a detector's key-points into the encoder's inputs (..., 3 * I + 3).

    Coordinates are in half boxes from the box's centre. Where the box is in the image follows, in
    units of the diagonal, which stands for the unknown focal length: off the optical axis a person
    is seen from another side than the crop suggests (as in CLIFF).

    Args:
        names: Of the D key-points, e.g. `skeletons.COCO_17` or `OPENPOSE_25`.
        kp: Pixels (..., D, 2); ignored where the confidence is 0, so they may be NaN there.
        conf: (..., D) in [0, 1].
        box: (..., 3) = (cx, cy, size) in pixels by `data.boxes`; all inputs are 0 without a box.
        image_size: Width and height in pixels, broadcast against (..., 2).

    Raises:
        ValueError: None of the names is known.
    """
    check_known(names)
    known = {canonical_name(name): i for i, name in enumerate(names)}
    sources = [known[name] for name in INPUT_KEYPOINTS if name in known]
    targets = [i for i, name in enumerate(INPUT_KEYPOINTS) if name in known]
    has_box = box[..., 2:] > 0
    center, size = box[..., :2], torch.where(has_box, box[..., 2:], 1.0)
    seen = (conf[..., sources] > 0) & has_box
    crop = (kp[..., sources, :] - center[..., None, :]) / (size[..., None, :] / 2)
    crop = torch.where(seen[..., None], crop, 0.0).clamp(-MAX_COORDINATE, MAX_COORDINATE)
    inputs = kp.new_zeros(*kp.shape[:-2], len(INPUT_KEYPOINTS), 3)
    inputs[..., targets, :] = torch.cat(
        [crop, torch.where(seen, conf[..., sources], 0.0)[..., None]], dim=-1
    )
    diagonal = image_size.norm(dim=-1, keepdim=True)
    place = torch.cat([(center - image_size / 2) / diagonal, size / diagonal], dim=-1)
    return torch.cat([inputs.flatten(-2), torch.where(has_box, place, 0.0)], dim=-1)


def split_inputs(inputs: Tensor) -> tuple[Tensor, Tensor]:
    """Return key-points (..., I, 2) in half boxes from the box's center, and confidences (..., I).

    Args:
        inputs: Of `encoder_inputs`.
    """
    kp = inputs[..., : 3 * len(INPUT_KEYPOINTS)].unflatten(-1, (len(INPUT_KEYPOINTS), 3))
    return kp[..., :2], kp[..., 2]
