import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.data.sources.filmed_person import Filmed, film, write_frames
from vibe_ray import prepare
from vibe_ray.body.skeletons import KEYPOINTS, POSETRACK_17, POSETRACK_CATEGORIES
from vibe_ray.data.checks import check_sequence
from vibe_ray.data.labels import LabelledSequence
from vibe_ray.data.sequences import read_label_sequences
from vibe_ray.data.shards import read_manifest
from vibe_ray.data.sources.posetrack import read_sequences
from vibe_ray.data.targets import pose_targets

NUM_PICTURES, FIRST, N = 60, 20, 30
"""Of a video; its labeled frames."""
GAP = 12
"""Frame of the second person, among the labeled ones, in which it is hidden."""
UNSEEN = POSETRACK_CATEGORIES.index("left_ear")
NAME = "000001_bonn_train"


def annotations(people: list[Filmed], categories: tuple[str, ...]) -> dict[str, Any]:
    """A file's content, as the data set's own tools write it."""
    images, found = [], []
    for frame in range(NUM_PICTURES):
        image: dict[str, Any] = {
            "vid_id": "000001",
            "nframes": NUM_PICTURES,
            "id": 10000010000 + frame,
            "frame_id": 10000010000 + frame,
            "file_name": f"images/train/{NAME}/{frame:06d}.jpg",
            "is_labeled": FIRST <= frame < FIRST + N,
        }
        if image["is_labeled"]:
            image |= {"ignore_regions_x": [[0, 5, 5, 0]], "ignore_regions_y": [[0, 0, 5, 5]]}
        images.append(image)
    order = [POSETRACK_CATEGORIES.index(name) for name in categories]
    for track, person in enumerate(people):
        kp_2d = person.of(POSETRACK_17)
        for n in range(N):
            if track == 1 and n == GAP:
                continue
            points = np.concatenate([kp_2d[n], np.ones((17, 1))], axis=1)
            points[UNSEEN] = 0
            low, high = kp_2d[n].min(axis=0), kp_2d[n].max(axis=0)
            found.append(
                {
                    "bbox": [*low, *(high - low)],
                    "bbox_head": [0, 0, 9, 9],
                    "keypoints": points[order].ravel().tolist(),
                    "scores": [],
                    "track_id": track,
                    "image_id": 10000010000 + FIRST + n,
                    "category_id": 1,
                    "id": len(found),
                }
            )
    return {
        "images": images,
        "annotations": found,
        "categories": [{"id": 1, "name": "person", "keypoints": list(categories)}],
    }


@pytest.fixture
def people() -> list[Filmed]:
    return [film(N, 0), film(N, 1)]


def write(root: Path, content: Any, folder: str = "annotations/train") -> Path:
    path = root / folder / f"{NAME}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


@pytest.fixture
def root(tmp_path: Path, people: list[Filmed]) -> Path:
    raw = tmp_path / "posetrack"
    write(raw, annotations(people, POSETRACK_CATEGORIES))
    write_frames(raw / f"images/train/{NAME}", [f"{n:06d}.jpg" for n in range(NUM_PICTURES)])
    return raw


def read(root: Path) -> list[LabelledSequence]:
    return list(read_sequences(str(root), "train"))


def test_values_are_the_truth_and_a_gap_cuts_a_track(root: Path, people: list[Filmed]) -> None:
    found = read(root)
    keys = [(NAME, "0"), (NAME, "1"), (f"{NAME}_part01", "1")]
    assert [labels.key for labels in found] == [keys[0], (f"{NAME}_part00", "1"), keys[2]]
    spans = [slice(0, N), slice(0, GAP), slice(GAP + 1, N)]
    for labels, person, span in zip(found, [people[0], *[people[1]] * 2], spans, strict=True):
        frames = FIRST + np.arange(N)[span]
        np.testing.assert_array_equal(labels.frame_index, frames)
        assert labels.images == tuple(f"{root}/images/train/{NAME}/{n:06d}.jpg" for n in frames)
        conf = np.ones((len(frames), 17))
        conf[:, UNSEEN] = 0
        np.testing.assert_array_equal(labels.kp_2d_conf, conf)
        seen = [n for n in range(17) if n != UNSEEN]
        truth = person.of(POSETRACK_17)[span]
        np.testing.assert_allclose(labels.kp_2d[:, seen], truth[:, seen], atol=1e-4)
        assert not list(check_sequence("here", labels))
        targets = pose_targets(labels)
        for name in ("nose", "neck", "headtop", "rwrist", "lankle"):
            column = KEYPOINTS.index(name)
            expected = 2 * (person.kp_2d[span, column] - labels.box[:, :2]) / labels.box[:, 2:]
            np.testing.assert_allclose(targets["kp_2d"][:, column], expected, atol=1e-4)


