"""One name, one process: who writes into the folder of a run or search, and who may after a crash.

Files `owner-00001.json`, `owner-00002.json`, ... stand in the folder, each created by one process
exclusively; whose number is the highest owns the folder, until it writes that it has left. An owner
that was killed is followed at once by a process of the same machine, which sees that it is gone.
From another machine nobody can tell a dead owner from a silent one. So a living one says now and
then that it lives, and who finds the same word for `STALE_SECONDS` follows. Only its own clock is
asked.
"""

import contextlib
import json
import logging
import os
import re
import signal
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from vibe_ray import storage

logger = logging.getLogger(__name__)

OWNER_FILE = re.compile(r"owner-(\d{5,})\.json")
OWNER_TEMPORARY = ".owner-"
"""Start of their names while they are written."""
BEAT_SECONDS = 15.0
"""Between two words of a living owner."""
STALE_SECONDS = 90.0
"""An owner on another machine that has said nothing new for so long is gone."""
LOOK_SECONDS = 3.0
"""Between two looks at it."""


@dataclass(frozen=True, kw_only=True)
class Owner:
    """What a process says of itself."""

    host: str
    pid: int
    started: str
    """When, as the system counts it: a later process may have the same number."""
    machine: str
    """Tells boots and containers apart, in which the same number means another process."""
    token: str
    beat: int = 0
    has_left: bool = False

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}"


def own_self() -> Owner:
    """Describe this process."""
    return Owner(
        host=socket.gethostname(),
        pid=os.getpid(),
        started=_started(os.getpid()),
        machine=_machine(),
        token=uuid.uuid4().hex,
    )


def _machine() -> str:
    found = [socket.gethostname()]
    with contextlib.suppress(OSError):
        found.append(Path("/proc/sys/kernel/random/boot_id").read_text().strip())
    with contextlib.suppress(OSError):
        found.append(str(Path("/proc/self/ns/pid").readlink()))
    return " ".join(found)


def _started(pid: int) -> str:
    """Return when a process began, nothing where the system does not say so."""
    with contextlib.suppress(OSError, IndexError):
        # After the name in brackets, which may hold anything: the 20th of the fields that follow.
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    return ""


