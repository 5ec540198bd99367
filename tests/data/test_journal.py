import json
from pathlib import Path
from typing import Any

import pytest

from tests.data import noise
from vibe_ray import storage
from vibe_ray.data import journal
from vibe_ray.data.journal import Journal
from vibe_ray.data.manifest import Manifest
from vibe_ray.data.rows import encode_clip
from vibe_ray.data.shards import ShardWriter, read_manifest

HEADER = noise.header("open_3d/train")
ROWS = [
    encode_clip(HEADER, noise.pose_sequence(f"s{number}", 5, number), slice(0, 5))
    for number in range(4)
]


def files(out: Path) -> set[str]:
    return {path.name for path in out.iterdir()}


def opened(out: Path, header: Manifest = HEADER) -> Journal:
    return Journal(str(out), header, files(out))


def test_what_was_saved_is_taken_over(tmp_path: Path) -> None:
    first = opened(tmp_path)
    assert first.read_pending() == []
    for number in range(4):
        first.note(f"r{number}", "it is odd" if number == 1 else "")
        first.save(ROWS[: number + 1])
    assert len(files(tmp_path)) == 1 + 4  # each row was written once
    second = opened(tmp_path)
    assert second.read_pending() == ROWS
    assert second.finished == {"r0", "r1", "r2", "r3"}
    assert second.progress.skipped == {"r1": "it is odd"}
    second.close()
    assert files(tmp_path) == set()


def test_what_was_not_saved_is_not_taken_over(tmp_path: Path) -> None:
    first = opened(tmp_path)
    first.note("r0")
    first.save(ROWS[:1])
    first.note("r1")  # and then it was killed
    second = opened(tmp_path)
    assert second.read_pending() == ROWS[:1]
    assert second.finished == {"r0"}


def test_rows_that_went_into_a_file_wait_no_more(tmp_path: Path) -> None:
    writer = opened(tmp_path)
    writer.save(ROWS[:2])
    writer.clear_pending()
    assert len(files(tmp_path)) == 2  # until the new state is saved, the old one holds
    writer.save(ROWS[2:])
    assert len(files(tmp_path)) == 2
    assert opened(tmp_path).read_pending() == ROWS[2:]


@pytest.mark.parametrize("damage", ["another header", "a lost file", "another version"])
def test_what_does_not_fit_is_not_taken_over(tmp_path: Path, damage: str) -> None:
    first = opened(tmp_path)
    first.note("r0")
    first.save(ROWS[:1])
    header = HEADER
    if damage == "another header":
        header = HEADER.model_copy(update={"source": "elsewhere"})
    if damage == "a lost file":
        next(tmp_path.glob("*.parquet")).unlink()
    if damage == "another version":
        (tmp_path / "progress.json").write_text('{"manifest": {}, "sequences": []}')
    second = opened(tmp_path, header)
    assert second.read_pending() == []
    assert second.finished == set()
    second.close()
    assert files(tmp_path) == set()


def test_saving_is_due_by_the_clock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(journal.time, "monotonic", lambda: now[0])
    writer = opened(tmp_path)
    assert not writer.is_due
    now[0] += journal.SAVE_S
    assert writer.is_due
    writer.save(ROWS[:1])
    assert not writer.is_due


def foreign(out: str, *names: str) -> None:
    for name in names:
        storage.write_bytes_atomic(storage.join(out, name), name.encode())


def contents(out: str) -> dict[str, bytes]:
    names = storage.visible_files(out)
    return {name: storage.read_bytes(storage.join(out, name)) for name in names}


@pytest.fixture(params=["disk", "memory"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    is_local = request.param == "disk"
    return str(tmp_path / "out") if is_local else f"memory://journal/{tmp_path.name}"


def write(out: str, *names: str, **changes: Any) -> None:
    header = noise.header("motion/train").model_copy(update=changes)
    with ShardWriter(out, header) as writer:
        for number, name in enumerate(names):
            writer.write(noise.motion_sequence(name, 20, number))


@pytest.mark.parametrize(
    "names",
    [
        ("mine.parquet",),
        ("part-00000-0123456789ab.parquet",),
        ("pending-0123456789ab.parquet",),
        ("notes.txt", "deeper/down/mine.parquet"),
        ("manifest.json",),
    ],
)
def test_a_folder_of_the_users_is_refused_and_stays(place: str, names: tuple[str, ...]) -> None:
    foreign(place, *names)
    before = contents(place)
    with pytest.raises(FileExistsError, match="is not empty, and no data set"):
        write(place, "a")
    assert contents(place) == before


def test_a_shard_in_a_subfolder_is_not_taken_for_one_here(place: str) -> None:
    write(storage.join(place, "copy"), "a")
    with pytest.raises(FileExistsError, match="is not empty, and no data set: it holds copy/"):
        write(place, "a")


def test_of_a_data_set_only_its_own_files_are_replaced(place: str) -> None:
    write(place, "a")
    first = contents(place)
    foreign(place, "mine.parquet", "part-00007-0123456789ab.parquet", "below/part.parquet")
    write(place, "a", "b", fps=50.0)
    second = contents(place)
    assert {name for name in second if name not in first} == {
        "mine.parquet",
        "part-00007-0123456789ab.parquet",
        "below/part.parquet",
        *(file.name for file in read_manifest(place).files),
    }
    assert {name for name in first if name not in second} == set(first) - {"manifest.json"}


@pytest.mark.parametrize(
    "changes", [{"dataset": "other"}, {"split": "val"}, {"converter": "other"}]
)
def test_another_data_set_is_refused_and_stays(place: str, changes: dict[str, str]) -> None:
    write(place, "a")
    before = contents(place)
    with pytest.raises(FileExistsError, match="holds another data set: kind motion, dataset"):
        write(place, "b", **changes)
    assert contents(place) == before


def test_a_folder_says_whose_it_is_before_the_first_file_is_in_it(
    place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the next run would take what a killed one left for the user's."""
    put = storage.write_bytes_atomic
    killed: list[str] = []

    def deadly(path: str, content: bytes) -> None:
        put(path, content)
        if path.endswith(".parquet") and not killed:
            killed.append(path)
            raise KeyboardInterrupt

    monkeypatch.setattr(storage, "write_bytes_atomic", deadly)
    with pytest.raises(KeyboardInterrupt):
        write(place, "a")
    write(place, "a")
    assert len(read_manifest(place).files) == 1
    assert set(contents(place)) == {killed[0].rsplit("/", 1)[-1], "manifest.json"}


@pytest.mark.parametrize("name", ["../part.parquet", "/etc/passwd", "a/b.parquet", ".."])
def test_names_that_lead_out_of_the_folder_are_refused(place: str, name: str) -> None:
    write(place, "a")
    path = storage.join(place, "manifest.json")
    manifest = json.loads(storage.read_bytes(path))
    manifest["files"][0]["name"] = name
    storage.write_json(path, manifest)
    with pytest.raises(ValueError, match=r"is not a manifest: files\.0\.name: .*a file is"):
        read_manifest(place)
