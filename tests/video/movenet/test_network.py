"""Against TensorFlow.js running the published graphs (`record_outputs.cjs` recorded it)."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from vibe_ray.video.movenet import MultiPose, SinglePose, load_multipose, load_singlepose
from vibe_ray.video.movenet.network import Conv, scaled_channels

HERE = Path(__file__).parent
WIDTH, HEIGHT = 352, 224


@pytest.fixture(scope="module")
def recorded() -> dict[str, Tensor]:
    recorded = json.loads((HERE / "graph_outputs.json").read_text())
    return {name: torch.tensor(recorded[name]) for name in ("multipose", "thunder")}


@pytest.fixture(scope="module")
def picture() -> Tensor:
    """Two open bodies (224, 352, 3), which the project drew itself."""
    with Image.open(HERE / "two_bodies.png") as image:
        return torch.from_numpy(np.array(image.convert("RGB")))


@pytest.fixture(scope="module")
def crop(picture: Tensor) -> Tensor:
    """The person on the left (256, 256, 3)."""
    return torch.nn.functional.pad(picture[:, :HEIGHT], (0, 0, 0, 32, 0, 32))


@pytest.fixture(scope="module")
def multipose() -> MultiPose:
    return load_multipose()


@pytest.fixture(scope="module")
def singlepose() -> SinglePose:
    return load_singlepose()


def test_people_are_those_of_the_published_graph(
    multipose: MultiPose, picture: Tensor, recorded: dict[str, Tensor]
) -> None:
    expected = recorded["multipose"].reshape(6, 56)
    kp = expected[:, :51].reshape(6, 17, 3)  # y, x, confidence over the image's sides
    assert (expected[:2, 55] > 0.6).all()  # the two are found
    people = multipose(picture[None])
    size = torch.tensor([WIDTH, HEIGHT])
    close = {"rtol": 0, "atol": 1e-3}
    torch.testing.assert_close(people.scores[0], expected[:, 55], **close)
    boxes = expected[:, [52, 51, 54, 53]]
    torch.testing.assert_close(people.boxes[0] / size.repeat(2), boxes, **close)
    torch.testing.assert_close(people.kp[0] / size, kp[..., [1, 0]], **close)
    torch.testing.assert_close(people.conf[0], kp[..., 2], **close)


def test_key_points_are_those_of_the_published_graph(
    singlepose: SinglePose, crop: Tensor, recorded: dict[str, Tensor]
) -> None:
    expected = recorded["thunder"].reshape(17, 3)
    assert expected[:, 2].mean() > 0.6
    kp, conf = singlepose(crop[None])
    torch.testing.assert_close(kp[0] / 256, expected[:, [1, 0]], rtol=0, atol=1e-3)
    torch.testing.assert_close(conf[0], expected[:, 2], rtol=0, atol=1e-3)


def test_images_of_a_batch_do_not_mix(
    multipose: MultiPose, singlepose: SinglePose, picture: Tensor, crop: Tensor
) -> None:
    mirrored = picture.flip(1)
    together = multipose(torch.stack([picture, mirrored]))
    for i, alone in enumerate((multipose(picture[None]), multipose(mirrored[None]))):
        torch.testing.assert_close(together.scores[i], alone.scores[0])
        torch.testing.assert_close(together.kp[i, :2], alone.kp[0, :2], rtol=0, atol=1e-2)
    both, _ = singlepose(torch.stack([crop.flip(1), crop]))
    torch.testing.assert_close(both[1], singlepose(crop[None])[0][0], rtol=0, atol=1e-2)


def test_a_side_that_does_not_divide_is_refused(multipose: MultiPose) -> None:
    with pytest.raises(ValueError, match="images of 100 x 64 pixels; each side must be a multiple"):
        multipose(torch.zeros(1, 64, 100, 3, dtype=torch.uint8))


@pytest.mark.parametrize("stride", [1, 2])
def test_padding_is_tensorflow_s(stride: int) -> None:
    """SAME: ceil(n / stride) places; what is missing is padded, the odd one after."""
    conv = Conv(1, 1, 3, stride=stride)
    image = torch.randn(1, 1, 8, 6)
    expected = torch.zeros(8 // stride, 6 // stride)
    for y in range(8 // stride):
        for x in range(6 // stride):
            total = conv.bias[0].clone()
            before = 1 if stride == 1 else 0
            for i in range(3):
                for j in range(3):
                    row, column = y * stride + i - before, x * stride + j - before
                    if 0 <= row < 8 and 0 <= column < 6:
                        total += conv.weight[0, 0, i, j] * image[0, 0, row, column]
            expected[y, x] = total
    torch.testing.assert_close(conv(image)[0, 0], expected)


def test_channels_are_rounded_as_mobilenet_s() -> None:
    at_thunder_s_width = [scaled_channels(c, 1.75) for c in (32, 16, 24, 32, 64, 96, 160, 320)]
    assert at_thunder_s_width == [56, 32, 40, 56, 112, 168, 280, 560]
    assert scaled_channels(16, 0.35) == 8  # int(5.6 + 4) // 8 * 8
    assert scaled_channels(36, 0.3) == 16  # 8 would be over 10 % less than 10.8


@pytest.mark.gpu
def test_a_gpu_finds_the_same(
    multipose: MultiPose, singlepose: SinglePose, picture: Tensor, crop: Tensor
) -> None:
    found = load_multipose("cuda")(picture[None].cuda())
    expected = multipose(picture[None])
    torch.testing.assert_close(found.scores.cpu()[0, :2], expected.scores[0, :2], rtol=0, atol=1e-2)
    torch.testing.assert_close(found.kp.cpu()[0, :2], expected.kp[0, :2], rtol=0, atol=0.5)
    kp, _ = load_singlepose("cuda")(crop[None].cuda())
    torch.testing.assert_close(kp.cpu(), singlepose(crop[None])[0], rtol=0, atol=0.5)
