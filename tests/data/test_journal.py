from pathlib import Path

import pytest

from tests.data import noise
from vibe_ray.data import journal
from vibe_ray.data.journal import Journal
from vibe_ray.data.manifest import Manifest
from vibe_ray.data.rows import encode_clip

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
