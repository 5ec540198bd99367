"""Reads clips from a data set's files, by the ranges of bytes in which they lie.

A file is read whole once in a process, to see that it is what was written; then only what is asked.
"""

import functools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from vibe_ray import storage

NUM_FOOTERS = 64
"""Parquet footers that a process keeps: more files than one group of clips lies in."""
FOOTER_BYTES = 2**18
"""Read at first of a file's end, where its footer lies."""


def read_clip(path: str, name: str, row: int) -> pa.Table:
    """Read one clip, a table of one row, from a file of a data set, by one read of it.

    Raises:
        ValueError: The file has no such row, or is no Parquet file.
    """
    footer = _read_footer(path, name)
    if row >= footer.num_row_groups:
        raise ValueError(f"the file has {footer.num_row_groups} rows")
    with _open_part(path, name, [footer.row_group(row)]) as file:
        return file.read_row_group(row, use_threads=False)


def read_columns(path: str, name: str, columns: Sequence[str]) -> list[dict[str, Any]]:
    """Read these columns of all clips in a file; one that its kind lacks is left out."""
    footer = _read_footer(path, name)
    groups = [footer.row_group(row) for row in range(footer.num_row_groups)]
    with _open_part(path, name, groups, columns) as file:
        table = file.read(list(columns), use_threads=False)
    rows: list[dict[str, Any]] = table.to_pylist()
    return rows


@contextmanager
def _open_part(
    path: str, name: str, groups: Sequence[pq.RowGroupMetaData], columns: Sequence[str] = ()
) -> Iterator[pq.ParquetFile]:
    """Open a file to read some of its row groups, and of these some columns or all."""
    chunks = [group.column(index) for group in groups for index in range(group.num_columns)]
    wanted = [chunk for chunk in chunks if not columns or chunk.path_in_schema in columns]
    starts = [chunk.dictionary_page_offset or chunk.data_page_offset for chunk in wanted]
    sizes = [chunk.total_compressed_size for chunk in wanted]
    ends = [start + size for start, size in zip(starts, sizes, strict=True)]
    with (
        storage.open_ranges(storage.join(path, name), starts, ends) as source,
        pq.ParquetFile(source, metadata=_read_footer(path, name), pre_buffer=True) as file,
    ):
        yield file


@functools.cache
def check_content(path: str, name: str, sha256: str) -> None:
    """Make sure that a file is what was written, once in a process.

    Costs one reading of the file; memory holds a piece of it.

    Args:
        path: Folder of the data set.
        name: Of the file.
        sha256: Of its content, as the manifest says.

    Raises:
        ValueError: It is damaged, or gone; says what to do.
    """
    file = storage.join(path, name)
    mend = "restore it, or prepare the data set anew"
    try:
        found = storage.sha256(file)
    except FileNotFoundError:
        raise ValueError(f"{file} is gone, which the manifest names: {mend}") from None
    if found != sha256:
        raise ValueError(
            f"{file} is damaged: its content has the SHA-256 {found[:12]}..., the manifest says "
            f"{sha256[:12]}...: {mend}"
        )


@functools.lru_cache(maxsize=NUM_FOOTERS)
def _read_footer(path: str, name: str) -> pq.FileMetaData:
    """Read where a file's rows lie. A name holds the content's hash, so this never grows stale."""
    file = storage.join(path, name)
    tail = storage.read_bytes(file, -FOOTER_BYTES)
    num_bytes = int.from_bytes(tail[-8:-4], "little") + 8  # with its length, and the format's name
    if num_bytes > len(tail):
        tail = storage.read_bytes(file, -num_bytes)
    return pq.read_metadata(pa.BufferReader(tail))
