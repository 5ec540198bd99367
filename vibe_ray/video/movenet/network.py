"""Which maps does MoveNet compute from an image?

MobileNetV2, a feature pyramid down to a stride of 4, and a head per map, as CenterNet has them: a
person is the peak of one map, and all else about the person is read off the others. Every batch
norm is folded into the convolution before it, as in the published graphs.

Shapes: B images, H x W pixels (multiples of 32), h x w = H/4 x W/4 cells of a map, D = 17 COCO
key-points.
"""

from collections.abc import Mapping, Sequence

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn.functional import conv2d, interpolate, pad

from vibe_ray.body.skeletons import COCO_17
from vibe_ray.pretrained import Packaged, packaged
from vibe_ray.video.movenet.decoding import People, decode_people, decode_person

WEIGHTS_FILE = "model.safetensors"
NUM_KEYPOINTS = len(COCO_17)
SIZE_MULTIPLE = 32
"""The coarsest map's stride; the sides of an image must be multiples of it."""
SINGLEPOSE_SIZE = 256
"""Side of the square crop that the single-person network was trained on."""
PIXEL_SCALE = 0.007843017578125
"""2 / 255 in half precision, as the graphs hold it: pixels from 0 to 255 become -1 to 1."""

BLOCKS = (
    *((1, 16, 1), (6, 24, 2), (6, 24, 1), (6, 32, 2), (6, 32, 1), (6, 32, 1), (6, 64, 2)),
    *((6, 64, 1), (6, 64, 1), (6, 64, 1), (6, 96, 1), (6, 96, 1), (6, 96, 1), (6, 160, 2)),
    *((6, 160, 1), (6, 160, 1), (6, 320, 1)),
)
"""MobileNetV2's blocks: expansion, channels at width 1, stride (Sandler et al. 2018, table 2)."""
TAPS = (2, 5, 9)
"""The blocks whose outputs, of strides 4, 8 and 16, enter the pyramid."""
TOP_CHANNELS = 1280
PYRAMID_CHANNELS = (24, 32, 64)
"""Of the pyramid's maps at strides 4, 8 and 16."""
HEAD_CHANNELS = 96

SINGLEPOSE_HEADS = {
    "center": 1,
    "kp_heatmap": NUM_KEYPOINTS,
    "kp_from_center": 2 * NUM_KEYPOINTS,
    "kp_offset": 2 * NUM_KEYPOINTS,
}
"""Maps and their channels: where people are; where key-points are, whoever's; (y, x) from a
person's center to the key-points, in cells; (y, x) from a cell's corner to the key-point in it."""
MULTIPOSE_HEADS = {
    "center": 1,
    "box_size": 2,
    "box_offset": 2,
    "kp_heatmap": NUM_KEYPOINTS,
    "kp_from_center": 2 * NUM_KEYPOINTS,
    "kp_offset": 2 * NUM_KEYPOINTS,
}
"""As above, and of the person's box the size (height, width) and the middle from the cell's
corner (y, x), in cells."""


class Conv(nn.Conv2d):
    """A convolution padded as TensorFlow's SAME: with stride 2 only below and at the right."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int, *, stride: int = 1, groups: int = 1,
        bias: bool = True,
    ) -> None:  # fmt: skip
        padding = kernel // 2 if stride == 1 else 0
        super().__init__(inputs, outputs, kernel, stride, padding, groups=groups, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, inputs, h, w), h and w even if the stride is 2, to (B, outputs, ...)."""
        if self.stride[0] == 1:
            return super().forward(x)
        # A kernel that is wider by a row and a column of zeros may be padded alike on all sides,
        # which a convolution does itself: no copy of its input is made.
        weight = pad(self.weight, (1, 0, 1, 0))
        return conv2d(x, weight, self.bias, self.stride, padding=1, groups=self.groups)


class InvertedResidual(nn.Module):
    """MobileNetV2's block: widen, filter each channel, narrow; added to its input if it can be."""

    def __init__(self, inputs: int, outputs: int, *, expansion: int, stride: int) -> None:
        super().__init__()
        width = inputs * expansion
        self.expand = Conv(inputs, width, 1) if expansion > 1 else None
        self.depthwise = Conv(width, width, 3, stride=stride, groups=width)
        self.project = Conv(width, outputs, 1)
        self.is_residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, inputs, h, w) to (B, outputs, h / stride, w / stride)."""
        wide = x if self.expand is None else self.expand(x).clamp_(0, 6)
        narrow = self.project(self.depthwise(wide).clamp_(0, 6))
        return x + narrow if self.is_residual else narrow


class Backbone(nn.Module):
    """MobileNetV2 of some width, from pixels to maps at strides 4, 8, 16 and 32."""

    def __init__(self, width: float) -> None:
        super().__init__()
        channels = [scaled_channels(32, width), *(scaled_channels(c, width) for _, c, _ in BLOCKS)]
        self.stem = Conv(3, channels[0], 3, stride=2)
        self.blocks = nn.ModuleList(
            InvertedResidual(channels[i], channels[i + 1], expansion=expansion, stride=stride)
            for i, (expansion, _, stride) in enumerate(BLOCKS)
        )
        self.top = Conv(channels[-1], TOP_CHANNELS, 1)
        self.channels = (*(channels[tap + 1] for tap in TAPS), TOP_CHANNELS)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Map images (B, 3, H, W) in [-1, 1] to four maps, finest first."""
        x = self.stem(images).clamp_(0, 6)
        maps = []
        for i, block in enumerate(self.blocks):
            x = block(x)
            if i in TAPS:
                maps.append(x)
        return [*maps, self.top(x).clamp_(0, 6)]


