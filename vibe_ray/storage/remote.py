"""Stores by fsspec, whatever their scheme, and the same as filesystems of pyarrow's for Ray."""

import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.fs as pafs
from fsspec import AbstractFileSystem
from fsspec.core import url_to_fs
from fsspec.spec import AbstractBufferedFile
from fsspec.utils import merge_offset_ranges

S3_SCHEMES = ("s3", "s3a")
PIECE_BYTES = 64 * 2**20
"""Of a large file that is copied."""
MAX_GAP_BYTES = 64 * 2**10
"""Of what lies between two ranges that are read by one request."""


def scheme_of(path: str) -> str:
    """Return the scheme of a path in a store, or nothing for a path on a disk."""
    scheme, separator, _ = path.partition("://")
    return scheme if separator and scheme != "file" else ""


def connect(path: str) -> tuple[AbstractFileSystem, str]:
    """Return the filesystem of a path in a store, and the path within it.

    Raises:
        ValueError: Nothing is known of such a scheme.
        ImportError: The package that knows it is not installed; names it.
    """
    if scheme_of(path) in S3_SCHEMES:
        from vibe_ray.storage import s3

        filesystem: AbstractFileSystem = s3.connect()
        return filesystem, filesystem._strip_protocol(path)
    try:
        found: tuple[AbstractFileSystem, str] = url_to_fs(path, use_listings_cache=False)
    except (ValueError, ImportError) as error:
        raise type(error)(f"{path}: {error}") from None
    return found


def outer_path(path: str, inner: str) -> str:
    """Return the full path of a name that the filesystem of `path` gives."""
    return inner if "://" in inner else f"{scheme_of(path)}://{inner.lstrip('/')}"


def copy_down(path: str, target: Path) -> None:
    """Copy a file to this machine's disk, piece by piece: memory holds one, however large it is.

    Raises:
        FileNotFoundError: There is no such file.
        OSError: It was replaced while it was copied.
    """
    with target.open("wb") as file:
        for piece in pieces(path):
            file.write(piece)


def pieces(path: str) -> Iterator[bytes]:
    """Read a file piece by piece.

    Raises:
        FileNotFoundError: There is no such file.
        OSError: It was replaced while it was read.
    """
    filesystem, inner = connect(path)
    size = filesystem.size(inner)
    if size is None or size <= PIECE_BYTES:  # by one request: as it was at one moment
        yield filesystem.cat_file(inner)
        return
    version = filesystem.ukey(inner)
    for start in range(0, size, PIECE_BYTES):
        end = min(start + PIECE_BYTES, size)
        yield _whole(filesystem.cat_file(inner, start=start, end=end), path, start, end)
    if filesystem.ukey(inner) != version:
        raise OSError(f"{path} was replaced while it was copied: copy it again")


def open_ranges(path: str, starts: Sequence[int], ends: Sequence[int]) -> pa.NativeFile:
    """Open a file of which only some ranges are there, which are read all at once.

    Raises:
        OSError: The file ends before a range does.
    """
    filesystem, inner = connect(path)
    names, first, last = merge_offset_ranges(
        [inner] * len(starts), list(starts), list(ends), max_gap=MAX_GAP_BYTES
    )
    parts = filesystem.cat_ranges(names, first, last, on_error="raise")
    data = {}
    for start, end, part in zip(first, last, parts, strict=True):
        data[start, end] = _whole(part, path, start, end)
    options = {"data": data, "strict": True}
    file = _Reader(filesystem, inner, cache_type="parts", cache_options=options, size=max(ends))
    return pa.PythonFile(file, mode="r")


class _Reader(AbstractBufferedFile):  # type: ignore[misc]
    """Reads parts of a file, each by a request of its own."""

    def _fetch_range(self, start: int, end: int) -> bytes:
        end = min(end, self.size)
        if start >= end:
            return b""
        return _whole(self.fs.cat_file(self.path, start=start, end=end), self.path, start, end)


def _whole(part: bytes, path: str, start: int, end: int) -> bytes:
    if len(part) != end - start:
        raise OSError(f"{path}: {len(part)} bytes came of {end - start} from byte {start} on")
    return part


class Handler(pafs.FSSpecHandler):  # type: ignore[misc]
    """pyarrow's adapter of fsspec, with its files read and written whole."""

    def open_input_stream(self, path: str) -> pa.NativeFile:
        """Read a file by one request, as it was at one moment."""
        return pa.BufferReader(self.fs.cat_file(path))

    def open_input_file(self, path: str) -> pa.NativeFile:
        """Open a file for reads of ranges."""
        return pa.PythonFile(_Reader(self.fs, path, cache_type="none"), mode="r")

    def open_output_stream(self, path: str, metadata: Any) -> pa.NativeFile:
        """Collect a file and write it when closed."""
        return pa.PythonFile(_Upload(self.fs, path), mode="w")

    def open_append_stream(self, path: str, metadata: Any) -> pa.NativeFile:
        """Refuse: objects cannot grow."""
        raise NotImplementedError("objects cannot be appended to")

    def delete_root_dir_contents(self) -> None:
        """Refuse: this would empty every bucket."""
        raise NotImplementedError("deleting every bucket is not supported")


class _Upload:
    """Collects a file's bytes and writes them at once, when closed.

    fsspec's own files are closed, and so written, when collected as garbage: what was given up
    half-written would appear in the store.
    """

    def __init__(self, filesystem: AbstractFileSystem, path: str) -> None:
        self._filesystem, self._path = filesystem, path
        self._buffer = io.BytesIO()
        self.closed = False

    def write(self, content: bytes) -> int:
        return self._buffer.write(content)

    def tell(self) -> int:
        return self._buffer.tell()

    def flush(self) -> None:
        """Nothing reaches the store before the end."""

    def close(self) -> None:
        if not self.closed:
            self.closed = True  # even if what follows fails: pyarrow would try once more
            self._filesystem.pipe_file(self._path, self._buffer.getvalue())
