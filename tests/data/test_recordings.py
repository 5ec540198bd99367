from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.data import noise
from vibe_ray.data import journal
from vibe_ray.data.recordings import Recording, Recordings, refuse_skip
from vibe_ray.data.schema import MotionSequence
from vibe_ray.data.sequences import read_motion_sequences

HEADER = noise.header("motion/train")
ODD = {"b.x": "it is odd", "d.x": "it is too short"}
NAMES = ["a.x", "b.x", "c.x", "d.x", "e.x"]


class Source:
    """Five recordings, two of which are bad, and what was read of them."""

    def __init__(self, names: Sequence[str] = NAMES, die_at: str = "") -> None:
        self.read: list[str] = []
        self.die_at = die_at
        self.skipped: list[tuple[str, str]] = []
        found = [Recording(name, f"/raw/{name}", lambda n=name: self._read(n)) for name in names]
        self.recordings = Recordings("/raw", found, lambda *skip: self.skipped.append(skip))

    def _read(self, name: str) -> list[MotionSequence]:
        if name == self.die_at:
            raise KeyboardInterrupt
        self.read.append(name)
        if name in ODD:
            raise ValueError(ODD[name])
        num_pieces = 3 if name == "c.x" else 1
        return [noise.motion_sequence(f"{name}_part{i:02d}", 9, i) for i in range(num_pieces)]


def names_in(out: Path) -> list[str]:
    return [sequence.name for sequence in read_motion_sequences(str(out))]


def test_a_recording_is_read_when_its_turn_comes() -> None:
    source = Source()
    sequences = iter(source.recordings)
    assert (len(source.recordings), source.read) == (5, [])
    assert next(sequences).name == "a.x_part00"
    assert source.read == ["a.x"]
    rest = [sequence.name for sequence in sequences]
    assert rest == ["c.x_part00", "c.x_part01", "c.x_part02", "e.x_part00"]
    assert source.skipped == [("/raw/b.x", "it is odd"), ("/raw/d.x", "it is too short")]


def test_what_was_written_and_left_out_is_told(tmp_path: Path) -> None:
    written = Source().recordings.write_to(str(tmp_path), HEADER)
    assert written.skipped == ODD
    assert (written.num_recordings, written.manifest.num_clips) == (5, 5)
    assert names_in(tmp_path) == [sequence.name for sequence in Source().recordings]


@pytest.mark.parametrize("die_at", NAMES)
def test_a_rerun_reads_nothing_that_is_finished_and_ends_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, die_at: str
) -> None:
    monkeypatch.setattr(journal, "SAVE_S", 0.0)
    Source().recordings.write_to(str(tmp_path / "whole"), HEADER)
    out = tmp_path / "killed"
    with pytest.raises(KeyboardInterrupt):
        Source(die_at=die_at).recordings.write_to(str(out), HEADER)
    again = Source()
    written = again.recordings.write_to(str(out), HEADER)
    assert again.read == NAMES[NAMES.index(die_at) :]
    assert written.skipped == ODD  # also those that the first run left out
    first, second = (
        {path.name: path.read_bytes() for path in folder.iterdir()}
        for folder in (tmp_path / "whole", out)
    )
    assert first == second


def test_the_only_recording_speaks_for_itself(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"^/raw/b\.x: it is odd$"):
        Source(["b.x"]).recordings.write_to(str(tmp_path), HEADER)
    with pytest.raises(ValueError, match=r"^/raw/b\.x: it is odd$"):
        list(Source(["b.x"]).recordings)


def test_nothing_usable_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"none of the 2 recordings .*first: b\.x: it is odd"):
        Source(["b.x", "d.x"]).recordings.write_to(str(tmp_path), HEADER)
    with pytest.raises(ValueError, match=r"none of the 2 files in /raw .*first: /raw/b\.x: it is"):
        list(Source(["b.x", "d.x"]).recordings)


def test_no_recordings_are_no_data_set(tmp_path: Path) -> None:
    assert list(Source([]).recordings) == []
    with pytest.raises(ValueError, match=r"the source holds no usable sequence$"):
        Source([]).recordings.write_to(str(tmp_path), HEADER)


def test_a_source_of_our_own_may_not_be_bad() -> None:
    source = Source()
    strict = Recordings("/raw", source.recordings.items, refuse_skip)
    with pytest.raises(ValueError, match=r"/raw/b\.x: it is odd"):
        list(strict)


def test_whoever_watches_sees_every_recording(tmp_path: Path) -> None:
    seen: list[str] = []

    def watch(recordings: Sequence[Recording[MotionSequence]]):  # type: ignore[no-untyped-def]
        for recording in recordings:
            seen.append(recording.name)
            yield recording

    Source().recordings.write_to(str(tmp_path), HEADER, watch)
    assert seen == NAMES
