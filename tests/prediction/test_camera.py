from dataclasses import replace

import numpy as np

from tests.prediction.filmed import walk
from vibe_ray.geometry.arrays import Array
from vibe_ray.prediction.camera import CameraWatch
from vibe_ray.video.frames import Frame
from vibe_ray.video.people import Track

WALL = np.random.default_rng(0).integers(0, 256, (50, 60, 3), dtype=np.uint8)
WALL = WALL.repeat(8, axis=0).repeat(8, axis=1)  # 400 x 480


def judged(pictures: list[Array], tracks: list[Track]) -> bool | None:
    watch = CameraWatch()
    for i, picture in enumerate(pictures):
        watch.see(Frame(number=i, time_s=i / 25, pixels=picture))
    return watch.judge(tracks).is_still


def test_a_still_wall_is_a_still_camera() -> None:
    assert judged([WALL] * 12, []) is True


def test_a_wall_that_moves_is_a_camera_that_moves() -> None:
    assert judged([np.roll(WALL, 6 * i, axis=1) for i in range(12)], []) is False


def test_what_moves_within_peoples_boxes_is_not_the_camera() -> None:
    track = walk().track
    track = replace(track, boxes=np.tile(np.float32([160, 250, 320]), (24, 1)))
    pictures = []
    for i in range(12):
        picture = WALL.copy()
        picture[100:, :320] = np.roll(WALL, 6 * i, axis=1)[100:, :320]
        pictures.append(picture)
    assert judged(pictures, [track]) is True
    assert judged(pictures, []) is not True


def test_frames_are_kept_once_and_a_tiny_picture_says_nothing() -> None:
    watch = CameraWatch()
    for _ in range(2):
        for i in range(3):
            watch.see(Frame(number=i, time_s=i / 25, pixels=WALL))
    assert len(watch._pictures) == 3
    assert judged([WALL[:40, :40]] * 5, []) is None