def _is_running(owner: Owner) -> bool:
    """Whether a process of this machine lives; one that ended and was not fetched does not."""
    with contextlib.suppress(OSError):
        state = Path(f"/proc/{owner.pid}/stat").read_text().rpartition(")")[2].split()[0]
        return state not in "ZX" and _started(owner.pid) == owner.started
    try:
        os.kill(owner.pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return not Path("/proc/self/stat").exists()  # else it would have been found there


@contextlib.contextmanager
def owned(folder: str, what: str) -> Iterator[None]:
    """Own a folder as long as the block lasts; nobody else does at the same time.

    Args:
        folder: Of a run or search, local or remote; made if it is not there.
        what: A run or a search, for messages.

    Raises:
        ValueError: It is owned by a process that lives; says by which.
    """
    number, me = _take(folder, what)
    done = threading.Event()
    beating = threading.Thread(target=_beat, args=(folder, number, me, done), daemon=True)
    beating.start()
    try:
        yield
    finally:
        done.set()
        beating.join()
        with contextlib.suppress(OSError):  # who follows will find out
            _leave(folder, number, me)


def _take(folder: str, what: str) -> tuple[int, Owner]:
    """Create the file of the next number; of several who try, one does."""
    me, before = own_self(), set(_numbers(folder))
    number, other = _newest(folder)
    if number and other is None:  # damaged, or about to be written
        time.sleep(LOOK_SECONDS)
        other = _read(folder, number)
    if other is not None and not other.has_left:
        _wait_until_gone(folder, number, other, what)
    try:
        is_first = storage.create_exclusive(_path(folder, number + 1), _content(me))
    except FileNotFoundError:  # swept out by who was first
        is_first = False
    if not is_first:
        raise _taken(folder, _newest(folder)[1], what)
    newest = number + 1
    if others := set(_numbers(folder)) - before - {newest}:  # this process slept, and others came
        storage.delete_file(_path(folder, newest))
        raise _taken(folder, _read(folder, max(others)), what)
    for old in before - {newest}:
        storage.delete_file(_path(folder, old))
    storage.sweep(folder)
    return newest, me


def _wait_until_gone(folder: str, number: int, owner: Owner, what: str) -> None:
    """Return when an owner is known to be gone.

    Raises:
        ValueError: It lives.
    """
    if owner.machine == _machine():
        if _is_running(owner):
            raise _taken(folder, owner, what)
        logger.info("%s was owned by %s, which is gone", folder, owner)
        return
    logger.warning(
        "%s is owned by %s, which has not said that it left: looking for up to %.0f s whether it "
        "still lives",
        *(folder, owner, STALE_SECONDS),
    )
    looks = round(STALE_SECONDS / LOOK_SECONDS)  # counted: a look may wait for a store that is away
    for _ in range(looks):
        time.sleep(LOOK_SECONDS)
        now = _read(folder, number)
        if now is not None and now.has_left:
            return
        if now is None or now.beat != owner.beat:
            raise _taken(folder, owner, what)
    logger.warning("%s has said nothing for %.0f s: it is gone", owner, STALE_SECONDS)


def _beat(folder: str, number: int, me: Owner, done: threading.Event) -> None:
    """Say now and then that this process lives; end it where another has followed."""
    beat = 0
    while not done.wait(BEAT_SECONDS):
        beat += 1
        try:
            is_followed = _is_followed(folder, number)
            if not is_followed:
                storage.write_bytes_atomic(_path(folder, number), _content(replace(me, beat=beat)))
        except Exception as error:  # storage that fails is told by what has to be written
            logger.warning("cannot say in %s that this process lives: %s", folder, error)
            continue
        if is_followed and not done.is_set():
            logger.error("%s was taken over, since this process was silent: it ends", folder)
            os.kill(os.getpid(), signal.SIGTERM)
            return


def _is_followed(folder: str, number: int) -> bool:
    """Whether another process has taken over; whoever does deletes the files before its own."""
    own, next_one = _path(folder, number), _path(folder, number + 1)
    return storage.exists(next_one) or not storage.exists(own)


def _leave(folder: str, number: int, me: Owner) -> None:
    if all(map(is_owner_file, storage.visible_files(folder))):  # nothing came of it
        storage.delete_file(_path(folder, number))
    elif not _is_followed(folder, number):
        storage.write_bytes_atomic(_path(folder, number), _content(replace(me, has_left=True)))


def _taken(folder: str, owner: Owner | None, what: str) -> ValueError:
    who = owner or "another process"
    return ValueError(
        f"{folder} is in use: {who} is at this {what}; wait until it has ended, end it, or start "
        "another with --name NAME"
    )


def is_owner_file(name: str) -> bool:
    """Whether a file of a run's folder says whose it is."""
    return bool(OWNER_FILE.fullmatch(name))


def _path(folder: str, number: int) -> str:
    return storage.join(folder, f"owner-{number:05d}.json")


def _content(owner: Owner) -> bytes:
    return json.dumps(asdict(owner), indent=1).encode() + b"\n"


def _numbers(folder: str) -> list[int]:
    root = storage.absolute(folder).rstrip("/") + "/"
    names = [path.removeprefix(root) for path in storage.list_files(folder, ".json")]
    return sorted(int(found[1]) for name in names if (found := OWNER_FILE.fullmatch(name)))


def _newest(folder: str) -> tuple[int, Owner | None]:
    """Return the highest number and whose it is; of a file that is damaged, nobody's."""
    numbers = _numbers(folder)
    return (numbers[-1], _read(folder, numbers[-1])) if numbers else (0, None)


def _read(folder: str, number: int) -> Owner | None:
    try:
        values: dict[str, Any] = json.loads(storage.read_bytes(_path(folder, number)))
        return Owner(**values)
    except (ValueError, TypeError, FileNotFoundError):
        return None
