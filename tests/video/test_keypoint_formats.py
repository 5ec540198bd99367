"""What other programs write, written here as their documentation shows it."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vibe_ray.video.keypoint_formats import Listing, read_file, read_folder

KP = np.arange(34.0).reshape(17, 2) + 100
CONF = np.linspace(0.1, 0.9, 17)
TRIPLES = np.concatenate([KP, CONF[:, None]], axis=1).flatten().tolist()
INSTANCE = {"keypoints": KP.tolist(), "keypoint_scores": CONF.tolist(), "bbox": [[0, 0, 9, 9]]}


def read(directory: Path, content: Any) -> Listing:
    file = directory / "kp.json"
    file.write_text(content if isinstance(content, str) else json.dumps(content))
    return read_file(file, "kp.json")


def check(listing: Listing, frames: list[int], identities: list[int | None]) -> None:
    assert [person.frame for person in listing.people] == frames
    assert [person.identity for person in listing.people] == identities
    for person in listing.people:
        np.testing.assert_allclose(person.values, np.reshape(TRIPLES, (17, 3)))


def test_openpose(tmp_path: Path) -> None:
    person = {"person_id": [-1], "pose_keypoints_2d": TRIPLES, "face_keypoints_2d": []}
    for number, people in ((0, []), (2, [person]), (10, [person, person])):
        name = f"clip_2024_{number:012d}_keypoints.json"
        (tmp_path / name).write_text(json.dumps({"version": 1.3, "people": people}))
    listing = read_folder(tmp_path, "kp")
    check(listing, [2, 10, 10], [None, None, None])
    assert listing.has_every_frame
    assert listing.first == 0


def test_coco_results(tmp_path: Path) -> None:
    content = [
        {"image_id": 3, "category_id": 1, "keypoints": TRIPLES, "score": 0.9},
        {"image_id": 4, "category_id": 1, "keypoints": TRIPLES, "score": 0.8},
    ]
    listing = read(tmp_path, content)
    check(listing, [3, 4], [None, None])
    assert not listing.has_every_frame


def test_coco_annotations(tmp_path: Path) -> None:
    values = np.reshape(TRIPLES, (17, 3)).copy()
    values[:, 2] = [2, 1, 0] * 5 + [2, 2]
    names = [f"left_{i}" for i in range(17)]
    content = {
        "images": [
            {"id": 77, "file_name": "img_10.jpg"},
            {"id": 5, "file_name": "img_9.jpg"},
            {"id": 6, "file_name": "img_11.jpg"},
        ],
        "annotations": [
            {"image_id": 77, "keypoints": values.flatten().tolist(), "track_id": 4},
            {"image_id": 5, "keypoints": [0] * 51, "num_keypoints": 0},
            {"image_id": 6, "bbox": [0, 0, 1, 1]},
        ],
        "categories": [{"name": "cat"}, {"name": "person", "keypoints": names}],
    }
    listing = read(tmp_path, content)
    (person,) = listing.people
    assert (person.frame, person.identity) == (1, 4)
    np.testing.assert_allclose(person.values[:3, 2], [1, 0.5, 0])
    assert listing.names == names


def test_alphapose(tmp_path: Path) -> None:
    content = [
        {
            "image_id": "0.jpg",
            "keypoints": TRIPLES,
            "score": 2.9,
            "idx": [1.0],
            "box": [0, 0, 1, 1],
        },
        {"image_id": "12.jpg", "keypoints": TRIPLES, "score": 2.9, "idx": 2},
    ]
    check(read(tmp_path, content), [0, 12], [1, 2])
    bodies = {"version": 0.1, "bodies": [{"joints": TRIPLES}]}
    check(read(tmp_path, {"3.jpg": bodies, "4.jpg": bodies}), [3, 4], [None, None])
    check(read(tmp_path, bodies), [0], [None])


def test_mmpose(tmp_path: Path) -> None:
    frames = [
        {"frame_id": 1, "instances": []},
        {"frame_id": 2, "instances": [INSTANCE, {**INSTANCE, "track_id": 0}]},
    ]
    listing = read(tmp_path, frames)
    check(listing, [2, 2], [None, 0])
    assert listing.has_every_frame
    assert listing.first == 1
    names = {str(i): f"joint{i}" for i in range(17)}
    listing = read(tmp_path, {"meta_info": {"keypoint_id2name": names}, "instance_info": frames})
    check(listing, [2, 2], [None, 0])
    assert listing.names == [f"joint{i}" for i in range(17)]


@pytest.mark.parametrize(
    "content",
    [
        "{",
        "[" * 100_000,
        "",
        "3",
        "[]",
        "{}",
        [1, 2],
        {"a": 1},
        {"0.jpg": {"boxes": []}},
        {"people": [{"keypoints": TRIPLES}]},
        [{"image_id": 3, "keypoints": TRIPLES[:-1]}],
        [{"image_id": 3, "keypoints": "here"}],
        [{"keypoints": TRIPLES}],
        [{"image_id": "one.jpg", "keypoints": TRIPLES}],
        [{"frame_id": 0, "instances": [{"keypoints": KP.tolist()}]}],
        {"annotations": [{"image_id": 3, "keypoints": TRIPLES}], "images": []},
    ],
)
def test_what_is_of_another_shape_is_an_error_in_words(tmp_path: Path, content: Any) -> None:
    with pytest.raises(ValueError, match=r"^kp\.json"):
        read(tmp_path, content)


def test_a_folder_without_json_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no JSON files in kp"):
        read_folder(tmp_path, "kp")
