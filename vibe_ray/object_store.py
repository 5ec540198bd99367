"""S3 with retries: the private half of `storage.py`, which alone imports it.

Requests that fail for a passing reason are repeated with back-off, so a store that is away for a
while delays a run and does not end it.
"""

import functools
import io
import logging
import math
import os
import random
import time
from collections.abc import Callable
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.fs as pafs

logger = logging.getLogger(__name__)

REMOTE = "s3://"
RETRY_SECONDS = 600.0
"""How long a store may be away before a request fails for good."""
MAX_PAUSE_SECONDS = 5.0
TELL_SECONDS = 5.0
"""A request that waits longer says so, and again at every such interval."""
PASSING = (
    "NETWORK_CONNECTION",
    "INTERNAL_FAILURE",
    "SLOW_DOWN",
    "SERVICE_UNAVAILABLE",
    "THROTTLING",
    "REQUEST_TIMEOUT",
    "HTTP status 500",
    "HTTP status 503",
    "timed out",
    "Timeout",
)
"""Parts of an S3 error's text that mean: try again."""

Result = TypeVar("Result")


def check_bucket(bucket: str) -> None:
    """Ask for the bucket by itself: pyarrow's own errors do not say what is wrong with it."""
    import boto3  # here, since it takes half a second and every reader imports this module
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        config = Config(connect_timeout=5, read_timeout=10, retries={"total_max_attempts": 2})
        boto3.client("s3", config=config).head_bucket(Bucket=bucket)
    except ClientError as error:
        status = error.response["ResponseMetadata"]["HTTPStatusCode"]
        if status == 404:
            raise FileNotFoundError(f"no bucket {bucket!r}: create it first") from None
        raise PermissionError(
            f"bucket {bucket!r} refused with status {status}: check AWS_ACCESS_KEY_ID, "
            "AWS_SECRET_ACCESS_KEY and the bucket's policy"
        ) from None
    except BotoCoreError as error:
        raise PermissionError(
            f"cannot reach bucket {bucket!r}: {error}; check the credentials in the environment "
            "and AWS_ENDPOINT_URL"
        ) from None


def _brief(error: OSError) -> str:
    """Return an error's first line without addresses' query strings, in which keys may stand."""
    return str(error).splitlines()[0].split("?")[0][:200]


def fast_copier() -> Any:
    """Return s3fs, which copies many files at a time."""
    import s3fs

    return s3fs.S3FileSystem(endpoint_url=os.environ.get("AWS_ENDPOINT_URL"))


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
        connect_timeout=10,
        request_timeout=60,
        allow_bucket_creation=False,
    )


class RetryingS3(pafs.FileSystemHandler):  # type: ignore[misc]
    """S3 through pyarrow, with retries that survive pickling (pyarrow's own policy does not).

    Objects are read and written whole, so that a retry can begin anew: shards and checkpoints are
    tens of megabytes. A pickle holds no credentials; the process that unpickles it connects itself.
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
        region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION", "us-east-1")
        key_id = os.environ.get("AWS_ACCESS_KEY_ID", "")
        return _connect(os.environ.get("AWS_ENDPOINT_URL", ""), region, key_id)

    def retry(self, request: Callable[[], Result]) -> Result:
        """Repeat a request while its failure is a passing one and time is left."""
        start, pause, told = time.monotonic(), 0.2, -math.inf
        while True:
            try:
                result = request()
            except FileNotFoundError:  # whatever its name holds
                raise
            except OSError as error:
                now = time.monotonic()
                passing = any(part in str(error) for part in PASSING)
                if not passing or now - start > self._retry_seconds:
                    raise
                if now - max(told, start) > TELL_SECONDS:
                    told = now
                    logger.warning("object store away for %.0f s: %s", now - start, _brief(error))
            else:
                if told > 0:
                    logger.warning("object store back after %.0f s", time.monotonic() - start)
                return result
            time.sleep(pause * random.uniform(0.5, 1.0))
            pause = min(MAX_PAUSE_SECONDS, 2 * pause)

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
        """Copy, then delete."""
        self.retry(lambda: self.s3.move(src, dest))

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
        with self.s3.open_input_stream(path, compression=None) as stream:
            return bytes(stream.read())


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
        content = self._handler.retry(lambda: self._file.read_at(size, start)) if size else b""
        self._position += len(content)
        return bytes(content)


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
