"""S3 by s3fs, with what a run needs beside: patience, and errors that say which path they are of.

A store that is away for minutes is waited for. Importing s3fs takes a second: only a process that
has an `s3://` path imports this module. Requests are coroutines of fsspec's one thread, so nothing
here needs a lock.
"""

import asyncio
import functools
import logging
import os
import random
import time
import uuid
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import aiohttp
from botocore import exceptions as botocore
from botocore.parsers import ResponseParserError
from fsspec.asyn import sync_wrapper
from s3fs import S3FileSystem

from vibe_ray.storage import buckets
from vibe_ray.storage.buckets import store_name, without_secrets

logger = logging.getLogger(__name__)

RETRY_SECONDS = 600.0
"""How long a store may be away before a request fails for good."""
FIRST_PAUSE_SECONDS = 0.2
MAX_PAUSE_SECONDS = 5.0
TELL_SECONDS = 30.0
"""A process says no more often that it waits."""
CONNECT_SECONDS = 10.0
SILENCE_SECONDS = 30.0
"""An answer of which no byte comes for so long has failed."""
LEAST_UPLOAD_RATE = 50_000
"""Bytes per second: what is taken more slowly has failed; no one else watches what is sent."""
ATTEMPTS = 2
"""A client's own, at once, of which nothing is said."""
PUT_BYTES = 4 * 2**30
"""What is smaller is put whole, so that a store that loses parts of uploads loses nothing."""

PASSING_STATUSES = {408, 429, 500, 502, 503, 504}
PASSING_CODES = {"RequestTimeout", "OperationAborted", "ConditionalRequestConflict"}
"""Of other statuses: the store saw no request, or another one is under way."""
PASSING_ERRORS = (
    *(botocore.ConnectionError, botocore.HTTPClientError, TimeoutError),  # none, or a silent one
    *(botocore.IncompleteReadError, botocore.FlexibleChecksumError, aiohttp.ClientError),  # torn
    ResponseParserError,  # a proxy's page, or half an answer
)
NO_CREDENTIALS = (
    *(botocore.NoCredentialsError, botocore.PartialCredentialsError),
    botocore.CredentialRetrievalError,
)

Result = TypeVar("Result")


def connect() -> "PatientS3":
    """Return the connection of this process, by what its environment says."""
    return _connect(os.getpid(), buckets.endpoint(), buckets.region(), buckets.key_id())


@functools.cache
def _connect(pid: int, endpoint: str, region: str, key_id: str) -> "PatientS3":
    """Connect, once per process and surroundings.

    botocore finds endpoint and credentials by itself; they are asked for to tell clients apart.
    """
    return PatientS3(
        use_listings_cache=False,  # others write to the bucket too
        client_kwargs={"region_name": region},
        config_kwargs={
            "connect_timeout": CONNECT_SECONDS,
            "read_timeout": SILENCE_SECONDS,
            "retries": {"total_max_attempts": ATTEMPTS, "mode": "standard"},
        },
    )


class PatientS3(S3FileSystem):  # type: ignore[misc]
    """S3 that is waited for while it is away, and of which no bucket is made or deleted.

    A pickle holds nothing; the process that unpickles it connects by its own environment.
    """

    cachable = False  # `connect` keeps one
    retries = 1  # s3fs's own, which know too few failures

    def __reduce__(self) -> Any:
        return connect, ()

    async def _call_s3(self, method: str, *more: Any, **named: Any) -> Any:
        """Make one request; its answer's body, if it has one, is yet to come."""
        call, seconds = super()._call_s3, None
        if "Body" in named:
            send = CONNECT_SECONDS + SILENCE_SECONDS + len(named["Body"]) / LEAST_UPLOAD_RATE
            seconds = ATTEMPTS * send

        async def request() -> Any:
            return await asyncio.wait_for(call(method, *more, **named), seconds)

        try:
            return await patiently(request)
        except Exception as error:
            where = named.get("Bucket", ""), named.get("Key", named.get("Prefix", ""))
            raise _told(error, *where) from refusal(error)

    call_s3 = sync_wrapper(_call_s3)

    async def _cat_file(
        self, path: str, start: int | None = None, end: int | None = None, **_: Any
    ) -> bytes:
        """Read an object or a part of it by one request, and so as it was at one moment.

        s3fs reads a large one by many, and takes parts of one and of the next for one.
        """
        bucket, key, _version = self.split_path(path)
        where = {"Bucket": bucket, "Key": key}
        if start is not None or end is not None:
            where["Range"] = await self._process_limits(path, start, end)

        async def request() -> bytes:
            answer = await self._call_s3("get_object", **where)
            async with answer["Body"] as body:
                return bytes(await body.read())

        return await patiently(request)

    async def _info(self, path: str, *more: Any, **named: Any) -> Any:
        """Describe a path; a folder is one only if an object is below: a store may show others."""
        found = await super()._info(path, *more, **named)
        is_folder = found["type"] == "directory" and self.split_path(path)[1]
        if is_folder and not await self._lsdir(path, delimiter="", max_items=1):
            raise FileNotFoundError(f"nothing at s3://{path}")
        return found

    _pipe_file = functools.partialmethod(S3FileSystem._pipe_file, chunksize=PUT_BYTES)

    async def _create(self, path: str, content: bytes) -> bool:
        """Put an object unless there is one; return whether it was put."""
        bucket, key, _version = self.split_path(path)
        where, mark = {"Bucket": bucket, "Key": key}, uuid.uuid4().hex
        if await self._mark(where) is not None:  # a store without conditions would replace it
            return False
        try:
            named = {"Body": content, "Metadata": {"mark": mark}, "IfNoneMatch": "*"}
            await self._call_s3("put_object", **where, **named)
        except OSError as error:
            if (said := refusal(error)) is None or status(said) != 412:
                raise
            # Perhaps it was put by this very request, whose answer was lost: it was repeated.
            return await self._mark(where) == mark
        return True

    async def _mark(self, where: dict[str, str]) -> str | None:
        """Return by which call an object was created; nothing if there is none."""
        try:
            found = await self._call_s3("head_object", **where)
        except FileNotFoundError:
            return None
        return str(found["Metadata"].get("mark", ""))

    create = sync_wrapper(_create)

    async def _rm(self, path: str | list[str], recursive: bool = False, **_: Any) -> None:
        """Delete objects; s3fs does not tell of those that a bulk deletion has left."""
        roots = [path] if isinstance(path, str) else path
        if not all(self.split_path(root)[1] for root in roots):
            raise NotImplementedError(f"deleting a whole bucket is not supported: {path}")
        found = [await self._find(root) if recursive else [root] for root in roots]
        await asyncio.gather(*(self._rm_file(name) for names in found for name in names))

    async def _mkdir(self, path: str, *_: Any, **__: Any) -> None:
        """Make nothing: keys have no folders, and a bucket must exist."""

    mkdir = sync_wrapper(_mkdir)


