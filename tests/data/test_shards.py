import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from tests.data import noise
from vibe_ray import storage
from vibe_ray.data import journal, shards
from vibe_ray.data.clips import read_clip
from vibe_ray.data.labels import AnySequence, LabelNames
from vibe_ray.data.schema import MAX_CLIP_FRAMES, PoseSequence
from vibe_ray.data.sequences import read_label_sequences, read_motion_sequences, read_pose_sequences
from vibe_ray.data.shards import ShardWriter, read_finished, read_manifest


def assert_same(found: AnySequence, expected: AnySequence) -> None:
    assert vars(found).keys() == vars(expected).keys()
    for name, value in vars(expected).items():
        other = getattr(found, name)
        if isinstance(value, np.ndarray):
            assert other.dtype == value.dtype
            np.testing.assert_array_equal(other, value, err_msg=name)
        else:
            assert other == value


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.fixture
def tiny_files(monkeypatch: pytest.MonkeyPatch) -> int:
    """Make files end after about as many bytes as 100 frames of a pose sequence have."""
    num_bytes = 100 * sum(
        value.nbytes
        for value in vars(noise.pose_sequence("walk", 1)).values()
        if isinstance(value, np.ndarray)
    )
    monkeypatch.setattr(shards, "FILE_BYTES", num_bytes)
    return num_bytes


def test_pose_sequences_come_back_as_they_went_in(tmp_path: Path) -> None:
    written = [
        noise.pose_sequence("walk", 30, 1, start_frame=100),
        noise.pose_sequence("walk", 5, 2, person="1"),
        noise.pose_sequence("run", 2 * MAX_CLIP_FRAMES + 3, 3),
        noise.pose_sequence("stand", MAX_CLIP_FRAMES, 4),
    ]
    with ShardWriter(str(tmp_path), noise.header("open_3d/train")) as writer:
        for sequence in written:
            writer.write(sequence)
    manifest = read_manifest(str(tmp_path))
    assert list(manifest.files[0].clip_frames) == [30, 5, 512, 512, 3, 512]
    for found, expected in zip(read_pose_sequences(str(tmp_path)), written, strict=True):
        assert_same(found, expected)


def test_motion_sequences_come_back_as_they_went_in(tmp_path: Path) -> None:
    written = [noise.motion_sequence("run", 700, 1), noise.motion_sequence("jump", 9, 2)]
    with ShardWriter(str(tmp_path), noise.header("motion/train")) as writer:
        for sequence in written:
            writer.write(sequence)
    assert read_manifest(str(tmp_path), "motion").num_frames == 709
    for found, expected in zip(read_motion_sequences(str(tmp_path)), written, strict=True):
        assert_same(found, expected)


def test_labels_come_back_as_they_went_in(tmp_path: Path) -> None:
    images = tuple(f"{noise.RAW}/jump/{number:05d}.jpg" for number in range(700))
    written = [
        noise.labelled_sequence("run", 5, 1),
        noise.labelled_sequence("run", 9, 1, person="1"),
        noise.labelled_sequence("jump", 700, 2, video="", images=images),
        noise.labelled_sequence("none", 3, 4, video=""),
    ]
    with ShardWriter(str(tmp_path), noise.header("labels/train")) as writer:
        for sequence in written:
            writer.write(sequence)
    assert read_manifest(str(tmp_path), "labels").num_frames == 717
    for found, expected in zip(read_label_sequences(str(tmp_path)), written, strict=True):
        assert_same(found, expected)


@pytest.mark.parametrize("names", [LabelNames(), LabelNames(kp_2d=("nose",))])
def test_labels_without_some_kinds_of_keypoints_come_back(
    tmp_path: Path, names: LabelNames
) -> None:
    written = noise.labelled_sequence("run", 5, names=names)
    with ShardWriter(str(tmp_path), noise.header("labels/train", names=names)) as writer:
        writer.write(written)
    (found,) = read_label_sequences(str(tmp_path))
    assert_same(found, written)


