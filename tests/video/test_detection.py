"""The whole way on a picture that moves, and what is taken over, with a network made up."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from tests.video.made_up_people import figure, seen
from vibe_ray.body.skeletons import COCO_17, HALPE_26
from vibe_ray.video.detection import DetectionConfig, named, refine, track_people
from vibe_ray.video.frames import Frame
from vibe_ray.video.networks import Networks
from vibe_ray.video.people import Track
from vibe_ray.video.reader import open_video
from vibe_ray.video.tracking import fill, link

PICTURE = Path(__file__).parent / "movenet" / "two_bodies.png"


@pytest.mark.slow
def test_two_people_who_move_are_followed(tmp_path: Path) -> None:
    with Image.open(PICTURE) as image:
        picture = np.array(image.convert("RGB"))
    for i in range(8):
        Image.fromarray(np.roll(picture, 3 * i, axis=1)).save(tmp_path / f"{i}.png")
    networks = Networks.load()
    config = DetectionConfig(every_s=0.25, batch=3)
    with open_video(str(tmp_path), fps=10) as video:
        both = track_people(video, networks, config=config)
        (largest,) = track_people(video, networks, "largest", config)
    assert [track.frames.tolist() for track in both] == [list(range(8))] * 2  # at 0, 3, 6 and 7
    for track in both:
        assert track.names == COCO_17
        assert track.coverage == 1
        moved = (track.kp_2d[:, :, 0] - track.kp_2d[:1, :, 0]).mean(axis=1)
        np.testing.assert_allclose(moved, 3 * np.arange(8), atol=1.5)
    left = min(both, key=lambda t: t.kp_2d[0, 0, 0])
    np.testing.assert_array_equal(largest.kp_2d, left.kp_2d)  # who is nearer


class OneDot:
    """Finds every key-point at the brightest pixel of a crop, as sure as it is bright."""

    size = 256

    def __init__(self, names: tuple[str, ...] = COCO_17) -> None:
        self.names = names

    def __call__(self, crops: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        bright = crops.float().sum(dim=-1).flatten(1)
        top, index = bright.max(dim=-1)
        at = torch.stack([index % 256, index // 256], dim=-1) + 0.5
        conf = top / (3 * 255)
        D = len(self.names)
        return at[:, None].expand(-1, D, -1), conf[:, None].expand(-1, D)


class Pictures:
    """A video in memory."""

    def __init__(self, pictures: list[np.ndarray]) -> None:
        self._pictures = pictures

    def frames(self) -> Iterator[Frame]:
        for i, pixels in enumerate(self._pictures):
            yield Frame(number=i, time_s=i / 10, pixels=pixels)


def dots(*places: tuple[int, int, int]) -> np.ndarray:
    picture = np.zeros((300, 400, 3), np.uint8)
    for x, y, value in places:
        picture[y - 2 : y + 3, x - 2 : x + 3] = value
    return picture


def still(x: float, num_frames: int, missed: tuple[int, ...] = ()) -> Track:
    stamps = np.arange(num_frames) / 10
    people = [seen(i, [] if i in missed else [figure(x, 150, 100)]) for i in range(num_frames)]
    return fill(link(people, stamps)[0], 0, COCO_17, stamps)


def refined(pictures: list[np.ndarray], tracks: list[Track]) -> list[Track]:
    networks: Any = Networks(None, OneDot(), torch.device("cpu"))  # type: ignore[arg-type]
    video: Any = Pictures(pictures)
    return refine(video, tracks, networks, DetectionConfig(batch=4))


def test_what_a_crop_shows_is_found_at_its_place_in_the_picture() -> None:
    track = still(200, 8, missed=(3, 4))
    (found,) = refined([dots((203, 148, 255))] * 8, [track])
    np.testing.assert_allclose(found.kp_2d[2], np.tile([203.5, 148.5], (17, 1)), atol=2.5)
    assert not found.filled.any()  # in the frames that were missed, too
    np.testing.assert_allclose(found.kp_2d_conf, 1, atol=1e-2)


def test_what_is_unclear_changes_nothing() -> None:
    track = still(200, 8, missed=(3, 4))
    (found,) = refined([dots((203, 148, 20))] * 8, [track])
    np.testing.assert_array_equal(found.kp_2d, track.kp_2d)
    np.testing.assert_array_equal(found.filled, track.filled)


def test_who_stands_before_somebody_is_not_taken_for_them() -> None:
    """In both crops the one dot is nearer to the other person: it is theirs alone."""
    hidden, other = still(200, 8, missed=(3, 4)), still(240, 8)
    found = refined([dots((243, 150, 255))] * 8, [hidden, replace(other, person=1)])
    np.testing.assert_array_equal(found[0].kp_2d, hidden.kp_2d)
    assert np.flatnonzero(found[0].filled).tolist() == [3, 4]
    np.testing.assert_allclose(found[1].kp_2d[0, 0], [243.5, 150.5], atol=2.5)


def test_a_network_has_key_points_of_its_own() -> None:
    """What others found of a track is kept by name; its feet are unknown until they are seen."""
    track = named(still(200, 8), HALPE_26)
    wrist = HALPE_26.index("lwrist")
    before = still(200, 8)
    np.testing.assert_array_equal(track.kp_2d[:, wrist], before.kp_2d[:, COCO_17.index("lwrist")])
    assert not track.kp_2d_conf[:, HALPE_26.index("OP LHeel")].any()
    video: Any = Pictures([dots((203, 148, 255))] * 8)
    networks: Any = Networks(None, OneDot(HALPE_26), torch.device("cpu"))  # type: ignore[arg-type]
    (found,) = refine(video, [track], networks, DetectionConfig(batch=4))
    assert found.names == HALPE_26
    np.testing.assert_allclose(found.kp_2d[2], np.tile([203.5, 148.5], (26, 1)), atol=2.5)
    np.testing.assert_allclose(found.kp_2d_conf, 1, atol=1e-2)


def test_nobody_is_followed_nowhere() -> None:
    assert refined([dots()] * 2, []) == []


@pytest.mark.parametrize("name", ["every_s", "crop_margin", "batch"])
def test_sizes_must_be_positive(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} is 0, must be positive"):
        DetectionConfig(**{name: 0})