def refusal(error: BaseException | None) -> botocore.ClientError | None:
    """Return the store's own refusal, if an error or one of its causes is one."""
    while error is not None and not isinstance(error, botocore.ClientError):
        error = error.__cause__
    return error


def status(refusal: botocore.ClientError) -> int:
    """Return the HTTP status of a refusal."""
    return int(refusal.response["ResponseMetadata"]["HTTPStatusCode"])


def code(refusal: botocore.ClientError) -> str:
    """Return the code of a refusal, such as NoSuchKey."""
    return str(refusal.response["Error"].get("Code", ""))


def is_passing(error: Exception) -> bool:
    """Whether a request that failed so may succeed a while later."""
    if said := refusal(error):
        return status(said) in PASSING_STATUSES or code(said) in PASSING_CODES
    return isinstance(error, PASSING_ERRORS)


def reason(error: Exception) -> str:
    """Return in one short line what a store or the network said."""
    text = str(refusal(error) or error) or type(error).__name__
    return without_secrets(text.splitlines()[0])[:200]


def _told(error: Exception, bucket: str, key: str) -> Exception:
    """Return an error that says which path it is of, in the place of one that does not."""
    if isinstance(error, NO_CREDENTIALS):
        return buckets.no_credentials(bucket)
    if isinstance(error, botocore.ParamValidationError):
        return ValueError(f"s3://{bucket}/{key} is no path: {reason(error)}")
    said = refusal(error)
    if said is None or not isinstance(error, OSError):
        return error
    if code(said) == "NoSuchBucket":
        return buckets.no_bucket(bucket)
    text = f"s3://{bucket}/{key}: {reason(error)}"
    return type(error)(error.errno, text) if error.errno else type(error)(text)


class Outage:
    """Says that a process waits for a store, and when that is over, whichever requests wait."""

    def __init__(self) -> None:
        self._since = self._told = 0.0
        self._num_waiting = 0

    @contextmanager
    def lasts(self) -> Iterator[None]:
        """A request waits; when the last one that waits has been answered, that is said.

        That something is not there is an answer, too; that time is up is none.
        """
        if not self._num_waiting:
            self._since, self._told = time.monotonic(), -TELL_SECONDS
        self._num_waiting += 1
        is_over = False
        try:
            yield
            is_over = True
        except Exception as error:
            is_over = not isinstance(error, ConnectionError)
            raise
        finally:
            self._num_waiting -= 1
            if is_over and not self._num_waiting:
                logger.warning("%s answers again after %.0f s", store_name(), self._seconds())

    def goes_on(self, error: Exception) -> None:
        """It will be tried again; said at first, and then now and then."""
        if time.monotonic() - self._told >= TELL_SECONDS:
            self._told = time.monotonic()
            logger.warning(
                "%s has failed for %.0f s (%s): trying for up to %.0f s",
                *(store_name(), self._seconds(), reason(error), RETRY_SECONDS),
            )

    def _seconds(self) -> float:
        return time.monotonic() - self._since


OUTAGE = Outage()
"""Of this process."""


async def patiently(request: Callable[[], Awaitable[Result]]) -> Result:
    """Repeat a request while its failure is a passing one and time is left.

    Raises:
        ConnectionError: Time is up.
        Exception: What the request failed of, if it does not pass.
    """
    until = time.monotonic() + RETRY_SECONDS
    try:
        return await request()
    except Exception as error:
        if not is_passing(error):
            raise
        failure = error
    pause = FIRST_PAUSE_SECONDS
    with OUTAGE.lasts():
        while time.monotonic() < until:
            OUTAGE.goes_on(failure)
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))
            pause = min(MAX_PAUSE_SECONDS, 2 * pause)
            try:
                return await request()
            except Exception as error:
                if not is_passing(error):
                    raise
                failure = error
        # Not from the failure: who asks patiently in turn would take it for one that passes.
        said = f"{store_name()} has failed for {RETRY_SECONDS:.0f} s: {reason(failure)}"
        raise ConnectionError(said) from None
