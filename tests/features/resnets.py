"""ResNet-50 as a table and as a formula, by names of weights alone, for comparison with ours."""

from collections.abc import Mapping
from functools import cache

import torch
from torch import Tensor
from torch.nn import functional as F

from vibe_ray.features.image_encoder import ImageEncoder, ImageEncoderConfig

STAGES = {"layer1": (3, 64, 1), "layer2": (4, 128, 2), "layer3": (6, 256, 2), "layer4": (3, 512, 2)}
"""Blocks, channels of the 3 x 3 convolution, stride (He et al. 2016, table 1)."""
REGRESSOR_SHAPES = {
    "fc1.weight": (1024, 2205), "fc1.bias": (1024,), "fc2.weight": (1024, 1024),
    "fc2.bias": (1024,), "decpose.weight": (144, 1024), "decpose.bias": (144,),
    "decshape.weight": (10, 1024), "decshape.bias": (10,), "deccam.weight": (3, 1024),
    "deccam.bias": (3,), "init_pose": (1, 144), "init_shape": (1, 10), "init_cam": (1, 3),
}  # fmt: skip
"""The other half of SPIN's checkpoint."""


def shapes() -> dict[str, tuple[int, ...]]:
    """Names and shapes of SPIN's image network."""
    found: dict[str, tuple[int, ...]] = {"conv1.weight": (64, 3, 7, 7)}

    def norm(name: str, channels: int) -> None:
        for part in ("weight", "bias", "running_mean", "running_var"):
            found[f"{name}.{part}"] = (channels,)
        found[f"{name}.num_batches_tracked"] = ()

    norm("bn1", 64)
    width = 64
    for stage, (num_blocks, channels, _) in STAGES.items():
        for i in range(num_blocks):
            block = f"{stage}.{i}"
            found[f"{block}.conv1.weight"] = (channels, width, 1, 1)
            found[f"{block}.conv2.weight"] = (channels, channels, 3, 3)
            found[f"{block}.conv3.weight"] = (4 * channels, channels, 1, 1)
            for number, of in ((1, channels), (2, channels), (3, 4 * channels)):
                norm(f"{block}.bn{number}", of)
            if i == 0:
                found[f"{block}.downsample.0.weight"] = (4 * channels, width, 1, 1)
                norm(f"{block}.downsample.1", 4 * channels)
            width = 4 * channels
    return found


def naive_features(weights: Mapping[str, Tensor], crops: Tensor) -> Tensor:
    """Features (N, 2048) of normalized crops (N, 3, S, S), in float64."""
    w = {name: value.double() for name, value in weights.items()}

    def conv_norm(x: Tensor, conv: str, norm: str, stride: int = 1) -> Tensor:
        kernel = w[f"{conv}.weight"]
        x = F.conv2d(x, kernel, stride=stride, padding=kernel.shape[-1] // 2)
        mean, var, scale, shift = (
            w[f"{norm}.{part}"][:, None, None]
            for part in ("running_mean", "running_var", "weight", "bias")
        )
        return (x - mean) / (var + 1e-5) ** 0.5 * scale + shift

    x = F.relu(conv_norm(crops.double(), "conv1", "bn1", stride=2))
    x = F.max_pool2d(F.pad(x, (1, 1, 1, 1), value=-torch.inf), 3, 2)
    for stage, (num_blocks, _, stage_stride) in STAGES.items():
        for i in range(num_blocks):
            block, stride = f"{stage}.{i}", stage_stride if i == 0 else 1
            y = F.relu(conv_norm(x, f"{block}.conv1", f"{block}.bn1"))
            y = F.relu(conv_norm(y, f"{block}.conv2", f"{block}.bn2", stride))
            y = conv_norm(y, f"{block}.conv3", f"{block}.bn3")
            if i == 0:
                x = conv_norm(x, f"{block}.downsample.0", f"{block}.downsample.1", stride)
            x = F.relu(x + y)
    return x.flatten(2).mean(dim=-1)


@cache
def random_weights() -> dict[str, Tensor]:
    """Weights of the right names and shapes, whose features are of order 1; copy to change."""
    made = torch.Generator().manual_seed(0)
    found = {}
    for name, shape in shapes().items():
        if not shape:
            found[name] = torch.tensor(366_000)
        elif len(shape) == 4:
            fan_in = shape[1] * shape[2] * shape[3]
            found[name] = torch.randn(shape, generator=made) * (2 / fan_in) ** 0.5
        elif name.endswith(("running_var", "weight")):
            # What a block adds is small, so that its many do not blow up.
            size = 0.2 if name.endswith("bn3.weight") else 1.0
            found[name] = size * (0.5 + torch.rand(shape, generator=made))
        else:
            found[name] = 0.2 * torch.randn(shape, generator=made)
    return found


def random_encoder() -> ImageEncoder:
    """A frozen encoder with those weights."""
    encoder = ImageEncoder(ImageEncoderConfig())
    encoder.load_state_dict(random_weights())
    return encoder.freeze()


def spin_checkpoint(prefix: str = "") -> dict[str, object]:
    """What SPIN's released file holds: both halves, and the SMPL model's buffers."""
    made = torch.Generator().manual_seed(1)
    regressor = {n: 0.02 * torch.randn(s, generator=made) for n, s in REGRESSOR_SHAPES.items()}
    smpl = {"smpl.betas": torch.zeros(64, 10), "smpl.parents": torch.arange(24)}
    weights = {**random_weights(), **regressor, **smpl}
    return {"model": {f"{prefix}{name}": v for name, v in weights.items()}, "epoch": 3}
