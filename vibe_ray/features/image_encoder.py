"""SPIN's frame encoder: a person's pixels to a 2048-number feature, by HMR's ResNet-50.

Its features are what VIBE's released weights were trained on. The network is the usual ResNet-50
(He et al. 2016, its stride on the 3 x 3 convolutions) up to the average over the last map; names
and shapes of its weights are those of SPIN's checkpoint, which `models/official.py` reads.

Shapes: N frames, S pixels of a crop's side, C channels, F = 2048 features.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from vibe_ray.data.labels import LabelledSequence
from vibe_ray.features.frame_encoder import FrameEncoder
from vibe_ray.geometry.arrays import Array
from vibe_ray.video.crops import crop_box

CROP_SIZE = 224
"""S, as SPIN's weights know it."""
NUM_BLOCKS = (3, 4, 6, 3)
EXPANSION = 4
"""A block's output has so many times the channels of its 3 x 3 convolution."""
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
"""Of ImageNet's colors in [0, 1], by which a crop's are normalized."""
BATCH_FRAMES = 32


@dataclass(frozen=True, kw_only=True)
class ImageEncoderConfig:
    """Nothing: the network is SPIN's and has one size."""


class Bottleneck(nn.Module):
    """Adds to its input what three convolutions make of it: 1 x 1, 3 x 3, 1 x 1."""

    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
        super().__init__()
        out_channels = EXPANSION * channels
        self.conv1 = nn.Conv2d(in_channels, channels, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.conv3 = nn.Conv2d(channels, out_channels, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(out_channels)
        self.downsample: nn.Module = nn.Identity()
        if in_channels != out_channels:
            self.downsample = nn.Sequential(
                nn.Conv2d(in_channels, out_channels, 1, stride, bias=False),
                nn.BatchNorm2d(out_channels),
            )

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to (N, 4 * channels, H / stride, W / stride)."""
        y = self.bn1(self.conv1(x)).relu()
        y = self.bn2(self.conv2(y)).relu()
        return (self.bn3(self.conv3(y)) + self.downsample(x)).relu()


class ImageEncoder(FrameEncoder):
    """ResNet-50 without its classifier, over crops of the labels' boxes."""

    kind = "resnet50"
    needs = "crops"
    saved_as = torch.float32  # the id is to be that of the released weights, not of rounded ones
    config_class = ImageEncoderConfig
    config: ImageEncoderConfig

    def __init__(self, config: ImageEncoderConfig) -> None:
        super().__init__(config)
        self.conv1 = nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        self.layer1 = _layer(64, 64, NUM_BLOCKS[0], stride=1)
        self.layer2 = _layer(256, 128, NUM_BLOCKS[1], stride=2)
        self.layer3 = _layer(512, 256, NUM_BLOCKS[2], stride=2)
        self.layer4 = _layer(1024, 512, NUM_BLOCKS[3], stride=2)

    @property
    def feature_dim(self) -> int:
        """F."""
        return 512 * EXPANSION

    def forward(self, crops: Tensor) -> Tensor:
        """Map crops (N, 3, S, S), normalized by `normalize`, to features (N, F), none negative."""
        x = self.maxpool(self.bn1(self.conv1(crops)).relu())
        for layer in (self.layer1, self.layer2, self.layer3, self.layer4):
            x = layer(x)
        return x.mean(dim=(2, 3))

    @torch.inference_mode()
    def encode(self, labels: LabelledSequence, *, mirrored: bool = False) -> Tensor:
        """Return features (N, F) of the boxes' pixels; zeros where there is no box.

        A box is shown as it is, its margin being part of it (`data/boxes.py`). Memory holds a batch
        of crops, however many frames there are.

        Raises:
            ValueError: A video or image is not there, cannot be read, or is of another size.
        """
        features = torch.zeros(labels.num_frames, self.feature_dim)
        crops = labelled_crops(labels, CROP_SIZE)
        while batch := list(islice(crops, BATCH_FRAMES)):
            rows, pixels = zip(*batch, strict=True)
            shown = torch.from_numpy(np.stack(pixels))
            shown = normalize(shown.to(self.conv1.weight.device))
            with _full_float32():
                features[list(rows)] = self(shown.flip(-1) if mirrored else shown).cpu()
        return features


def normalize(crops: Tensor) -> Tensor:
    """Turn crops (N, S, S, 3) uint8 into what the network takes: (N, 3, S, S) float32."""
    mean, std = (torch.tensor(value, device=crops.device) for value in (MEAN, STD))
    return ((crops / 255.0 - mean) / std).permute(0, 3, 1, 2)


def labelled_crops(labels: LabelledSequence, size: int) -> Iterator[tuple[int, Array]]:
    """Yield each frame's number among the labels and what its box shows, (S, S, 3) uint8."""
    from vibe_ray.video.pixels import labelled_pictures  # PyAV and Pillow are an extra

    for row, picture in labelled_pictures(labels):
        yield row, crop_box(picture, labels.box[row], size)


@contextmanager
def _full_float32() -> Iterator[None]:
    """Convolve without the rounding that is the default of NVIDIA GPUs: the same features there."""
    convolutions: Any = torch.backends.cudnn.conv  # type: ignore[attr-defined]
    before = convolutions.fp32_precision
    convolutions.fp32_precision = "ieee"
    try:
        yield
    finally:
        convolutions.fp32_precision = before


def _layer(in_channels: int, channels: int, num_blocks: int, stride: int) -> nn.Sequential:
    """Return blocks of which the first changes size and channels."""
    first = Bottleneck(in_channels, channels, stride)
    others = (Bottleneck(EXPANSION * channels, channels, 1) for _ in range(num_blocks - 1))
    return nn.Sequential(first, *others)
