"""From a file to tracks."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.video.made_up_people import figure
from vibe_ray.body.skeletons import (
    COCO_17,
    HALPE_26,
    KEYPOINTS,
    OPENPOSE_18,
    OPENPOSE_25,
    WHOLEBODY_23,
)
from vibe_ray.video.keypoint_files import Keypoints, house_name, read_keypoints, track_keypoints


def write(path: Path, content: Any) -> str:
    path.write_text(json.dumps(content))
    return str(path)


def people(
    count: int, frames: range = range(3), conf: float = 0.5, **more: Any
) -> list[dict[str, Any]]:
    """COCO's results with one person who walks, of some number of key-points."""
    points = np.random.default_rng(0).uniform(10, 90, (count, 2))
    listed = []
    for frame in frames:
        walked = points + np.array([5 * frame, 0])
        values = np.concatenate([walked, np.full((count, 1), conf)], axis=1)
        listed.append({"image_id": frame, "keypoints": values.flatten().tolist(), **more})
    return listed


@pytest.mark.parametrize(
    ("count", "names"),
    [
        *((17, COCO_17), (18, OPENPOSE_18), (25, OPENPOSE_25), (26, HALPE_26)),
        *((133, WHOLEBODY_23), (136, HALPE_26)),
    ],
)
def test_joints_are_known_by_their_number(
    tmp_path: Path, count: int, names: tuple[str, ...]
) -> None:
    content = people(count)
    found = read_keypoints(write(tmp_path / "kp.json", content))
    assert found.names == names
    assert set(names) <= set(KEYPOINTS)
    expected = np.reshape(content[0]["keypoints"], (count, 3))[: len(names), :2]
    np.testing.assert_allclose(found.frames[0].kp_2d[0], expected, rtol=1e-6)


def test_any_set_of_joints_has_names(tmp_path: Path) -> None:
    path = write(tmp_path / "kp.json", people(4))
    with pytest.raises(ValueError, match="has 4 key-points and does not name them"):
        read_keypoints(path)
    with pytest.raises(ValueError, match="has 4 key-points, 1 names are given"):
        read_keypoints(path, ["nose"])
    names = ["nose", "left_knee", "right_big_toe", "Left Heel"]
    assert read_keypoints(path, names).names == ("nose", "lknee", "OP RBigToe", "OP LHeel")


def test_names_of_data_sets_become_ours() -> None:
    """COCO's own list, and MMPose's feet."""
    sides = ("eye", "ear", "shoulder", "elbow", "wrist", "hip", "knee", "ankle")
    coco = ["nose", *(f"{side}_{part}" for part in sides for side in ("left", "right"))]
    assert [house_name(name) for name in coco] == list(COCO_17)
    for name in ("left_big_toe", "right_small_toe", "left_heel"):
        assert house_name(name) in WHOLEBODY_23
    assert house_name("OP LHeel") == "OP LHeel"
    assert house_name("left") == "left"


def test_confidences_over_one_are_scaled(tmp_path: Path) -> None:
    content = [*people(17, range(2), conf=3.0), *people(17, range(2, 3), conf=1.5)]
    found = read_keypoints(write(tmp_path / "kp.json", content))
    assert [float(frame.scores[0]) for frame in found.frames] == pytest.approx([1, 1, 0.5])


def test_what_is_not_finite_is_unknown(tmp_path: Path) -> None:
    content = people(17)
    content[1]["keypoints"][3:6] = [float("nan"), 3, 0.9]
    found = read_keypoints(write(tmp_path / "kp.json", content))
    assert found.frames[1].kp_2d_conf[0, 1] == 0
    assert np.isfinite(found.frames[1].kp_2d).all()


def test_shares_of_the_image_are_refused(tmp_path: Path) -> None:
    content = people(17)
    for item in content:
        values = np.reshape(item["keypoints"], (17, 3)) / [200, 200, 1]
        item["keypoints"] = values.flatten().tolist()
    with pytest.raises(ValueError, match="lie between -1 and 1"):
        read_keypoints(write(tmp_path / "kp.json", content))


def test_people_of_one_file_have_the_same_joints(tmp_path: Path) -> None:
    path = write(tmp_path / "kp.json", [*people(17), *people(18)])
    with pytest.raises(ValueError, match=r"have \[17, 18\] key-points"):
        read_keypoints(path)


def test_the_first_frame_s_number_can_be_said(tmp_path: Path) -> None:
    path = write(tmp_path / "kp.json", people(17, range(1, 4)))
    assert [frame.frame for frame in read_keypoints(path).frames] == [1, 2, 3]
    assert [frame.frame for frame in read_keypoints(path, first_frame=1).frames] == [0, 1, 2]
    with pytest.raises(ValueError, match="speaks of frame 1, before frame 2"):
        read_keypoints(path, first_frame=2)


def test_mmpose_counts_from_what_it_lists_first(tmp_path: Path) -> None:
    instance = {"keypoints": (figure(100) + 5).tolist(), "keypoint_scores": [0.9] * 17}
    frames = [{"frame_id": i, "instances": [instance] if i > 2 else []} for i in range(1, 6)]
    found = read_keypoints(write(tmp_path / "kp.json", frames))
    assert [frame.frame for frame in found.frames] == [2, 3, 4]


def test_nothing_and_nobody_are_errors(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no key-points at"):
        read_keypoints(str(tmp_path / "kp.json"))
    with pytest.raises(ValueError, match="nobody is in"):
        read_keypoints(write(tmp_path / "kp.json", [{"frame_id": 0, "instances": []}]))


def two_people(tmp_path: Path, **more: Any) -> Keypoints:
    content = []
    for frame in range(30):
        for i, x in enumerate((60 + 4 * frame, 200)):
            if (i, frame) not in {(1, 10), (1, 11)}:
                values = np.concatenate([figure(x), np.full((17, 1), 0.8)], axis=1)
                item = {"image_id": f"{frame}.jpg", "keypoints": values.flatten().tolist()}
                content.append(item | dict.fromkeys(more, i))
    return read_keypoints(write(tmp_path / "kp.json", content))


@pytest.mark.parametrize("more", [{}, {"idx": True}])
def test_a_file_s_people_become_tracks(tmp_path: Path, more: dict[str, Any]) -> None:
    times_s = np.arange(40) / 25
    found = two_people(tmp_path, **more)
    walker, stander = track_keypoints(found, times_s)
    assert (walker.num_frames, walker.coverage) == (30, 1)
    assert np.flatnonzero(stander.filled).tolist() == [10, 11]
    np.testing.assert_allclose(stander.kp_2d[10], figure(200), atol=1e-3)
    assert [track.person for track in track_keypoints(found, times_s, "largest")] == [0]


def test_more_frames_than_the_video_has_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="speak of frame 29, counted from 0, the video has 20"):
        track_keypoints(two_people(tmp_path), np.arange(20) / 25)
