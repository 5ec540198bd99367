import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from weakref import ref

import numpy as np
import pyarrow as pa
import pytest

from tests.data import noise
from vibe_ray import storage
from vibe_ray.data import sequences
from vibe_ray.data.manifest import ShardFile
from vibe_ray.data.schema import MAX_CLIP_FRAMES, POSE_ARRAYS
from vibe_ray.data.sequences import (
    NUM_HELD,
    StoredSequence,
    count_sequences,
    read_pose_sequences,
    stored_pose_sequences,
)
from vibe_ray.data.shards import ShardWriter

NUM_FRAMES = (30, MAX_CLIP_FRAMES + 3, 4, 2 * MAX_CLIP_FRAMES, 9)
NUM_CLIPS = (1, 2, 1, 2, 1)


@pytest.fixture
def folder(tmp_path: Path) -> str:
    with ShardWriter(str(tmp_path), noise.header("open_3d/train")) as writer:
        for number, num_frames in enumerate(NUM_FRAMES):
            writer.write(noise.pose_sequence(f"s{number}", num_frames, number))
    return str(tmp_path)


@pytest.mark.parametrize(
    "which",
    [slice(None), slice(0, None, 2), slice(1, None, 2), slice(2, 4), slice(3, 2, 4), [], [0, 3, 4]],
)
def test_of_the_others_no_clip_is_read(
    folder: str, which: slice | list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[int] = []

    def note(path: str, file: ShardFile, row: int) -> pa.Table:
        read.append(row)
        return read_clip(path, file, row)

    read_clip = sequences.read_clip
    monkeypatch.setattr(sequences, "read_clip", note)
    found = list(read_pose_sequences(folder, which))
    expected = list(range(5))[which] if isinstance(which, slice) else which
    assert [sequence.sequence for sequence in found] == [f"s{n}" for n in expected]
    assert [sequence.num_frames for sequence in found] == [NUM_FRAMES[n] for n in expected]
    assert len(read) == sum(NUM_CLIPS[n] for n in expected)


def test_sequences_are_counted_not_clips(folder: str) -> None:
    assert count_sequences(folder) == len(NUM_FRAMES)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda lengths: lengths.append(5), "has 7 clips, the manifest says 8: prepare the data"),
        (lambda lengths: lengths.insert(0, 1 + lengths.pop(0)), r"clips of \[30, .* says \[31, "),
    ],
)
def test_a_file_with_other_clips_than_its_manifest_says_is_refused(
    folder: str, change: Callable[[list[int]], None], words: str
) -> None:
    path = Path(folder) / storage.MANIFEST
    manifest = json.loads(path.read_text())
    change(manifest["files"][0]["clip_frames"])
    path.write_text(json.dumps(manifest))
    with pytest.raises(ValueError, match=words):
        list(read_pose_sequences(folder))


def test_of_a_long_sequence_one_clip_is_held_beside_what_is_joined(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    num_clips = 5
    sequence = noise.pose_sequence("long", num_clips * MAX_CLIP_FRAMES, 0)
    with ShardWriter(str(tmp_path), noise.header("open_3d/test")) as writer:
        writer.write(sequence)
    read = sequences.read_clip
    tables: list[ref[pa.Table]] = []
    held: list[int] = []

    def counted(*clip: Any) -> pa.Table:
        held.append(sum(table() is not None for table in tables))
        table = read(*clip)
        tables.append(ref(table))
        return table

    monkeypatch.setattr(sequences, "read_clip", counted)
    (joined,) = read_pose_sequences(str(tmp_path))
    np.testing.assert_array_equal(joined.features, sequence.features)
    assert len(held) == num_clips
    assert max(held) <= 2  # the first, which names the sequence, and the one before


def test_of_a_stored_sequence_are_read_the_clips_that_are_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    num_frames = 6 * MAX_CLIP_FRAMES + 7
    with ShardWriter(str(tmp_path), noise.header("open_3d/test")) as writer:
        writer.write(noise.pose_sequence("before", 5, 1))
        writer.write(noise.pose_sequence("long", num_frames, 2))
        writer.write(noise.pose_sequence("after", MAX_CLIP_FRAMES + 1, 3))
    whole = list(read_pose_sequences(str(tmp_path)))
    read, asked = sequences.read_clip, []
    monkeypatch.setattr(sequences, "read_clip", lambda *clip: asked.append(1) or read(*clip))
    before, stored, after = stored_pose_sequences(str(tmp_path))
    assert len(asked) == 1 + 1 + 2
    assert isinstance(stored, StoredSequence)
    for short, expected in ((before, whole[0]), (after, whole[2])):
        np.testing.assert_array_equal(short.take(np.arange(5)).pose, expected.pose[:5])
    for name in ("dataset", "sequence", "person", "num_frames"):
        assert getattr(stored, name) == getattr(whole[1], name)
    for name in ("has_kp_3d", "has_smpl", "valid"):
        np.testing.assert_array_equal(getattr(stored, name), getattr(whole[1], name))
    shuffled = np.random.default_rng(0).integers(num_frames, size=300)
    for frames in (np.array([num_frames - 1, 0]), shuffled, np.arange(500, 530)[::-1]):
        found, expected = stored.take(frames), whole[1].take(frames)
        assert found.start_frame == expected.start_frame
        for name in POSE_ARRAYS:
            np.testing.assert_array_equal(getattr(found, name), getattr(whole[1], name)[frames])
            np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))
    asked.clear()
    for frames in np.array_split(np.arange(num_frames), 40):
        stored.take(frames)
    assert len(asked) <= 7, "clips are read again before the frames after them are wanted"
    assert stored._read.cache_info().currsize <= NUM_HELD
