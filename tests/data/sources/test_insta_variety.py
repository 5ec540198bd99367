import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.data.sources.filmed_person import Filmed, film
from tests.data.sources.tfrecord_writer import example, record
from vibe_ray import prepare, storage
from vibe_ray.body.skeletons import INSTA_25, KEYPOINTS
from vibe_ray.data.checks import check_sequence
from vibe_ray.data.sequences import read_label_sequences
from vibe_ray.data.shards import read_manifest
from vibe_ray.data.sources.insta_variety import read_sequences
from vibe_ray.data.targets import pose_targets
from vibe_ray.video.pixels import labelled_pictures

N, SIZE = 9, 64
FILE = "insta_variety_00_copy00_000000"
UNSEEN = {3, 15, 22}
"""A knee or heel, a face's and a toe's key-point."""


def picture(shade: int, size: tuple[int, int] = (SIZE, SIZE)) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", size, (shade, shade, shade)).save(file, "JPEG")
    return file.getvalue()


def in_crop(person: Filmed) -> np.ndarray:
    """Key-points (N, 25, 2) of a person in pictures cut out around it, in pixels of them."""
    kp_2d = person.of(INSTA_25)
    low, high = kp_2d.min(axis=(0, 1)), kp_2d.max(axis=(0, 1))
    return SIZE * (0.1 + 0.8 * (kp_2d - low) / (high - low).max())


def track(person: Filmed, shade: int = 0, **changes: Any) -> dict[str, Any]:
    """What HMMR's authors say that a record of training holds."""
    kp = in_crop(person).transpose(0, 2, 1)
    seen = np.array([number not in UNSEEN for number in range(25)], float)
    parts = np.concatenate([kp, np.tile(seen, (N, 1, 1))], axis=1)
    return {
        "meta/N": [N],
        "image/filenames": [b"a.png"] * N,
        "image/encoded": [picture(shade + 10 * n) for n in range(N)],
        "image/xys": kp[..., :14].ravel().tolist(),
        "image/visibilities": [int(seen[j]) for _ in range(N) for j in range(14)],
        "image/face_pts": parts[..., 14:19].ravel().tolist(),
        "image/toe_pts": parts[..., 19:].ravel().tolist(),
        "image/centers": [SIZE // 2] * 2 * N,
        **changes,
    }


def write(root: Path, *tracks: Any) -> Path:
    path = root / f"train/{FILE}.tfrecord"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"".join(record(example(one)) for one in tracks))
    return path


@pytest.fixture
def people() -> list[Filmed]:
    return [film(N, 0), film(N, 1)]


@pytest.fixture
def root(tmp_path: Path, people: list[Filmed]) -> Path:
    raw = tmp_path / "insta_variety"
    write(raw, track(people[0]), track(people[1], 100))
    return raw


def test_values_are_the_truth(root: Path, people: list[Filmed]) -> None:
    found = list(read_sequences(str(root), "train"))
    assert [labels.key for labels in found] == [(f"{FILE}-0", "0"), (f"{FILE}-1", "0")]
    for labels, person in zip(found, people, strict=True):
        assert (labels.fps, labels.width, labels.height) == (25.0, SIZE, SIZE)
        np.testing.assert_array_equal(labels.frame_index, np.arange(N))
        np.testing.assert_allclose(labels.kp_2d, in_crop(person), atol=1e-4)
        expected = [float(number not in UNSEEN) for number in range(25)]
        np.testing.assert_array_equal(labels.kp_2d_conf, np.tile(expected, (N, 1)))
        np.testing.assert_array_equal(labels.box, np.tile([SIZE / 2, SIZE / 2, SIZE], (N, 1)))
        assert not list(check_sequence("here", labels))
        targets = pose_targets(labels)
        for name in ("OP RHeel", "headtop", "OP Nose", "OP RAnkle"):
            truth = 2 * in_crop(person)[:, INSTA_25.index(name)] / SIZE - 1
            column = KEYPOINTS.index(name)
            np.testing.assert_allclose(targets["kp_2d"][:, column], truth, atol=1e-4)


def test_pictures_are_read_out_of_the_file(root: Path) -> None:
    found = list(read_sequences(str(root), "train"))
    for labels, shade in zip(found, (0, 100), strict=True):
        for row, pixels in labelled_pictures(labels):
            assert abs(float(pixels.mean()) - shade - 10 * row) < 1


