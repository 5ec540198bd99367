"""Files on a disk: whole or not there at all, also after a power cut.

A new name is given by a rename. Content is on the disk before it gets its name, and the name is
before the caller is told, so that a power cut loses no more than a kill does.
"""

import errno
import os
import re
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

TEMPORARY = (".tmp", ".old")
"""Endings of files and folders on their way in and out; their names begin with a dot."""
LEFT_BEHIND = re.compile(r"\..+\.[0-9a-f]{8}\.(tmp|old)")
"""Names of those that stay when a process is killed."""
UNABLE = {errno.EINVAL, errno.ENOTSUP, errno.ENOSYS, errno.EPERM, errno.EACCES}
"""What a filesystem answers that cannot link files, or flush folders, at all."""
FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
"""What a disk answers that has no room, or has none for this user or for so large a file."""
FULL_IN_WORDS = tuple(os.strerror(number) for number in sorted(FULL))


class DiskFullError(OSError):
    """There is no room for a file; says for which, and what to do."""


@contextmanager
def room_for(target: Path | str, told_by: type[Exception] | None = None) -> Iterator[None]:
    """Name what was to be written where a disk turns out to be full.

    Args:
        target: What is written within.
        told_by: Error of a library that has the system's words for it, in place of its number.

    Raises:
        DiskFullError: The disk is full.
    """
    try:
        yield
    except DiskFullError:
        raise
    except Exception as error:
        # PyTorch closes a file that it could not write, and stumbles over that in turn.
        reason = _reason(error, told_by) or _reason(error.__context__, told_by)
        if not reason:
            raise
        raise DiskFullError(
            f"no room for {target} ({reason}): free some, or write elsewhere"
        ) from error


def _reason(error: BaseException | None, told_by: type[Exception] | None) -> str:
    """Return the system's word for a full disk, nothing if this is about something else."""
    if isinstance(error, OSError) and error.errno in FULL:
        return str(error.strerror)
    if told_by is not None and isinstance(error, told_by):
        return next((words for words in FULL_IN_WORDS if words in str(error)), "")
    return ""


def write(target: Path, content: bytes) -> None:
    """Write a file in the place of what is there.

    Raises:
        DiskFullError: There is no room for it.
    """
    with room_for(target), _written_beside(target, content) as temporary:
        temporary.replace(target)
        _flush_folder(target.parent)


def create(target: Path, content: bytes) -> bool:
    """Write a file unless there is one; return whether it was written.

    Raises:
        DiskFullError: There is no room for it.
    """
    with room_for(target), _written_beside(target, content) as temporary:
        try:
            target.hardlink_to(temporary)
        except FileExistsError:
            return False
        except OSError as error:
            if error.errno not in UNABLE:
                raise
            return _create_in_place(target, content)
        _flush_folder(target.parent)
    return True


def _create_in_place(target: Path, content: bytes) -> bool:
    """Create where there are no links, as behind FUSE: for a moment the file is empty."""
    try:
        file = target.open("xb")
    except FileExistsError:
        return False
    try:
        with file:
            _fill(file, content)
    except OSError:
        target.unlink(missing_ok=True)
        raise
    _flush_folder(target.parent)
    return True


def move(source: Path, target: Path) -> None:
    """Give a file another place, which may be on another disk.

    Raises:
        DiskFullError: There is no room for it.
    """
    with room_for(target):
        make_folder(target.parent)
        with source.open("rb") as file:
            os.fsync(file.fileno())
        try:
            source.replace(target)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            _move_between_disks(source, target)
        _flush_folder(target.parent)


def _move_between_disks(source: Path, target: Path) -> None:
    temporary = _temporary(target)
    try:
        _copy(source, temporary)
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)
    _flush_folder(target.parent)
    source.unlink()


def copy_folder(source: Path, target: Path) -> None:
    """Put copies of a folder's files in the place of what is at `target`.

    Contents alone: what is private in a temporary folder is not in a run.

    Raises:
        DiskFullError: There is no room for them.
    """
    with room_for(target):
        _copy_folder(source, target)


def _copy_folder(source: Path, target: Path) -> None:
    make_folder(target.parent)
    temporary, old = (_temporary(target, ending) for ending in TEMPORARY)
    try:
        temporary.mkdir()
        for file in source.rglob("*"):
            if file.is_file():
                copy = temporary / file.relative_to(source)
                copy.parent.mkdir(parents=True, exist_ok=True)
                _copy(file, copy)
        for folder, _, _ in os.walk(temporary):
            _flush_folder(Path(folder))
        if target.exists():
            target.replace(old)
        temporary.replace(target)
        _flush_folder(target.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    shutil.rmtree(old, ignore_errors=True)


def make_folder(folder: Path) -> None:
    """Make a folder and those above it, such that a power cut leaves them there.

    Raises:
        NotADirectoryError: A file is in the way.
    """
    if not folder.is_dir():
        if folder.exists() and not folder.is_dir():  # asked again: others make folders, too
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(folder))
        make_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        _flush_folder(folder.parent)


def delete(target: Path) -> None:
    """Delete a file, such that a power cut does not bring it back.

    Raises:
        FileNotFoundError: There is none.
    """
    target.unlink()
    _flush_folder(target.parent)


def delete_folder(target: Path) -> None:
    """Delete a folder and all in it.

    Raises:
        FileNotFoundError: There is none.
    """
    shutil.rmtree(target)
    _flush_folder(target.parent)


@contextmanager
def _written_beside(target: Path, content: bytes) -> Iterator[Path]:
    """Give a file of this content in the target's folder; if it is left there, it goes."""
    make_folder(target.parent)
    temporary = _temporary(target)
    try:
        with temporary.open("wb") as file:
            _fill(file, content)
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)


def _temporary(target: Path, ending: str = TEMPORARY[0]) -> Path:
    return target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}{ending}")


def _fill(file: BinaryIO, content: bytes) -> None:
    file.write(content)
    file.flush()
    os.fsync(file.fileno())


def _copy(source: Path, target: Path) -> None:
    shutil.copyfile(source, target)
    with target.open("rb") as file:
        os.fsync(file.fileno())


def _flush_folder(folder: Path) -> None:
    """Bring a folder's names to the disk; some filesystems have none to bring."""
    try:
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
    except OSError as error:
        if error.errno not in UNABLE:
            raise
