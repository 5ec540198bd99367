"""Focal lengths, sizes and turns."""

import math

import numpy as np
import pytest

from vibe_ray.video.frames import FOCAL_KEYS, FocalWish, check_size, choose_focal, oriented

METADATA = {FOCAL_KEYS[0]: "26"}


def test_what_is_given_comes_before_what_the_file_says() -> None:
    assert choose_focal(FocalWish(focal_px=900), METADATA, 640, 480).pixels == 900
    focal = choose_focal(FocalWish(fov_deg=90), METADATA, 640, 480)
    assert focal.pixels == pytest.approx(320)
    assert focal.source == "given as a field of view of 90 degrees"


def test_35_mm_are_those_of_film() -> None:
    """A sensor of film's own size and shape, one pixel per micrometer."""
    focal = choose_focal(FocalWish(), {FOCAL_KEYS[0]: "50"}, 36000, 24000)
    assert focal.pixels == pytest.approx(50000)


@pytest.mark.parametrize("text", ["", "wide", "nan", "-3", "inf", "0"])
def test_without_a_sensible_one_the_diagonal_is_assumed_and_said(text: str) -> None:
    focal = choose_focal(FocalWish(), {FOCAL_KEYS[0]: text}, 640, 480)
    assert focal.pixels == 800
    assert "assumed" in focal.source
    assert math.degrees(2 * math.atan(0.5)) == pytest.approx(53, abs=0.2)


@pytest.mark.parametrize(
    "wish",
    [{"focal_px": 0}, {"focal_px": math.nan}, {"fov_deg": 180}, {"focal_px": 9, "fov_deg": 60}],
)
def test_a_wish_that_is_none_is_refused(wish: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"focal length|field of view"):
        FocalWish(**wish)


def test_sizes() -> None:
    check_size("clip", 7680, 4320)
    for size in ((65535, 65535), (0, 10)):
        with pytest.raises(ValueError, match=f"clip has frames of {size[0]} x {size[1]} pixels"):
            check_size("clip", *size)


@pytest.mark.parametrize("signs", [(1, 1), (1, -1), (-1, 1), (-1, -1)])
@pytest.mark.parametrize("is_turned", [False, True])
def test_a_pixel_goes_where_the_matrix_takes_it(signs: tuple[int, int], is_turned: bool) -> None:
    matrix = np.array([[0, signs[0]], [signs[1], 0]] if is_turned else np.diag(signs))
    pixels = np.arange(2 * 3 * 3).reshape(2, 3, 3)
    found = oriented(pixels, tuple(matrix.flatten().tolist()))
    places = np.array([[x, y] for y in range(2) for x in range(3)]) @ matrix
    places -= places.min(axis=0)
    for (x, y), value in zip(places, pixels.reshape(-1, 3), strict=True):
        np.testing.assert_array_equal(found[y, x], value)
