from pathlib import Path

import pytest

from tests.data.sources.conftest import bvh_text
from tests.data.sources.test_amass import make_npz
from vibe_ray.data import sources
from vibe_ray.data.sources import SOURCES, Source, gather_motion, read_motion
from vibe_ray.data.sources.conversion import ConversionConfig

MOTION = [source for source in SOURCES if source.kind == "motion"]
FOLDER = Path(sources.__file__).parent


def test_names_are_told_apart() -> None:
    assert len({source.name for source in SOURCES}) == len(SOURCES)
    endings = [source.suffix for source in SOURCES if source.suffix]
    assert len(set(endings)) == len(endings)


def test_every_module_that_reads_sequences_has_its_row() -> None:
    readers = {p.stem for p in FOLDER.glob("*.py") if "def read_sequences(" in p.read_text()}
    assert readers == {source.name for source in SOURCES}


@pytest.mark.parametrize("source", MOTION, ids=lambda source: source.name)
def test_every_row_has_a_reader_that_tells_what_is_missing(source: Source, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=str(tmp_path)):
        source.reader()(str(tmp_path), ConversionConfig())


def test_a_folder_of_mixed_formats_is_read_whole(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep/walk.bvh").write_text(bvh_text())
    (tmp_path / "jump.npz").write_bytes(make_npz())
    (tmp_path / "readme.txt").write_text("about")
    found = [(sequence.dataset, sequence.name) for sequence in read_motion(str(tmp_path))]
    assert found == [("amass", "jump"), ("bvh", "deep/walk")]


def test_a_folder_without_motion_is_told(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no motion in .*: expected \.npz, \.bvh, \.amc f"):
        list(read_motion(str(tmp_path)))


def test_a_users_clip_takes_no_packaged_ones_name(tmp_path: Path) -> None:
    packaged = [clip.name for clip in gather_motion([])]
    taken = tmp_path / f"{packaged[-1]}.npz"
    taken.parent.mkdir(parents=True, exist_ok=True)
    taken.write_bytes(make_npz())
    seen = []
    gathered = gather_motion(
        [str(tmp_path)], watch=lambda clips: (seen.append(c) or c for c in clips)
    )
    assert [clip.name for clip in gathered] == [*packaged, f"{packaged[-1]}_"]
    assert [clip.name for clip in seen] == [packaged[-1]]