class SeparableConv(nn.Module):
    """A 3 x 3 filter per channel, then a mix of the channels, then ReLU."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.depthwise = Conv(inputs, inputs, 3, groups=inputs, bias=False)
        self.pointwise = Conv(inputs, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, inputs, h, w) to (B, outputs, h, w)."""
        return self.pointwise(self.depthwise(x)).relu_()


class Pyramid(nn.Module):
    """Brings what the coarse maps know into the finest, step by step."""

    def __init__(self, channels: Sequence[int]) -> None:
        super().__init__()
        fine, middle, coarse = PYRAMID_CHANNELS
        sides = zip(channels, (fine, middle, coarse, coarse), strict=True)
        self.laterals = nn.ModuleList(Conv(inputs, outputs, 1) for inputs, outputs in sides)
        self.merges = nn.ModuleList(
            [SeparableConv(fine, fine), SeparableConv(middle, fine), SeparableConv(coarse, middle)]
        )

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Merge maps, finest first, into one (B, 24, h, w)."""
        x = self.laterals[-1](maps[-1])
        for lateral, merge, finer in reversed(
            list(zip(self.laterals, self.merges, maps, strict=False))
        ):
            up = interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)
            x = merge(up.add_(lateral(finer)))
        return x


class Head(nn.Module):
    """From the pyramid to one map."""

    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.hidden = SeparableConv(PYRAMID_CHANNELS[0], HEAD_CHANNELS)
        self.output = Conv(HEAD_CHANNELS, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, 24, h, w) to (B, outputs, h, w)."""
        return self.output(self.hidden(x))


class MoveNet(nn.Module):
    """The layers that both networks share."""

    def __init__(self, width: float, heads: Mapping[str, int]) -> None:
        super().__init__()
        self.backbone = Backbone(width)
        self.pyramid = Pyramid(self.backbone.channels)
        self.heads = nn.ModuleDict({name: Head(outputs) for name, outputs in heads.items()})

    def maps(self, images: Tensor) -> dict[str, Tensor]:
        """Return every head's map (B, channels, h, w) of RGB images (B, H, W, 3) from 0 to 255.

        Raises:
            ValueError: A side of the images is not a multiple of 32.
        """
        if any(side % SIZE_MULTIPLE for side in images.shape[1:3]):
            raise ValueError(
                f"images of {images.shape[2]} x {images.shape[1]} pixels; each side must be a "
                f"multiple of {SIZE_MULTIPLE}: pad them with zeros"
            )
        pixels = images.permute(0, 3, 1, 2).to(memory_format=torch.channels_last)
        features = self.pyramid(self.backbone(pixels.float().mul(PIXEL_SCALE).sub_(1)))
        return {name: head(features) for name, head in self.heads.items()}


class MultiPose(MoveNet):
    """`movenet/multipose/lightning`: up to six people in an image, with boxes."""

    def __init__(self) -> None:
        super().__init__(1.5, MULTIPOSE_HEADS)

    @torch.inference_mode()
    def forward(self, images: Tensor) -> People:
        """Find people in RGB images (B, H, W, 3) from 0 to 255; sides are multiples of 32."""
        return decode_people(self.maps(images))


class SinglePose(MoveNet):
    """`movenet/singlepose/thunder`: the key-points of the person in the middle of a crop."""

    names = COCO_17
    size = SINGLEPOSE_SIZE

    def __init__(self) -> None:
        super().__init__(1.75, SINGLEPOSE_HEADS)

    @torch.inference_mode()
    def forward(self, crops: Tensor) -> tuple[Tensor, Tensor]:
        """Find key-points in RGB crops (B, 256, 256, 3) from 0 to 255.

        Returns:
            Pixels (x, y) of the crop (B, D, 2), and confidences (B, D).
        """
        return decode_person(self.maps(crops))


def scaled_channels(channels: int, width: float) -> int:
    """Scale a number of channels, rounded to a multiple of 8 that is not over 10 % smaller."""
    rounded = max(8, int(channels * width + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * channels * width else rounded


def load_multipose(device: str | torch.device = "cpu") -> MultiPose:
    """Load the packaged network that finds people, in eval mode.

    Raises:
        FileNotFoundError: This installation carries no weights.
    """
    network = MultiPose()
    _fill(network, "movenet_multipose", device)
    return network


def load_singlepose(device: str | torch.device = "cpu") -> SinglePose:
    """Load the packaged network that finds one person's key-points, in eval mode.

    Raises:
        FileNotFoundError: This installation carries no weights.
    """
    network = SinglePose()
    _fill(network, "movenet_thunder", device)
    return network


def _fill(network: MoveNet, name: Packaged, device: str | torch.device) -> None:
    """Load packaged weights, widened to single precision, in which all is computed."""
    weights = load_file(packaged(name) / WEIGHTS_FILE)
    network.load_state_dict({key: value.float() for key, value in weights.items()})
    network.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    network.eval().requires_grad_(False)
