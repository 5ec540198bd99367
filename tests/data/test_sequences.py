import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from weakref import ref

import numpy as np
import pyarrow as pa
import pytest

from tests.data import noise
from vibe_ray.data import sequences
from vibe_ray.data.manifest import MANIFEST_FILE, ShardFile
from vibe_ray.data.schema import MAX_CLIP_FRAMES
from vibe_ray.data.sequences import count_sequences, read_pose_sequences
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
    path = Path(folder) / MANIFEST_FILE
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
