"""One person's key-points without a video: the answer is the one that the video gives."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.prediction.filmed import FOCAL, FPS, HEIGHT, WIDTH, walk, write_keypoints
from vibe_ray.body.skeletons import COCO_17
from vibe_ray.geometry.arrays import Array
from vibe_ray.prediction.job import Tools, people_in
from vibe_ray.prediction.keypoints import KeypointClip, predict_keypoints
from vibe_ray.prediction.person import Person
from vibe_ray.prediction.settings import PredictConfig
from vibe_ray.video.frames import FocalWish


@pytest.fixture(scope="module")
def tools() -> Tools:
    return Tools(PredictConfig(), "cpu")


def seen(num_frames: int = 16) -> Array:
    """A walk (N, 17, 3), as a file has it."""
    kp_2d = walk(num_frames).kp_2d.round(3)
    return np.concatenate([kp_2d, np.full((num_frames, 17, 1), 0.9)], axis=-1).astype(np.float32)


def clip(values: Array, **changes: Any) -> KeypointClip:
    known = {"width": WIDTH, "height": HEIGHT, "fps": FPS, "focal": FocalWish(focal_px=FOCAL)}
    return KeypointClip(values=values, **{**known, **changes})


def person(of: KeypointClip, tools: Tools) -> Person:
    (found,) = predict_keypoints(of, tools).people
    return found


def test_it_answers_as_predict_does_of_a_video(tools: Tools, tmp_path: Path) -> None:
    gray = Image.fromarray(np.full((HEIGHT, WIDTH, 3), 128, np.uint8))
    for i in range(16):
        gray.save(tmp_path / f"{i:03d}.png")
    files = write_keypoints(tmp_path / "keypoints", walk(16))
    (expected,) = people_in(
        str(tmp_path), "cpu", keypoints=str(files), fps=FPS, **{"focal.focal_px": FOCAL}
    )
    found = person(clip(seen()), tools)
    for name in ("rotmat", "betas", "cam", "transl", "joints"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name), err_msg=name)
    assert found.world is not None
    assert expected.world is not None
    for name, value in vars(expected.world).items():
        np.testing.assert_array_equal(getattr(found.world, name), value, err_msg=name)
    assert (found.notes, found.quality) == (expected.notes, expected.quality)


def test_before_a_camera_that_moves_there_is_no_world(tools: Tools) -> None:
    made = predict_keypoints(clip(seen(), camera="moves"), tools)
    assert made.people[0].world is None
    assert made.assumed["camera"] == "said to move"
    assert any("no motion in the world" in warning for warning in made.warnings)


def test_who_is_out_of_sight_for_long_stays_one_person(tools: Tools) -> None:
    values = np.zeros((90, 17, 3), np.float32)
    values[5:13], values[70:78] = seen()[:8], seen()[8:]
    found = person(clip(values), tools)
    assert (found.track.frames[0], found.track.frames[-1], found.num_frames) == (5, 77, 73)
    filled = np.ones(73, bool)
    filled[:8] = filled[-8:] = False
    np.testing.assert_array_equal(found.track.filled, filled)


@pytest.mark.parametrize("num_frames", [1, 2, 3])
def test_few_frames_are_enough(num_frames: int, tools: Tools) -> None:
    found = person(clip(seen(16)[:num_frames]), tools)
    assert np.isfinite(found.joints).all()
    off = np.abs(found.transl - walk(16).transl[:num_frames]).max(axis=0)
    assert (off < [0.1, 0.1, 0.6]).all()


def test_key_points_may_come_in_any_order_by_name(tools: Tools) -> None:
    order = np.random.default_rng(0).permutation(17)
    names = [COCO_17[i] for i in order]
    expected, found = (
        person(clip(seen()), tools),
        person(clip(seen()[:, order], names=names), tools),
    )
    np.testing.assert_allclose(found.joints, expected.joints, atol=2e-3)


def test_a_detector_may_know_one_side_alone(tools: Tools) -> None:
    """As if it knew both and had missed all of the other."""
    names = [name for name in COCO_17 if not name.startswith("r")]
    rows = [COCO_17.index(name) for name in names]
    missed = seen()
    missed[:, [i for i in range(17) if i not in rows], 2] = 0
    expected, found = person(clip(missed), tools), person(clip(seen()[:, rows], names=names), tools)
    np.testing.assert_allclose(found.joints, expected.joints, atol=2e-3)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"fps": 0.0}, "0.0 frames per second"),
        ({"camera": "shakes"}, "expected still, moves"),
        ({"values": np.zeros((4, 3))}, r"shape \(4, 3\), expected \(frames, key-points, 3\)"),
    ],
)
def test_a_clip_that_is_none_is_told(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        clip(**{"values": seen(), **changes})


@pytest.mark.parametrize(
    ("values", "changes", "message"),
    [
        (np.zeros((4, 17, 3), np.float32), {}, "nobody is in the key-points"),
        (seen()[:, :5], {}, r"the track has 5 key-points and does not name them"),
        (seen(), {"names": ["nose"]}, "17 key-points, 1 names are given"),
        (seen(), {"names": [f"point {i}" for i in range(17)]}, "no known key-point among"),
        (seen() / 500, {}, "between -1 and 1: they are shares of the image"),
        (seen(), {"width": 0}, "frames of 0 x 400 pixels"),  # before anything is estimated
    ],
)
def test_what_cannot_be_used_is_told(
    values: Array, changes: dict[str, Any], message: str, tools: Tools
) -> None:
    with pytest.raises(ValueError, match=message):
        predict_keypoints(clip(values, **changes), tools)