def test_coordinates_of_preprocessed_tracks_are_of_the_picture(
    tmp_path: Path, people: list[Filmed]
) -> None:
    """Where HMMR's features are there, the picture is [-1, 1]."""
    plain, scaled = track(people[0]), track(people[0], **{"image/phis": [0.5] * 4})
    for name, rows in {"image/xys": 2, "image/face_pts": 3, "image/toe_pts": 3}.items():
        values = np.array(scaled[name]).reshape(N, rows, -1)
        values[:, :2] = 2 * values[:, :2] / SIZE - 1
        scaled[name] = values.ravel().tolist()
    write(tmp_path, plain, scaled)
    first, second = read_sequences(str(tmp_path), "train")
    np.testing.assert_allclose(first.kp_2d, second.kp_2d, atol=1e-4)
    np.testing.assert_array_equal(first.kp_2d_conf, second.kp_2d_conf)


def test_a_track_without_toes(tmp_path: Path, people: list[Filmed]) -> None:
    known = track(people[0])
    del known["image/toe_pts"]
    write(tmp_path, known)
    (labels,) = read_sequences(str(tmp_path), "train")
    assert not labels.kp_2d_conf[:, 19:].any()
    assert labels.kp_2d_conf[:, :14].any()


def test_prepare_writes_what_the_source_reads_and_the_pictures_are_found(
    root: Path, tmp_path: Path
) -> None:
    out = str(tmp_path / "out")
    prepare.main(["insta_variety", "--raw", str(root), "--out", out])
    assert read_manifest(out, "labels").num_frames == 2 * N
    (root / "train").rename(tmp_path / "train")
    for labels, shade in zip(read_label_sequences(out, raw=str(tmp_path)), (0, 100), strict=True):
        assert [row for row, _ in labelled_pictures(labels)] == list(range(N))
        _, pixels = next(labelled_pictures(labels))
        assert abs(float(pixels.mean()) - shade) < 1


def test_a_file_that_was_cut_off_since_is_told(root: Path) -> None:
    labels = list(read_sequences(str(root), "train"))[1]
    file = root / f"train/{FILE}.tfrecord"
    file.write_bytes(file.read_bytes()[:-3000])
    with pytest.raises(ValueError, match="ends before byte"):
        storage.read_part(labels.images[-1])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"meta/N": [N - 1]}, "record 1 of .*: image/visibilities has 126 numbers for 8 frames"),
        ({"image/xys": [0.5] * 9}, "image/xys has 9 numbers for 9 frames: 28 each"),
        ({"image/encoded": [b"x"]}, "1 pictures for 9 frames"),
        ({"image/encoded": [b"x"] * N}, "is no readable JPEG: it begins with b'x'; unpack the"),
        ({"image/encoded": [picture(0, (64, 32))] * N}, "pictures of 64 x 32 pixels: expected sq"),
    ],
)
def test_a_bad_record_is_told_in_words(
    tmp_path: Path, people: list[Filmed], changes: Any, message: str
) -> None:
    write(tmp_path, track(people[0]), track(people[1], **changes))
    with pytest.raises(ValueError, match=message):
        list(read_sequences(str(tmp_path), "train"))


def test_another_set_s_and_damaged_records(tmp_path: Path, people: list[Filmed]) -> None:
    path = write(tmp_path, {"image/height": [3]})
    with pytest.raises(ValueError, match=r"record 0 of .*: no track of"):
        list(read_sequences(str(tmp_path), "train"))
    whole = record(example(track(people[0])))
    path.write_bytes(whole[:-10])
    with pytest.raises(ValueError, match=f"record 0 of .*{FILE}.tfrecord, .* is cut off"):
        list(read_sequences(str(tmp_path), "train"))
    path.write_bytes(whole[:5000] + bytes([whole[5000] ^ 8]) + whole[5001:])
    with pytest.raises(ValueError, match=f"record 0 of .*{FILE}.tfrecord, .* wrong checksum"):
        list(read_sequences(str(tmp_path), "train"))


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no \.tfrecord file in"):
        read_sequences(str(tmp_path), "train")
    with pytest.raises(ValueError, match="no split 'val'"):
        read_sequences(str(tmp_path), "val")
