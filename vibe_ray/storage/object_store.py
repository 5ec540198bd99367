"""S3 with retries: the private half of `storage.py`, which alone imports it.

Requests that fail for a passing reason are repeated with back-off (`retrying.py`), so a store that
is away for a while delays a run and does not end it.
"""

import functools
import io
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.fs as pafs

from vibe_ray.storage.buckets import (
    ATTEMPTS,
    CONNECT_SECONDS,
    SILENCE_SECONDS,
    endpoint,
    key_id,
    region,
    store_name,
)
from vibe_ray.storage.retrying import RETRY_SECONDS, TornReadError, retry

REMOTE = "s3://"

Result = TypeVar("Result")


@functools.cache
def _connect(endpoint: str, region: str, key_id: str) -> pafs.S3FileSystem:
    """Connect, once per process and surroundings: a new client costs handshakes.

    pyarrow finds the secret by itself; the key's id is asked for only to tell clients apart.
    """
    scheme, _, host = endpoint.rpartition("://")
    return pafs.S3FileSystem(
        endpoint_override=host or None,
        scheme=scheme or "https",
        region=region,
        connect_timeout=CONNECT_SECONDS,
        request_timeout=SILENCE_SECONDS,
        retry_strategy=pafs.AwsStandardS3RetryStrategy(max_attempts=ATTEMPTS),
        allow_delayed_open=True,  # a small object is one request instead of three
        allow_bucket_creation=False,
    )


class RetryingS3(pafs.FileSystemHandler):  # type: ignore[misc]
    """S3 through pyarrow, with retries that survive pickling (pyarrow's own policy does not).

    Objects are written whole, so that a retry can begin anew: shards and checkpoints are tens of
    megabytes. A pickle holds no credentials; the process that unpickles it connects itself.
    """

    def __init__(self, retry_seconds: float = RETRY_SECONDS) -> None:
        self._retry_seconds = retry_seconds

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RetryingS3)

    def __hash__(self) -> int:
        return hash(RetryingS3)

    @property
    def s3(self) -> pafs.S3FileSystem:
        """The connection of this process, by what its environment says."""
        return _connect(endpoint(), region(), key_id())

    def retry(self, request: Callable[[], Result]) -> Result:
        """Repeat a request while its failure is a passing one and time is left."""
        return retry(request, store_name(), self._retry_seconds)

    def get_type_name(self) -> str:
        """Name it for pyarrow."""
        return "retrying-s3"

    def normalize_path(self, path: str) -> str:
        """Normalize as S3 does."""
        return str(self.s3.normalize_path(path))

    def get_file_info(self, paths: list[str]) -> Any:
        """Describe paths."""
        return self.retry(lambda: self.s3.get_file_info(paths))

    def get_file_info_selector(self, selector: pafs.FileSelector) -> Any:
        """Describe what a selector finds."""
        return self.retry(lambda: self.s3.get_file_info(selector))

    def create_dir(self, path: str, recursive: bool) -> None:
        """Make a folder; keys have none, and a bucket must exist."""

    def delete_dir(self, path: str) -> None:
        """Delete all keys below."""
        self.retry(lambda: self.s3.delete_dir(path))

    def delete_dir_contents(self, path: str, missing_dir_ok: bool = False) -> None:
        """Delete all keys below."""
        self.retry(lambda: self.s3.delete_dir_contents(path, missing_dir_ok=missing_dir_ok))

    def delete_root_dir_contents(self) -> None:
        """Refuse: this would empty every bucket."""
        raise NotImplementedError("deleting every bucket is not supported")

    def delete_file(self, path: str) -> None:
        """Delete one key."""
        self.retry(lambda: self.s3.delete_file(path))

    def move(self, src: str, dest: str) -> None:
        """Copy, then delete; each is repeated by itself, since a copy cannot follow a deletion."""
        self.copy_file(src, dest)
        with suppress(FileNotFoundError):  # deleted by a request whose answer was lost
            self.delete_file(src)

    def copy_file(self, src: str, dest: str) -> None:
        """Copy within the store."""
        self.retry(lambda: self.s3.copy_file(src, dest))

    def open_input_stream(self, path: str) -> pa.NativeFile:
        """Read an object whole."""
        return pa.BufferReader(self.retry(lambda: self._read(path)))

    def open_input_file(self, path: str) -> pa.NativeFile:
        """Open an object for reads of ranges, each of them retried."""
        return pa.PythonFile(_RangeReader(self, path), mode="r")

    def open_output_stream(self, path: str, metadata: Any) -> pa.NativeFile:
        """Collect an object and write it when closed."""
        return pa.PythonFile(_Upload(self, path), mode="w")

    def open_append_stream(self, path: str, metadata: Any) -> pa.NativeFile:
        """Refuse: objects cannot grow."""
        raise NotImplementedError("objects cannot be appended to")

    def _read(self, path: str) -> bytes:
        """Read an object as it was at one moment.

        pyarrow asks for the size and then for so many bytes: of an object that is replaced in
        between it brings a part, or zeros behind its end.
        """
        with self.s3.open_input_stream(path, compression=None) as stream:
            content = bytes(stream.read())
            before = stream.metadata().get("ETag")
        with self.s3.open_input_stream(path, compression=None) as stream:
            after = stream.metadata().get("ETag")
        if before != after:
            raise TornReadError(f"{path} was replaced while it was read")
        return content


class _RangeReader(io.RawIOBase):
    """Reads parts of an object, each by a request of its own, which is retried."""

    def __init__(self, handler: RetryingS3, path: str) -> None:
        super().__init__()
        self._handler, self._position = handler, 0
        self._file = handler.retry(lambda: handler.s3.open_input_file(path))
        self._size = int(self._file.size())

    def seekable(self) -> bool:
        return True

    def readable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        self._position = start + offset
        return self._position

    def read(self, size: int = -1) -> bytes:
        left = max(0, self._size - self._position)
        size = left if size < 0 else min(size, left)
        start = self._position
        content = self._handler.retry(lambda: self._read_at(size, start)) if size else b""
        self._position += size
        return content

    def _read_at(self, size: int, start: int) -> bytes:
        content = bytes(self._file.read_at(size, start))
        if len(content) != size:
            raise TornReadError(f"{len(content)} bytes came of {size} asked for")
        return content


class _Upload:
    """Collects an object's bytes and uploads them at once, with retries, when closed.

    Not an `io` class: those close themselves when collected as garbage, and what was given up
    half-written would appear in the store.
    """

    def __init__(self, handler: RetryingS3, path: str) -> None:
        self._handler, self._path = handler, path
        self._buffer = io.BytesIO()
        self.closed = False

    def write(self, content: bytes) -> int:
        return self._buffer.write(content)

    def tell(self) -> int:
        return self._buffer.tell()

    def flush(self) -> None:
        """Nothing reaches the store before the end."""

    def close(self) -> None:
        if self.closed:
            return
        self.closed = True  # even if what follows fails: pyarrow would try once more
        content = self._buffer.getvalue()

        def request() -> None:
            with self._handler.s3.open_output_stream(self._path, compression=None) as stream:
                stream.write(content)

        self._handler.retry(request)
