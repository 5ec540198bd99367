import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from vibe_ray.data.schema import MotionSequence
from vibe_ray.data.sources.conversion import (
    Conversion,
    ConversionConfig,
    find_files,
    sequence_name,
)


@pytest.fixture(scope="module")
def short() -> Conversion:
    return Conversion(ConversionConfig(fps=50.0, min_frames=20))


def recording(num_frames: int = 100) -> MotionSequence:
    pose = 0.2 * np.sin(np.arange(num_frames)[:, None] / 20 + np.arange(72))
    return MotionSequence(
        dataset="mine",
        name="clip",
        fps=100.0,
        pose=pose.astype(np.float32),
        trans=np.zeros((num_frames, 3), np.float32),
        betas=np.zeros(10, np.float32),
    )


def test_a_file_is_read_only_when_its_turn_comes(short: Conversion) -> None:
    read = []

    def reader(path: str, name: str) -> MotionSequence:
        read.append(path)
        return dataclasses.replace(recording(), name=name)

    sequences = iter(short.convert("/data", ["/data/a/b.x", "/data/c.x"], reader, _no_skip))
    assert not read
    assert next(sequences).name == "a/b"
    assert read == ["/data/a/b.x"]
    assert next(sequences).name == "c"
    assert list(sequences) == []


def test_a_glitch_makes_two_sequences_of_one(short: Conversion) -> None:
    broken = recording(400)
    broken.pose[150:, 3] += 1.0
    pieces = list(short.convert("/data", ["/data/a.x"], lambda *_: broken, _no_skip))
    assert [piece.name for piece in pieces] == ["clip_part00", "clip_part01"]
    assert [len(piece.pose) for piece in pieces] == [70, 120]
    assert all(piece.fps == 50.0 for piece in pieces)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda s: s.pose.__setitem__(slice(0, None, 30), 1.0), "no 20 clean frames in a row"),
        (lambda s: s.pose.__setitem__(slice(40, 90), -1.0), "the longest run has 15 at 50 frames"),
    ],
)
def test_what_cannot_be_used_is_skipped_with_its_reason(
    short: Conversion, change: Callable[[MotionSequence], None], reason: str
) -> None:
    def reader(path: str, name: str) -> MotionSequence:
        sequence = recording()
        if name == "bad":
            change(sequence)
        return sequence

    skipped: list[tuple[str, str]] = []
    paths = ["/data/bad.x", "/data/good.x"]
    found = list(short.convert("/data", paths, reader, lambda *skip: skipped.append(skip)))
    assert len(found) == 1
    ((path, why),) = skipped
    assert path == "/data/bad.x"
    assert reason in why
    with pytest.raises(ValueError, match=f"/data/bad.x: .*{reason}"):
        list(short.convert("/data", ["/data/bad.x"], reader, _no_skip))


@pytest.mark.parametrize("num_frames", [0, 1, 30])
def test_too_short_is_refused(short: Conversion, num_frames: int) -> None:
    with pytest.raises(ValueError, match="frames"):
        list(short.convert("/d", ["/d/a.x"], lambda *_: recording(num_frames), _no_skip))


def test_nothing_usable_is_an_error(short: Conversion) -> None:
    def reader(path: str, name: str) -> MotionSequence:
        raise ValueError(f"{name} is odd")

    with pytest.raises(ValueError, match=r"none of the 2 files in /d could be used; first: .*a is"):
        list(short.convert("/d", ["/d/a.x", "/d/b.x"], reader, lambda *_: None))


def test_files_are_found_sorted_and_named_by_their_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("b.npz", "a/c.npz", "a/c.txt"):
        (tmp_path / "root" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "root" / name).touch()
    monkeypatch.chdir(tmp_path)
    for root in (str(tmp_path / "root"), "root", "root/", "./root"):
        names = [sequence_name(path, root) for path in find_files(root, ".npz")]
        assert names == ["a/c", "b"]
    assert sequence_name("root/b.npz", "root/b.npz") == "b"
    assert sequence_name("s3://bucket/root/a/c.npz", "s3://bucket/root") == "a/c"
    with pytest.raises(FileNotFoundError, match=r"no \.bvh file in root"):
        find_files("root", ".bvh")


def _no_skip(path: str, reason: str) -> None:
    raise AssertionError(f"{path} was skipped: {reason}")