def test_key_points_are_found_by_the_names_that_the_file_gives(
    root: Path, people: list[Filmed]
) -> None:
    before = read(root)
    shuffled = tuple(np.random.default_rng(0).permutation(POSETRACK_CATEGORIES).tolist())
    write(root, annotations(people, shuffled))
    for old, new in zip(before, read(root), strict=True):
        np.testing.assert_array_equal(old.kp_2d, new.kp_2d)


def test_the_layout_of_2021(root: Path) -> None:
    expected = read(root)
    (root / "annotations").rename(root / "posetrack_data")
    assert [labels.key for labels in read(root)] == [labels.key for labels in expected]


def test_a_person_within_an_ignored_region_is_left_out(root: Path, people: list[Filmed]) -> None:
    content = annotations(people, POSETRACK_CATEGORIES)
    for image in content["images"][FIRST + 20 :]:
        low, high = people[0].kp_2d.min(axis=(0, 1)), people[0].kp_2d.max(axis=(0, 1))
        x, y = zip(low - 9, high + 9, strict=True)
        image["ignore_regions_x"] = [[x[0], x[1], x[1], x[0]]]
        image["ignore_regions_y"] = [[y[0], y[0], y[1], y[1]]]
    write(root, content)
    (first,) = [labels for labels in read(root) if labels.person == "0"]
    assert first.frame_index.tolist() == list(range(FIRST, FIRST + 20))


def test_frames_with_an_empty_box_and_short_tracks_are_left_out(
    root: Path, people: list[Filmed]
) -> None:
    content = annotations(people, POSETRACK_CATEGORIES)
    for item in content["annotations"]:
        if item["track_id"] == 1 and item["image_id"] % 1000 < FIRST + 5:
            item["bbox"][2] = 0
    write(root, content)
    found = read(root)  # the second person's first piece has seven frames then
    assert [labels.person for labels in found] == ["0", "1"]
    assert found[1].frame_index[0] == FIRST + GAP + 1


def test_prepare_writes_what_the_source_reads(root: Path, tmp_path: Path) -> None:
    out = str(tmp_path / "out")
    prepare.main(["posetrack", "--raw", str(root), "--out", out])
    assert read_manifest(out, "labels").num_frames == 2 * N - 1
    for labels, expected in zip(read_label_sequences(out), read(root), strict=True):
        np.testing.assert_array_equal(labels.kp_2d, expected.kp_2d)
        assert labels.key == expected.key


def twice(content: dict[str, Any]) -> dict[str, Any]:
    return content | {"annotations": [*content["annotations"], content["annotations"][0]]}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda content: json.dumps(content)[:5000], "no JSON, or cut off"),
        (lambda content: {"Masks": 1}, "no annotations of PoseTrack: it holds Masks; expected"),
        (lambda content: [1], "no annotations of PoseTrack: it holds list"),
        (lambda content: content | {"categories": [{}]}, "do not name the key-points"),
        (lambda content: content | {"annotations": []}, "none of its 0 tracks has 8 labeled"),
        (lambda content: content | {"images": []}, "is in picture 10000010020, which is not"),
        (
            lambda content: json.dumps(content).replace("images/train", "../../train"),
            "a part of a picture's path is '..'",
        ),
        (lambda content: json.dumps(content).replace(".jpg", "_x.jpg"), "not named by a frame's"),
        (twice, "track 0 is twice in picture images/train"),
        (
            lambda content: json.dumps(content).replace('"head_top"', '"hat"'),
            r"no joints \['head_top'\] in this order",
        ),
    ],
)
def test_a_bad_file_is_told_in_words(
    root: Path, people: list[Filmed], change: Any, message: str
) -> None:
    write(root, change(annotations(people, POSETRACK_CATEGORIES)))
    with pytest.raises(ValueError, match=message):
        read(root)


def test_missing_pictures_are_told_when_labels_are_made(root: Path) -> None:
    (root / f"images/train/{NAME}/{FIRST + 3:06d}.jpg").unlink()
    with pytest.raises(ValueError, match=r"1 of 30 frames are missing, first 000023\.jpg in"):
        read(root)


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no annotations/train in"):
        read_sequences(str(tmp_path), "train")
    with pytest.raises(ValueError, match="PoseTrack has no split 'test'"):
        read_sequences(str(tmp_path), "test")
