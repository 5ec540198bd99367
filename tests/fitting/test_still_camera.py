from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, map_coordinates

from vibe_ray.fitting.still_camera import is_camera_still

H, W, N = 120, 200, 80
ROWS, COLUMNS = (grid.astype(float) for grid in np.mgrid[:H, :W])
Where = Callable[[int], tuple[NDArray[np.floating], NDArray[np.floating]]]


def film(where: Where, noise: float = 2.0) -> NDArray[np.floating]:
    """What a camera sees (N, H, W) of a painted wall, given where a frame's pixels look at it."""
    rng = np.random.default_rng(0)
    wall = gaussian_filter(rng.normal(size=(400, 500)), 1.5) * 150 + 128
    frames = [map_coordinates(wall, np.stack(where(t)), order=3, mode="mirror") for t in range(N)]
    return np.stack(frames) + noise * rng.normal(size=(N, H, W))


def panned(by: float) -> Where:
    return lambda t: (ROWS + 100, COLUMNS + 100 + by * t)


def test_a_tripod_stands_still() -> None:
    verdict = is_camera_still(film(panned(0.0)))
    assert verdict.is_still
    assert verdict.pixels_per_frame < 0.03
    assert verdict.words.startswith("the camera stands still")


@pytest.mark.parametrize("speed", [0.08, 0.2, 1.0, -2.0, 7.0])
def test_a_pan_is_found_with_its_speed(speed: float) -> None:
    verdict = is_camera_still(film(panned(speed)))
    assert verdict.is_still is False
    assert verdict.pixels_per_frame == pytest.approx(abs(speed), rel=0.1)
    assert verdict.words.startswith("the camera moves")


def test_a_zoom_and_a_roll_and_shaking_hands_are_moves() -> None:
    def zoomed(t: int) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
        size = 1 + 0.003 * t
        return 100 + (ROWS - H / 2) * size, 150 + (COLUMNS - W / 2) * size

    def rolled(t: int) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
        c, s = np.cos(0.004 * t), np.sin(0.004 * t)
        y, x = ROWS - H / 2, COLUMNS - W / 2
        return 150 + c * y + s * x, 200 + c * x - s * y

    shake = np.random.default_rng(1).normal(size=(N, 2)) * 1.5

    def shaken(t: int) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
        return ROWS + 100 + shake[t, 0], COLUMNS + 100 + shake[t, 1]

    for where in (zoomed, rolled, shaken):
        assert is_camera_still(film(where)).is_still is False


def test_light_that_flickers_is_no_move() -> None:
    light = 1 + 0.2 * np.sin(np.arange(N))[:, None, None]
    assert is_camera_still(film(panned(0.0)) * light).is_still


def test_people_do_not_count() -> None:
    """Somebody in a loud shirt walks through most of the picture."""
    frames = film(panned(0.0))
    walker = film(panned(1.0))
    boxes = [np.array([[40.0, 0.0, 160.0, 100.0]])] * N
    frames[:, :100, 40:160] = walker[:, :100, 40:160]
    assert is_camera_still(frames).is_still is False
    assert is_camera_still(frames, boxes).is_still
    assert is_camera_still(frames, [np.zeros((0, 4))] * N).is_still is False


def test_a_bare_wall_and_a_hidden_one_say_nothing() -> None:
    bare = np.full((N, H, W), 128.0) + np.random.default_rng(0).normal(size=(N, H, W))
    everywhere = [np.array([[0.0, 0.0, W, H]])] * N
    for verdict in (
        is_camera_still(bare),
        is_camera_still(film(panned(1.0)), everywhere),
        is_camera_still(film(panned(0.0))[:1]),
    ):
        assert verdict.is_still is None
        assert np.isnan(verdict.pixels_per_frame)


def test_what_cannot_be_judged_is_refused() -> None:
    with pytest.raises(ValueError, match="expected 64 or more"):
        is_camera_still(np.zeros((5, 40, 200)))
    with pytest.raises(ValueError, match="boxes of 2 frames for 5 pictures"):
        is_camera_still(np.zeros((5, 100, 200)), [np.zeros((0, 4))] * 2)
