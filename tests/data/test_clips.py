"""A data set's files are looked at before they are read: damaged or gone, they are named."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from tests.data import noise
from vibe_ray import storage
from vibe_ray.data import clips
from vibe_ray.data.clips import DamagedFileError, check_content, read_clip
from vibe_ray.data.manifest import ShardFile
from vibe_ray.data.mixing import DataConfig, make_plan
from vibe_ray.data.reading import read_shares
from vibe_ray.data.sequences import read_pose_sequences
from vibe_ray.data.shards import ShardWriter, read_manifest


def read_steps(root: str) -> None:
    config = DataConfig(root=root, window_length=5, batch_size=4, motion_batch_size=3)
    plan = make_plan(config, seed=0)
    read_shares(plan, [plan.share(step, 0, 1) for step in range(20)])


def read_sequences(root: str) -> None:
    list(read_pose_sequences(f"{root}/open_3d/train"))


@pytest.fixture
def part(tmp_path: Path) -> Path:
    noise.write_all(str(tmp_path))
    folder = tmp_path / "open_3d/train"
    return folder / read_manifest(str(folder)).files[0].name


HEADER_BYTES = 28
"""Of a page's header and what follows it at once, more or less."""


def flip(part: Path, place: int, bit: int = 2) -> None:
    content = bytearray(part.read_bytes())
    content[place] ^= 1 << bit
    part.write_bytes(content)


def as_before_checksums(folder: Path) -> None:
    """Make of a data set one whose manifest does not say that pages have checksums."""
    manifest = read_manifest(str(folder))
    for file in manifest.files:
        file.footer_bytes = file.footer_sha256 = None
    (folder / storage.MANIFEST).write_text(manifest.text())


@pytest.mark.parametrize("is_old", [False, True])
@pytest.mark.parametrize("read", [read_steps, read_sequences])
@pytest.mark.parametrize("where", [0.02, 0.5, 0.999])
def test_a_flipped_bit_is_noticed_wherever_it_is(
    part: Path, tmp_path: Path, read: Callable[[str], None], where: float, is_old: bool
) -> None:
    if is_old:
        as_before_checksums(part.parent)
    flip(part, int(where * part.stat().st_size))
    how = "its content has the SHA-256" if is_old else "(its footer has the SHA-256|.*CRC checksum)"
    with pytest.raises(DamagedFileError, match=rf"{part} is damaged: {how}"):
        read(str(tmp_path))


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of two clips of three frames."""
    folder = tmp_path_factory.mktemp("small")
    with ShardWriter(str(folder), noise.header("motion/train")) as writer:
        for number in range(2):
            writer.write(noise.motion_sequence(f"s{number}", 3, number))
    return folder


def damage(folder: Path, file: ShardFile) -> str | None:
    """Return what a reader of its second clip says of a file."""
    try:
        read_clip(str(folder), file, 1)
    except DamagedFileError as error:
        return str(error)
    return None


def test_of_each_bit_that_is_read_none_changes_a_number(small: Path, tmp_path: Path) -> None:
    """Every bit of some pages' headers, and some of what they hold.

    A header holds what nothing depends on, such as how many values follow where the next page
    would begin. Such a bit may go unnoticed here; the file's own hash, by which `prepare validate`
    goes, knows it.
    """
    (file,) = read_manifest(str(small)).files
    whole = (small / file.name).read_bytes()
    expected = read_clip(str(small), file, 1)
    footer = pq.read_metadata(small / file.name)
    part, noticed, harmless = tmp_path / file.name, 0, 0
    part.write_bytes(whole)
    for name in ("sequence", "num_frames", "fps", "pose"):
        chunk = footer.row_group(1).column(footer.schema.names.index(name))
        pages = range(chunk.data_page_offset, chunk.data_page_offset + chunk.total_compressed_size)
        bits = [(place, bit) for place in pages[:HEADER_BYTES] for bit in range(8)]
        for place, bit in [*bits, *((place, place % 8) for place in pages[HEADER_BYTES::5])]:
            flip(part, place, bit)
            if (found := damage(tmp_path, file)) is not None:
                assert found.startswith(f"{part} is damaged")
                noticed += 1
            else:
                assert read_clip(str(tmp_path), file, 1).equals(expected)
                harmless += 1
            flip(part, place, bit)
    assert noticed > 4 * harmless


def test_of_each_bit_of_a_footer_none_is_trusted(small: Path, tmp_path: Path) -> None:
    (file,) = read_manifest(str(small)).files
    part = tmp_path / file.name
    part.write_bytes((small / file.name).read_bytes())
    size = part.stat().st_size
    for place in range(size - file.footer_bytes, size, 7):
        flip(part, place, place % 8)
        with pytest.raises(DamagedFileError, match="footer has the SHA-256"):
            read_clip(str(tmp_path), file, 1)
        flip(part, place, place % 8)
    assert read_clip(str(tmp_path), file, 1).equals(read_clip(str(small), file, 1))


def test_a_reader_reads_what_it_needs_and_no_more(
    part: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A footer, then one range: no file is hashed whole."""
    (file,) = read_manifest(str(part.parent)).files
    fetched: list[int] = []
    monkeypatch.setattr(clips.storage, "sha256", None)
    read_bytes, open_ranges = clips.storage.read_bytes, clips.storage.open_ranges

    def noted_bytes(path: str, start: int) -> bytes:
        fetched.append(len(content := read_bytes(path, start)))
        return content

    def noted_ranges(path: str, starts: list[int], ends: list[int]) -> Any:
        fetched.append(max(ends) - min(starts))
        return open_ranges(path, starts, ends)

    monkeypatch.setattr(clips.storage, "read_bytes", noted_bytes)
    monkeypatch.setattr(clips.storage, "open_ranges", noted_ranges)
    table = read_clip(str(part.parent), file, 0)
    assert fetched[0] == file.footer_bytes
    assert table.nbytes < fetched[1] < table.nbytes + 2000
    assert len(fetched) == 2


@pytest.mark.parametrize("read", [read_steps, read_sequences])
def test_what_is_gone_is_named(part: Path, tmp_path: Path, read: Callable[[str], None]) -> None:
    """By an error of a kind that is not tried again: it would be gone again."""
    part.unlink()
    with pytest.raises(ValueError, match=rf"{part} is gone, which the manifest names"):
        read(str(tmp_path))


def test_what_is_whole_is_read_once(part: Path, tmp_path: Path) -> None:
    """The old files, that is."""
    for folder in tmp_path.glob("*/*"):
        as_before_checksums(folder)
    read_steps(str(tmp_path))
    before = check_content.cache_info().misses
    read_steps(str(tmp_path))
    assert check_content.cache_info().misses == before > 0
