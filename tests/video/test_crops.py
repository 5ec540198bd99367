"""Crops of gradients, whose every pixel says where it is from."""

import numpy as np
import pytest
import torch
from scipy.ndimage import map_coordinates

from vibe_ray.video.crops import Square, crop_box, cut, from_square, shrink, square_around


def gradient(height: int, width: int) -> np.ndarray:
    """Red is the column, green the row, blue is 255 inside."""
    y, x = np.mgrid[:height, :width]
    return np.stack([x, y, np.full_like(x, 255)], axis=-1).astype(np.uint8)


def test_a_crop_of_its_own_size_is_a_slice_with_a_black_border() -> None:
    picture = gradient(40, 50)
    expected = np.pad(picture, ((5, 24), (7, 12), (0, 0)))[:, : 50 + 7]
    found = cut(picture, Square(-7, -5, 57), 57)
    np.testing.assert_array_equal(found[:45, :57], expected[:45, :57])
    assert not found[45:].any()


@pytest.mark.parametrize("square", [Square(20, 30, 60), Square(-30, 40, 128), Square(0, 0, 200)])
@pytest.mark.parametrize("size", [64, 100])
def test_a_place_in_the_crop_is_that_place_in_the_picture(square: Square, size: int) -> None:
    crop = cut(gradient(200, 200), square, size).numpy().astype(float)
    v, u = np.nonzero(crop[..., 2] == 255)
    inner = (u > u.min() + 1) & (u < u.max() - 1) & (v > v.min() + 1) & (v < v.max() - 1)
    u, v = u[inner], v[inner]
    place = from_square(np.stack([u, v], axis=-1) + np.float32(0.5), square, size) - 0.5
    tolerance = 0.5 + square.side / size  # a color is a whole number, an edge a whole pixel
    assert np.abs(crop[v, u, :2] - place).max() <= tolerance
    assert np.abs((crop[v, u, :2] - place).mean(axis=0)).max() < tolerance / 2


def test_outside_the_picture_it_is_black() -> None:
    assert not cut(gradient(20, 20), Square(100, 100, 30), 16).any()
    assert cut(gradient(20, 20), Square(19, 19, 300), 16).any()  # a corner is never lost


def test_a_small_square_is_enlarged() -> None:
    assert cut(gradient(20, 20), Square(3, 3, 4), 32).shape == (32, 32, 3)


def test_the_square_around_a_box_has_its_center_and_margin() -> None:
    square = square_around(np.array([50.2, 60.9, 39.0]), 1.25)
    assert square.side == 49
    assert square.left + square.side / 2 == pytest.approx(50.2, abs=0.5)
    assert square.top + square.side / 2 == pytest.approx(60.9, abs=0.5)


@pytest.mark.parametrize(("size", "expected"), [((100, 200), (64, 96)), ((30, 40), (32, 64))])
def test_a_picture_is_shrunk_and_padded(size: tuple[int, int], expected: tuple[int, int]) -> None:
    small = shrink(gradient(*size), 96, 32)
    assert small.pixels.shape == (*expected, 3)
    assert small.scale == pytest.approx(max(1, 200 / 96 if size[1] == 200 else 1))
    height, width = round(size[0] / small.scale), round(size[1] / small.scale)
    assert (small.pixels[:height, :width, 2] == 255).all()
    assert not small.pixels[height:].any()
    assert not small.pixels[:, width:].any()


def test_shrinking_averages_and_does_not_pick() -> None:
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, ::2] = 200
    found = shrink(stripes, 16, 16).pixels.float()
    assert found[:, 1:-1].min() > 80
    assert found[:, 1:-1].max() < 120
    assert torch.equal(found[0], found[-1])


@pytest.mark.parametrize(
    "box", [(25.3, 20.8, 17.0), (25.0, 20.0, 32.0), (3.2, 38.5, 21.7), (20.0, 20.0, 150.0)]
)
@pytest.mark.parametrize("size", [32, 57])
def test_a_shown_box_is_interpolated_between_pixels(
    box: tuple[float, float, float], size: int
) -> None:
    """Against SciPy: linear, black beyond the border, without smoothing."""
    picture = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    center_x, center_y, side = box
    places = (np.arange(size) - size / 2) * side / size
    at = np.meshgrid(center_y + places, center_x + places, indexing="ij")
    planes = [
        map_coordinates(picture[..., i].astype(float), at, order=1, mode="grid-constant")
        for i in range(3)
    ]
    found = crop_box(picture, np.array(box, np.float32), size)
    assert found.dtype == np.uint8
    assert np.abs(found - np.stack(planes, axis=-1)).max() <= 0.501


def test_a_shown_box_of_its_own_size_is_a_slice() -> None:
    picture = gradient(60, 70)
    found = crop_box(picture, np.array([30, 28, 32], np.float32), 32)
    np.testing.assert_array_equal(found, picture[12:44, 14:46])
    assert not crop_box(picture, np.array([500, 28, 32], np.float32), 32).any()


def test_key_points_lie_in_the_crop_where_the_targets_say() -> None:
    """`pixels_to_crop`, by which labels become targets, and the crop are of the same box."""
    from vibe_ray.geometry.cameras import pixels_to_crop

    picture = np.zeros((200, 200, 3), np.uint8)
    picture[60:63, 120:123] = 255  # its middle is pixel (121, 61)
    box = np.array([100.0, 80.0, 90.0], np.float32)
    crop = crop_box(picture, box, 224)[..., 0].astype(float)
    v, u = np.mgrid[:224, :224]
    middle = [(crop * u).sum() / crop.sum(), (crop * v).sum() / crop.sum()]
    target = pixels_to_crop(torch.tensor([[121.0, 61.0]]), torch.from_numpy(box))[0].numpy()
    np.testing.assert_allclose((target + 1) * 112, middle, atol=0.02)
