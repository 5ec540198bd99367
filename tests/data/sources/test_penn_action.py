import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io

from tests.data.sources.filmed_person import HEIGHT, WIDTH, Filmed, film, write_frames
from vibe_ray import prepare, storage
from vibe_ray.body.skeletons import KEYPOINTS, PENN_ACTION_13
from vibe_ray.data.checks import check_sequence
from vibe_ray.data.sequences import read_label_sequences
from vibe_ray.data.shards import read_manifest
from vibe_ray.data.sources.penn_action import read_sequences
from vibe_ray.data.targets import pose_targets

N = 12


def mat(person: Filmed, **changes: Any) -> bytes:
    """A label file, as the data set's README describes it."""
    kp = person.of(PENN_ACTION_13)
    visibility = np.ones((N, 13))
    visibility[:, PENN_ACTION_13.index("lwrist")] = 0
    known = {
        "action": "baseball_pitch",
        "pose": "front",
        "x": kp[..., 0],
        "y": kp[..., 1],
        "visibility": visibility,
        "train": 1,
        "bbox": np.tile([1.0, 1, WIDTH, HEIGHT], (N, 1)),
        "dimensions": [HEIGHT, WIDTH, N],
        "nframes": N,
    }
    file = io.BytesIO()
    scipy.io.savemat(file, known | changes, do_compression=True)
    return file.getvalue()


@pytest.fixture
def person() -> Filmed:
    return film(N, 1)


@pytest.fixture
def root(tmp_path: Path, person: Filmed) -> Path:
    raw = tmp_path / "Penn_Action"
    (raw / "labels").mkdir(parents=True)
    (raw / "labels/0001.mat").write_bytes(mat(person))
    (raw / "labels/0002.mat").write_bytes(mat(film(N), train=-1))
    for name in ("0001", "0002"):
        write_frames(raw / "frames" / name, [f"{n + 1:06d}.jpg" for n in range(N)])
    return raw


def test_values_are_the_truth(root: Path, person: Filmed) -> None:
    (labels,) = read_sequences(str(root), "train")
    assert (labels.key, labels.fps) == (("0001", "0"), 25.0)
    np.testing.assert_array_equal(labels.frame_index, np.arange(N))
    assert labels.images[-1] == f"{root}/frames/0001/{N:06d}.jpg"
    assert (labels.width, labels.height) == (WIDTH, HEIGHT)
    np.testing.assert_allclose(labels.kp_2d, person.of(PENN_ACTION_13), atol=1e-4)
    assert not list(check_sequence("here", labels))
    targets = pose_targets(labels)
    for name in PENN_ACTION_13:  # by name, which VIBE's own preprocessing gets wrong
        column = KEYPOINTS.index(name)
        if name == "lwrist":
            assert not targets["kp_2d_conf"][:, column].any()
            continue
        expected = 2 * (person.kp_2d[:, column] - labels.box[:, :2]) / labels.box[:, 2:]
        np.testing.assert_allclose(targets["kp_2d"][:, column], expected, atol=1e-4)
        assert (targets["kp_2d_conf"][:, column] == 1).all()
    assert targets["kp_2d_conf"].sum() == 12 * N
    assert not targets["has_kp_3d"].any()
    assert not targets["has_smpl"].any()


def test_prepare_writes_one_split(root: Path, tmp_path: Path) -> None:
    out = str(tmp_path / "out")
    prepare.main(["penn_action", "--raw", str(root), "--out", out, "--split", "test"])
    assert read_manifest(out, "labels").num_frames == N
    (labels,) = read_label_sequences(out)
    (expected,) = read_sequences(str(root), "test")
    assert labels.sequence == "0002"
    np.testing.assert_array_equal(labels.kp_2d, expected.kp_2d)


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"", "no .mat file, or cut off"),
        (mat(film(N))[:400], "no .mat file, or cut off"),
        (mat(film(N))[:1500], "no .mat file, or cut off"),
        (mat(film(N), x=np.zeros((N, 14))), r"of shapes .*: expected \(12, 13\) each"),
        (mat(film(N), visibility=np.zeros((N, 13))), "fewer than three joints are visible"),
    ],
)
def test_a_bad_file_is_told_in_words(tmp_path: Path, raw: bytes, message: str) -> None:
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels/0001.mat").write_bytes(raw)
    with pytest.raises(ValueError, match=message):
        list(read_sequences(str(tmp_path), "train"))


def test_another_set_s_file(tmp_path: Path) -> None:
    (tmp_path / "labels").mkdir()
    scipy.io.savemat(tmp_path / "labels/annot.mat", {"annot2": np.zeros((14, 56))})
    with pytest.raises(ValueError, match=r"no label file of Penn Action: no x, y, .* among annot2"):
        list(read_sequences(str(tmp_path), "train"))


def test_missing_pictures_are_told_when_labels_are_made(root: Path) -> None:
    (root / "frames/0001/000003.jpg").unlink()
    recording = read_sequences(str(root), "train").items[0]
    with pytest.raises(ValueError, match=r"1 of 12 frames are missing, first 000003\.jpg in"):
        recording.read()


def test_a_store_that_does_not_answer_is_no_file_s_fault(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else each video would be left out, one after the other."""

    def fails(path: str) -> bytes:
        raise ConnectionError("the store is gone")

    monkeypatch.setattr(storage, "read_part", fails)
    with pytest.raises(ConnectionError, match="the store is gone"):
        list(read_sequences(str(root), "train"))


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no \.mat file in"):
        read_sequences(str(tmp_path), "train")
    with pytest.raises(ValueError, match="no split 'val'"):
        read_sequences(str(tmp_path), "val")
