"""Reads clips from a data set's files, by the ranges of bytes in which they lie.

What is read is seen to be what was written: pages by their checksums, the footer by its hash in the
manifest. Files of before there were checksums are read whole once in a process instead.
"""

import functools
import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from vibe_ray import storage
from vibe_ray.data.manifest import ShardFile

NUM_FOOTERS = 64
"""Parquet footers that a process keeps: more files than one group of clips lies in."""
FOOTER_BYTES = 2**18
"""Read at first of a file's end, where its footer lies, if the manifest does not know how long."""
MEND = "restore it, or prepare the data set anew"


class DamagedFileError(ValueError):
    """A file is not what was written, or gone; says which, and what to do."""


def read_clip(path: str, file: ShardFile, row: int) -> pa.Table:
    """Read one clip, a table of one row, from a file of a data set, by one read of it.

    Args:
        path: Folder of the data set.
        file: As its manifest has it.
        row: Which clip of the file.

    Raises:
        DamagedFileError: The file is not what was written.
        ValueError: It has no such row.
    """
    footer = _footer(path, file)
    if row >= footer.num_row_groups:
        raise ValueError(f"the file has {footer.num_row_groups} rows")
    with _open_part(path, file.name, footer, [footer.row_group(row)]) as part:
        return part.read_row_group(row, use_threads=False)


def read_columns(path: str, file: ShardFile, columns: Sequence[str]) -> list[dict[str, Any]]:
    """Read these columns of all clips in a file; one that its kind lacks is left out.

    Raises:
        DamagedFileError: The file is not what was written.
    """
    footer = _footer(path, file)
    groups = [footer.row_group(row) for row in range(footer.num_row_groups)]
    with _open_part(path, file.name, footer, groups, columns) as part:
        table = part.read(list(columns), use_threads=False)
    rows: list[dict[str, Any]] = table.to_pylist()
    return rows


@contextmanager
def _open_part(
    path: str,
    name: str,
    footer: pq.FileMetaData,
    groups: Sequence[pq.RowGroupMetaData],
    columns: Sequence[str] = (),
) -> Iterator[pq.ParquetFile]:
    """Open a file to read some of its row groups, and of these some columns or all."""
    chunks = [group.column(index) for group in groups for index in range(group.num_columns)]
    wanted = [chunk for chunk in chunks if not columns or chunk.path_in_schema in columns]
    starts = [chunk.dictionary_page_offset or chunk.data_page_offset for chunk in wanted]
    sizes = [chunk.total_compressed_size for chunk in wanted]
    ends = [start + size for start, size in zip(starts, sizes, strict=True)]
    where = storage.join(path, name)
    with _absence_named(where):
        opened = storage.open_ranges(where, starts, ends)
    with (
        opened as source,
        _damage_named(where),
        pq.ParquetFile(
            source, metadata=footer, pre_buffer=True, page_checksum_verification=True
        ) as file,
    ):
        yield file


@contextmanager
def _absence_named(file: str) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise DamagedFileError(f"{file} is gone, which the manifest names: {MEND}") from None


@contextmanager
def _damage_named(file: str) -> Iterator[None]:
    """Tell what a reader of Parquet stumbles over from what a disk could not deliver."""
    try:
        yield
    except (OSError, pa.ArrowException) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        what = str(error).splitlines()[0].rstrip(".")
        raise DamagedFileError(f"{file} is damaged: {what}: {MEND}") from None


def _footer(path: str, file: ShardFile) -> pq.FileMetaData:
    """Return where a file's rows lie; both are sure to be what was written."""
    if file.footer_sha256 is None:
        check_content(path, file.name, file.sha256)
    return _read_footer(path, file.name, file.footer_bytes, file.footer_sha256)


@functools.cache
def check_content(path: str, name: str, sha256: str) -> None:
    """Make sure that a file is what was written, once in a process.

    Costs one reading of the file; memory holds a piece of it.

    Args:
        path: Folder of the data set.
        name: Of the file.
        sha256: Of its content, as the manifest says.

    Raises:
        DamagedFileError: It is damaged, or gone.
    """
    file = storage.join(path, name)
    with _absence_named(file):
        found = storage.sha256(file)
    if found != sha256:
        raise DamagedFileError(f"{file} is damaged: its content has {_differing(found, sha256)}")


@functools.lru_cache(maxsize=NUM_FOOTERS)
def _read_footer(path: str, name: str, size: int | None, sha256: str | None) -> pq.FileMetaData:
    """Read where a file's rows lie. A name holds the content's hash, so this never grows stale."""
    file = storage.join(path, name)
    with _absence_named(file):
        tail = storage.read_bytes(file, -(size or FOOTER_BYTES))
    if sha256 is not None and (found := hashlib.sha256(tail).hexdigest()) != sha256:
        raise DamagedFileError(f"{file} is damaged: its footer has {_differing(found, sha256)}")
    num_bytes = int.from_bytes(tail[-8:-4], "little") + 8  # with its length, and the magic number
    if num_bytes > len(tail):
        tail = storage.read_bytes(file, -num_bytes)
    with _damage_named(file):
        return pq.read_metadata(pa.BufferReader(tail))


def _differing(found: str, expected: str) -> str:
    return f"the SHA-256 {found[:12]}..., the manifest says {expected[:12]}...: {MEND}"
