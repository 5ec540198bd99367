"""The image encoder against a formula in float64, and on pictures whose crops are known."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image
from torch import Tensor

from tests.data import noise
from tests.features.resnets import naive_features, random_encoder, random_weights, shapes
from vibe_ray.data.labels import LabelledSequence
from vibe_ray.features import image_encoder
from vibe_ray.features.frame_encoder import load_encoder
from vibe_ray.features.image_encoder import ImageEncoder, ImageEncoderConfig, normalize
from vibe_ray.video.crops import crop_box

SMALL = 64
WIDTH, HEIGHT = 90, 70


@pytest.fixture(scope="module")
def encoder() -> ImageEncoder:
    return random_encoder()


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_encoder, "CROP_SIZE", SMALL)


def pictures(num_frames: int) -> list[npt.NDArray[np.uint8]]:
    generator = np.random.default_rng(0)
    shape = (num_frames, HEIGHT // 10, WIDTH // 10, 3)
    coarse = generator.integers(0, 256, shape, dtype=np.uint8)
    return list(coarse.repeat(10, axis=1).repeat(10, axis=2))


def labelled_images(
    folder: Path, frames: list[npt.NDArray[np.uint8]], **changes: Any
) -> LabelledSequence:
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for number, pixels in enumerate(frames):
        paths.append(str(folder / f"{number}.png"))
        Image.fromarray(pixels).save(paths[-1])
    generator = np.random.default_rng(1)
    N = len(frames)
    box = np.column_stack([generator.uniform(20, 60, (N, 2)), generator.uniform(30, 90, N)])
    known: dict[str, Any] = {"video": "", "images": tuple(paths), "width": WIDTH, "height": HEIGHT}
    known["box"] = box.astype(np.float32)
    return noise.labelled_sequence("walk", N, **(known | changes))


def expected(labels: LabelledSequence, frames: list[npt.NDArray[np.uint8]]) -> Tensor:
    """Crop, normalize and encode frame by frame, in float64."""
    rows = []
    for box, pixels in zip(labels.box, frames, strict=True):
        crop = torch.from_numpy(crop_box(pixels, box, SMALL)).double() / 255
        crop = (crop - torch.tensor([0.485, 0.456, 0.406])) / torch.tensor([0.229, 0.224, 0.225])
        rows.append(naive_features(random_weights(), crop.permute(2, 0, 1)[None])[0])
    return torch.stack(rows)


def test_names_and_shapes_are_those_of_spins_checkpoint() -> None:
    with torch.device("meta"):
        weights = ImageEncoder(ImageEncoderConfig()).state_dict()
    assert {name: tuple(value.shape) for name, value in weights.items()} == shapes()


def test_features_are_a_resnet_50_s(encoder: ImageEncoder) -> None:
    made = torch.Generator().manual_seed(2)
    crops = torch.randn(2, 3, 224, 224, generator=made)
    with torch.inference_mode():
        found = encoder(crops)
    truth = naive_features(random_weights(), crops)
    assert found.shape == (2, 2048)
    assert 0.1 < truth.std() < 10
    torch.testing.assert_close(found.double(), truth, atol=1e-4, rtol=0)


def test_features_are_torchvisions(encoder: ImageEncoder) -> None:
    try:
        from torchvision.models import resnet50
    except (ImportError, RuntimeError) as error:  # it raises RuntimeError beside another torch
        pytest.skip(f"no torchvision that goes with this torch: {error}")
    network = resnet50().eval()
    network.load_state_dict(random_weights(), strict=False)
    network.fc = torch.nn.Identity()
    crops = torch.randn(2, 3, 224, 224)
    with torch.inference_mode():
        torch.testing.assert_close(encoder(crops), network(crops), atol=1e-4, rtol=0)


def test_colors_are_normalized_by_imagenets() -> None:
    colors = torch.tensor([[0, 0, 0], [255, 255, 255], [124, 116, 104]], dtype=torch.uint8)
    found = normalize(colors.view(3, 1, 1, 3))
    assert found.shape == (3, 3, 1, 1)
    black, white = -np.array([0.485, 0.456, 0.406]), 1 - np.array([0.485, 0.456, 0.406])
    std = np.array([0.229, 0.224, 0.225])
    np.testing.assert_allclose(found[0, :, 0, 0], black / std, rtol=1e-5)
    np.testing.assert_allclose(found[1, :, 0, 0], white / std, rtol=1e-5)
    assert found[2].abs().max() < 0.01


@pytest.mark.usefixtures("small")
def test_what_is_encoded_are_the_boxes_of_the_images(encoder: ImageEncoder, tmp_path: Path) -> None:
    frames = pictures(5)
    labels = labelled_images(tmp_path, frames)
    found = encoder.encode(labels)
    torch.testing.assert_close(found.double(), expected(labels, frames), atol=1e-4, rtol=0)
    assert encoder.kind == "resnet50"
    assert encoder.feature_dim == found.shape[1] == 2048


@pytest.mark.usefixtures("small")
def test_a_box_moves_and_scales_with_its_picture(encoder: ImageEncoder, tmp_path: Path) -> None:
    """The feature is of the person, not of where they are: a shifted picture and box give it."""
    frames = pictures(2)
    box = np.array([[40, 30, 32], [40, 30, 32]], np.float32)
    here = encoder.encode(labelled_images(tmp_path / "a", frames, box=box))
    moved = [np.pad(pixels, ((7, 0), (11, 0), (0, 0))) for pixels in frames]
    changes = {"box": box + np.float32([11, 7, 0]), "width": WIDTH + 11, "height": HEIGHT + 7}
    there = encoder.encode(labelled_images(tmp_path / "b", moved, **changes))
    torch.testing.assert_close(there, here)


@pytest.mark.usefixtures("small")
def test_frames_without_a_box_are_not_read_and_have_no_feature(
    encoder: ImageEncoder, tmp_path: Path
) -> None:
    frames = pictures(4)
    labels = labelled_images(tmp_path, frames)
    whole = encoder.encode(labels)
    Path(labels.images[2]).unlink()
    labels.box[2] = 0
    found = encoder.encode(labels)
    assert not found[2].any()
    torch.testing.assert_close(found[[0, 1, 3]], whole[[0, 1, 3]], atol=1e-4, rtol=0)


@pytest.mark.usefixtures("small")
def test_the_mirrored_person_is_the_mirrored_crop(encoder: ImageEncoder, tmp_path: Path) -> None:
    frames = pictures(3)
    labels = labelled_images(tmp_path / "a", frames)
    found = encoder.encode(labels, mirrored=True)
    with torch.inference_mode():
        for row, (box, pixels) in enumerate(zip(labels.box, frames, strict=True)):
            crop = np.ascontiguousarray(crop_box(pixels, box, SMALL)[:, ::-1])
            feature = encoder(normalize(torch.from_numpy(crop)[None]))[0]
            torch.testing.assert_close(found[row], feature, atol=1e-4, rtol=0)
    assert not torch.allclose(found, encoder.encode(labels), atol=1e-2)


@pytest.mark.usefixtures("small")
def test_a_track_of_any_length_is_in_memory_by_batches(
    encoder: ImageEncoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    labels = labelled_images(tmp_path, pictures(9))
    monkeypatch.setattr(image_encoder, "BATCH_FRAMES", 4)
    whole = encoder.encode(labels)
    events: list[str] = []
    cut, forward = image_encoder.crop_box, ImageEncoder.forward

    def noted_cut(*args: Any) -> Any:
        events.append("cut")
        return cut(*args)

    def noted_forward(self: ImageEncoder, crops: Tensor) -> Tensor:
        events.append(f"encode {len(crops)}")
        return forward(self, crops)

    monkeypatch.setattr(image_encoder, "crop_box", noted_cut)
    monkeypatch.setattr(ImageEncoder, "forward", noted_forward)
    assert torch.equal(encoder.encode(labels), whole)
    four = ["cut"] * 4
    assert events == [*four, "encode 4", *four, "encode 4", "cut", "encode 1"]


def test_what_is_saved_are_the_weights_to_the_last_bit(
    encoder: ImageEncoder, tmp_path: Path
) -> None:
    encoder.save(tmp_path, {})
    loaded = load_encoder(str(tmp_path))
    assert isinstance(loaded, ImageEncoder)
    for name, value in random_weights().items():
        assert torch.equal(loaded.state_dict()[name], value)
    assert loaded.id == random_encoder().id
    assert loaded.id.startswith("resnet50-")


def test_how_long_it_was_trained_is_no_part_of_its_id() -> None:
    encoder = random_encoder()
    before = encoder.id
    encoder.bn1.num_batches_tracked += 1
    assert encoder.freeze().id == before
    encoder.bn1.running_mean += 1
    assert encoder.freeze().id != before


def test_the_default_of_gpus_that_round_is_left_as_it_was(
    encoder: ImageEncoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(image_encoder, "CROP_SIZE", 32)
    convolutions: Any = torch.backends.cudnn.conv  # type: ignore[attr-defined]
    before, seen = convolutions.fp32_precision, []
    forward = ImageEncoder.forward

    def noted(self: ImageEncoder, crops: Tensor) -> Tensor:
        seen.append(convolutions.fp32_precision)
        return forward(self, crops)

    monkeypatch.setattr(ImageEncoder, "forward", noted)
    labels = labelled_images(tmp_path, pictures(1))
    encoder.encode(labels)
    assert seen == ["ieee"]
    assert convolutions.fp32_precision == before
    with pytest.raises(ValueError, match="no image at"):
        encoder.encode(dataclasses.replace(labels, images=("nowhere.png",)))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_a_gpu_gives_the_same_features(tmp_path: Path) -> None:
    labels = labelled_images(tmp_path, pictures(3))
    here = random_encoder().encode(labels)
    there = random_encoder().to("cuda").encode(labels)
    assert there.device.type == "cpu"
    torch.testing.assert_close(there, here, atol=1e-4, rtol=1e-4)