def test_pixels_may_have_moved_since_the_labels_were_made(tmp_path: Path) -> None:
    with ShardWriter(str(tmp_path), noise.header("labels/train")) as writer:
        writer.write(noise.labelled_sequence("a/run", 5))
    (found,) = read_label_sequences(str(tmp_path), raw="s3://bucket/videos")
    assert found.video == "s3://bucket/videos/a/run.mp4"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"video": "/elsewhere/run.mp4"}, "/elsewhere/run.mp4 is not below '/raw'"),
        ({"video": "/rawer/run.mp4"}, "/rawer/run.mp4 is not below '/raw'"),
        ({"names": LabelNames(kp_2d=("nose",))}, "run: key-points are called .*'nose'"),
    ],
)
def test_labels_that_do_not_fit_the_manifest_are_refused(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    sequence = noise.labelled_sequence("run", 5, **changes)
    with (
        pytest.raises(ValueError, match=message),
        ShardWriter(str(tmp_path), noise.header("labels/train")) as writer,
    ):
        writer.write(sequence)


def test_features_are_stored_in_half_precision(tmp_path: Path) -> None:
    features = np.linspace(0, 3, 5 * noise.F, dtype=np.float32).reshape(5, noise.F)
    with ShardWriter(str(tmp_path), noise.header("open_3d/train")) as writer:
        writer.write(noise.pose_sequence("walk", 5, features=features))
    (found,) = read_pose_sequences(str(tmp_path))
    np.testing.assert_array_equal(found.features, features.astype(np.float16))


def test_another_reader_finds_a_clip_in_each_row(tmp_path: Path) -> None:
    sequence = noise.pose_sequence("walk", 600)
    with ShardWriter(str(tmp_path), noise.header("open_3d/train")) as writer:
        writer.write(sequence)
    (path,) = tmp_path.glob("*.parquet")
    assert pq.ParquetFile(path).num_row_groups == 2
    table = pq.read_table(path).to_pylist()
    assert [(row["start_frame"], row["num_frames"]) for row in table] == [(0, 512), (512, 88)]
    kp_3d = np.concatenate([np.frombuffer(row["kp_3d"], "<f4") for row in table])
    np.testing.assert_array_equal(kp_3d.reshape(600, 49, 3), sequence.kp_3d)
    (file,) = read_manifest(str(tmp_path)).files
    one = read_clip(str(tmp_path), file, 1)
    assert one.to_pylist() == [table[1]]


def test_sequences_of_one_name_stay_apart(tmp_path: Path) -> None:
    with ShardWriter(str(tmp_path), noise.header("open_3d/train")) as writer:
        for recording in ("monday/walk", "sunday/walk"):
            writer.write_recording(recording, [noise.pose_sequence("walk", 30)])
    assert [sequence.num_frames for sequence in read_pose_sequences(str(tmp_path))] == [30, 30]


def test_files_are_bounded_and_end_with_a_sequence(tmp_path: Path, tiny_files: int) -> None:
    with ShardWriter(str(tmp_path), noise.header("open_3d/train")) as writer:
        for number, num_frames in enumerate((60, 60, 30, 90, 5)):
            writer.write(noise.pose_sequence(f"s{number}", num_frames, number))
    files = read_manifest(str(tmp_path)).files
    assert [list(file.clip_frames) for file in files] == [[60], [60, 30], [90, 5]]
    for file in files:
        assert (tmp_path / file.name).stat().st_size == file.num_bytes < 1.5 * tiny_files


def test_a_sequence_larger_than_a_file_is_split(tmp_path: Path, tiny_files: int) -> None:
    written = [noise.pose_sequence("a", 5), noise.pose_sequence("b", 1100)]
    written.append(noise.pose_sequence("c", 5))
    with ShardWriter(str(tmp_path), noise.header("open_3d/train")) as writer:
        for sequence in written:
            writer.write(sequence)
    files = read_manifest(str(tmp_path)).files
    assert [list(file.clip_frames) for file in files] == [[5], [512], [512], [76], [5]]
    for found, expected in zip(read_pose_sequences(str(tmp_path)), written, strict=True):
        assert_same(found, expected)


def write_and_fail(out: Path, sequences: list[PoseSequence]) -> None:
    """Be interrupted when these have been written and more were to come."""
    with (
        suppress(KeyboardInterrupt),
        ShardWriter(str(out), noise.header("open_3d/train")) as writer,
    ):
        for sequence in sequences:
            writer.write(sequence)
        raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("after", "finished"), [(0, []), (1, []), (3, ["s0"]), (5, ["s0", "s1", "s2", "s3"])]
)
def test_an_interrupted_run_is_taken_up_and_ends_the_same(
    tmp_path: Path, tiny_files: int, after: int, finished: list[str]
) -> None:
    sequences = [noise.pose_sequence(f"s{i}", n, i) for i, n in enumerate((60, 60, 30, 1100, 5, 9))]
    header = noise.header("open_3d/train")
    with ShardWriter(str(tmp_path / "whole"), header) as writer:
        for sequence in sequences:
            writer.write(sequence)

    out = tmp_path / "taken_up"
    write_and_fail(out, sequences[:after])
    with pytest.raises(FileNotFoundError, match="no data set"):
        read_manifest(str(out))
    before = {path: path.stat().st_mtime_ns for path in out.glob("*.parquet")}
    with ShardWriter(str(out), header) as writer:
        assert [s.sequence for s in sequences if writer.is_finished(f"{s.sequence}/0")] == finished
        for sequence in sequences:
            writer.write(sequence)
    assert contents(out) == contents(tmp_path / "whole")
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_an_object_store_is_taken_up_as_a_disk_is(
    s3: str, tmp_path: Path, tiny_files: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal, "SAVE_S", 0.0)
    convert(str(tmp_path))
    for out in (s3, f"{s3}/below"):
        with pytest.raises(KeyboardInterrupt):
            convert(out, 5)
        assert convert(out) == [5, 6]
    names = [path.removeprefix(f"{s3}/below/") for path in storage.list_files(f"{s3}/below")]
    assert {n: storage.read_bytes(f"{s3}/below/{n}") for n in names} == contents(tmp_path)


