"""Crops of gradients, whose every pixel says where it is from."""

import numpy as np
import pytest
import torch

from vibe_ray.video.crops import Square, cut, from_square, shrink, square_around


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
