"""Which failures of an object store pass by themselves, and how are they waited for?

pyarrow tells of every failure by an `OSError` of which the text alone says what it was. Names of
keys stand in that text too, so only the part that the store or the network wrote counts.
"""

import logging
import random
import re
import threading
import time
from collections.abc import Callable
from typing import TypeVar

logger = logging.getLogger(__name__)

RETRY_SECONDS = 600.0
"""How long a store may be away before a request fails for good."""
FIRST_PAUSE_SECONDS = 0.2
MAX_PAUSE_SECONDS = 5.0
TELL_SECONDS = 30.0
"""A process says no more often that it waits."""

PASSING_CODES = {
    *("NETWORK_CONNECTION", "INTERNAL_FAILURE", "SERVICE_UNAVAILABLE", "REQUEST_TIMEOUT"),
    *("SLOW_DOWN", "THROTTLING"),
    "NO_SUCH_UPLOAD",  # of a store that lost the parts it had; uploads begin anew
}
PASSING_STATUSES = {"408", "429", "500", "502", "503", "504"}
_FAILURE = re.compile(r"AWS Error (\w+)(?: \(HTTP status (\d+)\))? during \w+ operation: ?(.*)")
_USER = re.compile(r"//[^/@\s]*@")
_QUERY = re.compile(r"\?[^\s\"']*")

Result = TypeVar("Result")


class TornReadError(OSError):
    """What was read is not one object whole: it is read again."""


def is_passing(error: OSError) -> bool:
    """Whether a request that failed so may succeed a while later."""
    if isinstance(error, TornReadError):
        return True
    if isinstance(error, FileNotFoundError):
        return False
    found = _FAILURE.findall(str(error))
    if not found:
        return False
    code, status, _ = found[-1]  # what stands before is the key's name
    return code in PASSING_CODES or status in PASSING_STATUSES


def without_secrets(text: str) -> str:
    """Return a text without the users and query strings of addresses in it."""
    return _QUERY.sub("", _USER.sub("//", text))


def reason(error: OSError) -> str:
    """Return in one short line what a store or the network said."""
    found = _FAILURE.findall(str(error))
    if not found:
        return without_secrets(str(error)).splitlines()[0][:160]
    code, status, message = found[-1]
    kind = f"HTTP status {status}" if status else code
    return without_secrets(f"{kind}, {message}".rstrip(", "))[:160]


class Outage:
    """Says that a process waits for a store, and when that is over, whichever threads wait."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._since = self._told = 0.0
        self._waiting = 0

    def begin(self) -> None:
        """A request has failed for the first time."""
        with self._lock:
            if not self._waiting:
                self._since, self._told = time.monotonic(), -TELL_SECONDS
            self._waiting += 1

    def goes_on(self, store: str, error: OSError, seconds: float) -> None:
        """It will be tried again; said at first, and then now and then."""
        now = time.monotonic()
        with self._lock:
            if now - self._told < TELL_SECONDS:
                return
            self._told, away = now, now - self._since
        logger.warning(
            "%s has failed for %.0f s (%s): trying for up to %.0f s",
            *(store, away, reason(error), seconds),
        )

    def end(self, store: str, is_over: bool) -> None:
        """The request has been answered, or was given up."""
        with self._lock:
            self._waiting -= 1
            is_last, away = not self._waiting, time.monotonic() - self._since
        if is_last and is_over:
            logger.warning("%s answers again after %.0f s", store, away)


OUTAGE = Outage()
"""Of this process."""


def retry(request: Callable[[], Result], store: str, seconds: float = RETRY_SECONDS) -> Result:
    """Repeat a request while its failure is a passing one and time is left.

    Args:
        request: May be called any number of times.
        store: What is asked, for messages.
        seconds: How long.

    Raises:
        ConnectionError: Time is up.
        OSError: The request failed of something that does not pass.
    """
    start = time.monotonic()
    try:
        return request()
    except OSError as error:
        if not is_passing(error):
            raise
        failure = error
    OUTAGE.begin()
    is_over = False
    try:
        result = _repeat(request, store, start + seconds, failure)
        is_over = True
        return result
    finally:
        OUTAGE.end(store, is_over)


def _repeat(request: Callable[[], Result], store: str, until: float, failure: OSError) -> Result:
    seconds, pause = until - time.monotonic(), FIRST_PAUSE_SECONDS
    while time.monotonic() < until:
        OUTAGE.goes_on(store, failure, seconds)
        time.sleep(pause * random.uniform(0.5, 1.0))
        pause = min(MAX_PAUSE_SECONDS, 2 * pause)
        try:
            return request()
        except OSError as error:
            if not is_passing(error):
                raise
            failure = error
    raise ConnectionError(f"{store} has failed for {seconds:.0f} s: {reason(failure)}")