def pieces_of(number: int) -> list[PoseSequence]:
    """What a recording holds: one to four pieces; some fill files of their own."""
    sizes = [(60,), (20, 30, 5), (9,), (5, 1100, 40, 7), (), (50, 50), (3,)][number]
    return [
        noise.pose_sequence(f"r{number}_part{part:02d}", size, 10 * number + part)
        for part, size in enumerate(sizes)
    ]


def convert(out: str | Path, stop_at: int = -1) -> list[int]:
    """Convert seven recordings, killed before `stop_at`; return those that were read."""
    read = []
    with ShardWriter(str(out), noise.header("open_3d/train")) as writer:
        for number in range(7):
            if number == stop_at:
                raise KeyboardInterrupt
            if writer.is_finished(f"r{number}"):
                continue
            read.append(number)
            if number == 4:
                writer.skip("r4", "it is odd")
            else:
                writer.write_recording(f"r{number}", pieces_of(number))
    return read


@pytest.mark.parametrize("save_s", [0.0, 1e9], ids=["saved after each", "saved with files"])
@pytest.mark.parametrize("stop_at", range(7))
def test_a_writer_killed_between_recordings_is_taken_up_and_ends_the_same(
    tmp_path: Path, tiny_files: int, monkeypatch: pytest.MonkeyPatch, stop_at: int, save_s: float
) -> None:
    monkeypatch.setattr(journal, "SAVE_S", save_s)
    assert convert(tmp_path / "whole") == list(range(7))
    with pytest.raises(KeyboardInterrupt):
        convert(tmp_path / "killed", stop_at)
    read = convert(tmp_path / "killed")
    if save_s == 0:  # nothing that was done is read again
        assert read == list(range(stop_at, 7))
    assert contents(tmp_path / "killed") == contents(tmp_path / "whole")
    assert json.loads((tmp_path / "whole/skipped.json").read_text()) == {"r4": "it is odd"}


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_writer_killed_at_any_change_of_its_folder_is_taken_up_and_ends_the_same(
    tmp_path: Path, tiny_files: int, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    """Killed again and again: at the first change, then at the second of what is left, ..."""
    monkeypatch.setattr(journal, "SAVE_S", 0.0)
    convert(tmp_path / "whole")
    num_left = [0]

    def deadly(change: Callable[..., None]) -> Callable[..., None]:
        def killed(*args: Any) -> None:
            num_left[0] -= 1
            if num_left[0] == 0 and moment == "before":
                raise KeyboardInterrupt
            change(*args)
            if num_left[0] == 0:
                raise KeyboardInterrupt

        return killed

    for name in ("write_bytes_atomic", "delete_file"):
        monkeypatch.setattr(storage, name, deadly(getattr(storage, name)))
    for attempt in range(1, 100):
        num_left[0] = attempt
        try:
            convert(tmp_path / "killed")
        except KeyboardInterrupt:
            continue
        break
    assert attempt > 5
    assert contents(tmp_path / "killed") == contents(tmp_path / "whole")


def test_two_recordings_of_one_name_are_refused(tmp_path: Path) -> None:
    sequence = noise.pose_sequence("walk", 30)
    with ShardWriter(str(tmp_path), noise.header("open_3d/train")) as writer:
        writer.write(sequence)
        with pytest.raises(ValueError, match=r"two recordings for .* are called 'walk/0': rename"):
            writer.write(sequence)


def test_where_all_was_skipped_the_next_run_tries_again(tmp_path: Path) -> None:
    for _ in range(2):
        with (
            pytest.raises(ValueError, match=r"none of the 1 recordings .*first: a\.x: it is odd"),
            ShardWriter(str(tmp_path), noise.header("open_3d/train")) as writer,
        ):
            writer.skip("a.x", "it is odd")
    assert contents(tmp_path) == {}


def test_a_data_set_written_anew_forgets_what_was_skipped_before(tmp_path: Path) -> None:
    for skips in (True, False):
        with ShardWriter(str(tmp_path), noise.header("open_3d/train")) as writer:
            writer.write(noise.pose_sequence("walk", 30))
            if skips:
                writer.skip("a.x", "it is odd")
        assert (tmp_path / "skipped.json").exists() == skips


def test_what_another_header_has_begun_is_not_taken_up(tmp_path: Path, tiny_files: int) -> None:
    sequences = [noise.pose_sequence(f"s{i}", 80, i) for i in range(3)]
    write_and_fail(tmp_path, sequences)
    newer = noise.header("open_3d/train", converter_version=2)
    with ShardWriter(str(tmp_path), newer) as writer:
        assert not writer.is_finished("s0/0")
        writer.write(sequences[2])
    names = {file.name for file in read_manifest(str(tmp_path)).files} | {"manifest.json"}
    assert contents(tmp_path).keys() == names


def test_writing_anew_replaces_only_what_differs(tmp_path: Path, tiny_files: int) -> None:
    def write(numbers: tuple[int, ...]) -> dict[str, int]:
        with ShardWriter(str(tmp_path), noise.header("open_3d/train")) as writer:
            for number in numbers:
                writer.write(noise.pose_sequence(f"s{number}", 80, number))
        return {path.name: path.stat().st_mtime_ns for path in tmp_path.glob("*.parquet")}

    before, after = write((0, 1, 2)), write((0, 1, 3))
    assert len(before) == len(after) == 3
    assert len(before.items() & after.items()) == 2
    assert [sequence.sequence for sequence in read_pose_sequences(str(tmp_path))] == [
        "s0",
        "s1",
        "s3",
    ]


def test_nothing_to_write_is_an_error(tmp_path: Path) -> None:
    with (
        pytest.raises(ValueError, match="no usable sequence"),
        ShardWriter(str(tmp_path), noise.header("open_3d/train")),
    ):
        pass
    assert not contents(tmp_path)


@pytest.mark.parametrize(
    ("sequence", "header", "message"),
    [
        (noise.motion_sequence, "open_3d/train", "s is a motion sequence, the manifest says pose"),
        (noise.pose_sequence, "motion/train", "s is a pose sequence, the manifest says motion"),
    ],
)
def test_a_sequence_of_the_other_kind_is_refused(
    tmp_path: Path, sequence: Callable[..., AnySequence], header: str, message: str
) -> None:
    with (
        pytest.raises(ValueError, match=message),
        ShardWriter(str(tmp_path), noise.header(header)) as writer,
    ):
        writer.write(sequence("s", 5))


@pytest.mark.parametrize(
    "changes", [{"encoder_id": "other"}, {"features": np.zeros((5, 8), np.float16)}]
)
def test_a_sequence_of_another_encoder_is_refused(tmp_path: Path, changes: dict[str, Any]) -> None:
    with (
        pytest.raises(ValueError, match=r"encoder and feature width are .*\('noise', 16\)"),
        ShardWriter(str(tmp_path), noise.header("open_3d/train")) as writer,
    ):
        writer.write(noise.pose_sequence("s", 5, **changes))


def test_a_missing_data_set_names_the_command_that_makes_one(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"python -m vibe_ray\.prepare"):
        read_manifest(str(tmp_path / "none"))


def test_another_schema_version_is_told_before_what_else_it_may_hold(tmp_path: Path) -> None:
    newer = {"schema_version": 2, "colour": "red"}
    (tmp_path / "manifest.json").write_text(json.dumps(newer))
    with pytest.raises(ValueError, match=r"schema version 2, .* reads 1: prepare the data anew"):
        read_manifest(str(tmp_path))


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"schema_version": 1, "kind": "pose"}'])
def test_what_is_no_manifest_is_called_so(tmp_path: Path, text: str) -> None:
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(ValueError, match=r"manifest\.json is not a manifest"):
        read_manifest(str(tmp_path))


def test_the_other_kind_of_shards_is_refused(shards: str) -> None:
    with pytest.raises(ValueError, match="holds motion shards, expected pose shards"):
        read_manifest(f"{shards}/motion/train", "pose")


@pytest.mark.parametrize("is_gone", [False, True])
def test_writing_anew_mends_what_was_damaged(tmp_path: Path, is_gone: bool) -> None:
    header = noise.header("open_3d/train")

    def write() -> dict[str, bytes]:
        with ShardWriter(str(tmp_path), header) as writer:
            writer.write(noise.pose_sequence("walk", 30))
        return contents(tmp_path)

    whole = write()
    assert read_finished(str(tmp_path), header) is not None
    (path,) = tmp_path.glob("*.parquet")
    damaged = bytearray(path.read_bytes())
    damaged[len(damaged) // 3] ^= 1
    path.unlink() if is_gone else path.write_bytes(damaged)
    assert read_finished(str(tmp_path), header) is None, "it is to be made again"
    assert write() == whole
