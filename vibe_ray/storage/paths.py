"""Paths: the only place that knows whether files lie on a disk or in a store.

A path is a local one, `s3://bucket/key`, or of any other scheme that an installed implementation of
fsspec knows; only S3 is waited for while it is away. Credentials come from the environment wherever
a process runs: they are never pickled, logged or put into a config. `AWS_ENDPOINT_URL` names
another S3 store than Amazon's. The other files here are this one's private half.
"""

import hashlib
import json
import os
import re
import uuid
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.fs as pafs

from vibe_ray.storage import buckets, disk, remote

_PART = re.compile(r"(.+)#bytes=(\d+)-(\d+)", re.DOTALL)
MANIFEST = "manifest.json"
"""The file of a folder without which nobody takes the folder for whole."""


def is_remote(path: str) -> bool:
    """Whether a path lies in a store, and not on this machine's disks."""
    return bool(remote.scheme_of(path))


def join(path: str, *names: str) -> str:
    """Append names to a local or remote path."""
    return "/".join([path.rstrip("/"), *(name.strip("/") for name in names)])


def beside(path: str, name: str) -> str:
    """Return the path of another file in a file's folder."""
    folder, separator, _ = path.rpartition("/")
    return folder + separator + name


def resolve(path: str) -> tuple[pafs.FileSystem, str]:
    """Return pyarrow's filesystem that holds a path, and the path within it.

    It may be pickled; local paths are absolute: a worker's current folder is not the driver's.
    """
    if is_remote(path):
        filesystem, inner = remote.connect(path)
        return pafs.PyFileSystem(remote.Handler(filesystem)), inner
    return pafs.LocalFileSystem(), str(to_local(path))


def absolute(path: str) -> str:
    """Return a path that means the same in a process with another current folder."""
    if is_remote(path):
        return remote.outer_path(path, remote.connect(path)[1])
    return str(to_local(path))


def to_local(path: str) -> Path:
    """Return where a path that is not remote lies."""
    return Path(path.removeprefix("file://")).expanduser().absolute()


def shared_environment() -> dict[str, str]:
    """Return what processes on other machines need to know of S3; no credentials."""
    names = (*buckets.ENDPOINT_NAMES, *buckets.REGION_NAMES)
    return {name: os.environ[name] for name in names if name in os.environ}


def exists(path: str) -> bool:
    """Whether a file or folder is there."""
    if not is_remote(path):
        return to_local(path).exists()
    filesystem, inner = remote.connect(path)
    try:
        filesystem.info(inner)
    except FileNotFoundError:
        return False
    return True


def list_files(root: str, suffix: str = "") -> list[str]:
    """Return the files below `root` whose names end in `suffix`, sorted; a file is its own list.

    Raises:
        FileNotFoundError: There is no such bucket.
    """
    return sorted(path for path in _all_files(root) if path.lower().endswith(suffix.lower()))


def _all_files(root: str) -> list[str]:
    if is_remote(root):
        filesystem, inner = remote.connect(root)
        names = [name for name in filesystem.find(inner) if not name.endswith("/")]
        return [remote.outer_path(root, name) for name in names]
    filesystem, inner = resolve(root)
    if filesystem.get_file_info(inner).type == pafs.FileType.File:
        return [root]
    below = pafs.FileSelector(inner, recursive=True, allow_not_found=True)
    found = filesystem.get_file_info(below)
    return [item.path for item in found if item.type == pafs.FileType.File]


def read_bytes(path: str, start: int | None = None, end: int | None = None) -> bytes:
    """Read a file, whole or from byte `start` up to `end`; a negative start counts from its end.

    Raises:
        FileNotFoundError: There is no such file.
    """
    if is_remote(path):
        filesystem, inner = remote.connect(path)
        return bytes(filesystem.cat_file(inner, start=start, end=end))
    with to_local(path).open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        first, last, _ = slice(start, end).indices(size)
        file.seek(first)
        return file.read(max(0, last - first))


def part_path(path: str, start: int, end: int) -> str:
    """Name a part of a file, from byte `start` up to `end`, as if it were a file: `read_part`."""
    return f"{path}#bytes={start}-{end}"


def read_part(path: str) -> bytes:
    """Read a file, or the part of one that `part_path` has named.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is shorter than that.
    """
    if not (part := _PART.fullmatch(path)):
        return read_bytes(path)
    file, start, end = part[1], int(part[2]), int(part[3])
    content = read_bytes(file, start, end)
    if len(content) != end - start:
        raise ValueError(f"{file} ends before byte {end}: it was cut off, or is another file")
    return content


def sha256(path: str) -> str:
    """Hash a file; memory holds a piece of it, however large it is.

    Raises:
        FileNotFoundError: There is no such file.
    """
    if is_remote(path):
        digest = hashlib.sha256()
        for piece in remote.pieces(path):
            digest.update(piece)
        return digest.hexdigest()
    with to_local(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def open_ranges(path: str, starts: Sequence[int], ends: Sequence[int]) -> pa.NativeFile:
    """Open a file to read some ranges of bytes: of a remote one they are fetched, all at once."""
    if is_remote(path):
        return remote.open_ranges(path, starts, ends)
    return pafs.LocalFileSystem().open_input_file(str(to_local(path)))


def write_bytes_atomic(path: str, content: bytes) -> None:
    """Write a file such that no reader ever sees a part of it; folders are made as needed.

    Neither a kill nor a power cut leaves a part on a disk; an object appears when it is complete.
    """
    if is_remote(path):
        filesystem, inner = remote.connect(path)
        filesystem.pipe_file(inner, content)
    else:
        disk.write(to_local(path), content)


def create_exclusive(path: str, content: bytes) -> bool:
    """Write a file unless there is one, of all who try it only one; return whether it was written.

    On S3 it is a conditional write (`If-None-Match: *`). A store that ignores the condition lets
    two who try at the same moment both win; one that refuses it is an error.

    Raises:
        OSError: The store refused, for another reason than that the file is there.
    """
    if not is_remote(path):
        return disk.create(to_local(path), content)
    filesystem, inner = remote.connect(path)
    if remote.scheme_of(path) in remote.S3_SCHEMES:
        return bool(filesystem.create(inner, content))
    try:
        filesystem.pipe_file(inner, content, mode="create")
    except FileExistsError:
        return False
    return True


def move_file(source: Path, path: str) -> None:
    """Give a local file its place, local or remote, in which it is seen whole or not at all."""
    if is_remote(path):
        write_bytes_atomic(path, source.read_bytes())
        source.unlink()
    else:
        disk.move(source, to_local(path))


def write_json(path: str | Path, value: Any) -> None:
    """Write indented JSON atomically; refuses NaN, which is no JSON."""
    text = json.dumps(value, indent=2, allow_nan=False) + "\n"
    write_bytes_atomic(str(path), text.encode())


def delete_file(path: str) -> None:
    """Delete a file; it may be gone already."""
    with suppress(FileNotFoundError):
        if is_remote(path):
            filesystem, inner = remote.connect(path)
            filesystem.rm_file(inner)
        else:
            disk.delete(to_local(path))


def delete_directory(path: str) -> None:
    """Delete a folder and all in it; it may be gone already."""
    with suppress(FileNotFoundError):
        if is_remote(path):
            filesystem, inner = remote.connect(path)
            filesystem.rm(inner, recursive=True)
        else:
            disk.delete_folder(to_local(path))


def check_reachable(path: str) -> None:
    """Ask for a path's bucket, which takes seconds: later a store that is away is waited for.

    Of other stores than S3 only the package that knows them is asked for.

    Raises:
        FileNotFoundError: There is no such bucket.
        PermissionError: The credentials are missing, or not good for it.
        ConnectionError: The store does not answer; says what to look at.
        ValueError: The endpoint is no address, the bucket lies in another region, or nothing is
            known of such a scheme.
        ImportError: The package that knows the scheme is not installed; names it.
    """
    scheme = remote.scheme_of(path)
    if scheme in remote.S3_SCHEMES:
        buckets.check_bucket(path.removeprefix(f"{scheme}://").split("/")[0])
    elif scheme:
        remote.connect(path)


def check_writable(path: str) -> None:
    """Make sure that files can be written below a path, before hours of work depend on it.

    Raises:
        PermissionError: They cannot; says what stands in the way.
        FileNotFoundError, ConnectionError, ValueError, ImportError: See `check_reachable`.
    """
    check_reachable(path)
    probe = join(path, f".writable.{uuid.uuid4().hex[:8]}")
    try:
        write_bytes_atomic(probe, b"")
        delete_file(probe)
    except OSError as error:
        raise PermissionError(f"cannot write to {path}: {error}; give another folder") from error
