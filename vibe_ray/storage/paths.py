"""Paths: the only place that knows whether files lie on a disk or in an object store.

A path is a local one or `s3://bucket/key`. Credentials come from the environment wherever a process
runs (they are never pickled, logged or put into a config); `AWS_ENDPOINT_URL` names another store
than Amazon's. `object_store.py` and `buckets.py` are this module's private half.
"""

import json
import os
import shutil
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow.fs as pafs

from vibe_ray.storage import buckets, object_store
from vibe_ray.storage.object_store import REMOTE

MANIFEST = "manifest.json"
"""The file of a folder without which nobody takes the folder for whole."""
TEMPORARY = (".tmp", ".old")
"""Endings of folders on their way in and out; their names begin with a dot."""
NUM_COPIERS = 8


def is_remote(path: str) -> bool:
    """Whether a path names an object store."""
    return path.startswith(REMOTE)


def join(path: str, *names: str) -> str:
    """Append names to a local or remote path."""
    return "/".join([path.rstrip("/"), *(name.strip("/") for name in names)])


def beside(path: str, name: str) -> str:
    """Return the path of another file in a file's folder."""
    folder, separator, _ = path.rpartition("/")
    return folder + separator + name


def resolve(path: str) -> tuple[pafs.FileSystem, str]:
    """Return the filesystem that holds a path, and the path within it.

    The remote filesystem retries and may be pickled; local paths become absolute, since a worker's
    current folder is not the driver's.
    """
    if is_remote(path):
        return pafs.PyFileSystem(object_store.RetryingS3()), path.removeprefix(REMOTE)
    return pafs.LocalFileSystem(), str(Path(path).expanduser().absolute())


def absolute(path: str) -> str:
    """Return a path that means the same in a process with another current folder."""
    return path if is_remote(path) else resolve(path)[1]


def shared_environment() -> dict[str, str]:
    """Return what processes on other machines need to know of the object store; no credentials."""
    names = (*buckets.ENDPOINT_NAMES, *buckets.REGION_NAMES)
    return {name: os.environ[name] for name in names if name in os.environ}


def exists(path: str) -> bool:
    """Whether a file or folder is there."""
    filesystem, inner = resolve(path)
    return filesystem.get_file_info(inner).type != pafs.FileType.NotFound


def list_files(root: str, suffix: str = "") -> list[str]:
    """Return the files below `root` whose names end in `suffix`, sorted; a file is its own list."""
    return sorted(path for path in _all_files(root) if path.lower().endswith(suffix.lower()))


def _all_files(root: str) -> list[str]:
    if is_remote(root):
        return [REMOTE + name for name in buckets.list_objects(root.removeprefix(REMOTE))]
    filesystem, inner = resolve(root)
    if filesystem.get_file_info(inner).type == pafs.FileType.File:
        return [root]
    below = pafs.FileSelector(inner, recursive=True, allow_not_found=True)
    found = filesystem.get_file_info(below)
    return [item.path for item in found if item.type == pafs.FileType.File]


def read_bytes(path: str) -> bytes:
    """Read a whole file.

    Raises:
        FileNotFoundError: There is no such file.
    """
    filesystem, inner = resolve(path)
    with filesystem.open_input_stream(inner, compression=None) as stream:
        return bytes(stream.read())


def write_bytes_atomic(path: str, content: bytes) -> None:
    """Write a file such that no reader ever sees a part of it; folders are made as needed."""
    filesystem, inner = resolve(path)
    if is_remote(path):  # an object appears when its upload is complete
        with filesystem.open_output_stream(inner, compression=None) as stream:
            stream.write(content)
        return
    target = Path(inner)
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        temporary.write_bytes(content)
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: str | Path, value: Any) -> None:
    """Write indented JSON atomically; refuses NaN, which is no JSON."""
    text = json.dumps(value, indent=2, allow_nan=False) + "\n"
    write_bytes_atomic(str(path), text.encode())


def delete_file(path: str) -> None:
    """Delete a file; it may be gone already."""
    filesystem, inner = resolve(path)
    with suppress(FileNotFoundError):
        filesystem.delete_file(inner)


def delete_directory(path: str) -> None:
    """Delete a folder and all in it; it may be gone already."""
    filesystem, inner = resolve(path)
    with suppress(FileNotFoundError):
        filesystem.delete_dir(inner)


@contextmanager
def local_copy(path: str) -> Iterator[Path]:
    """Give a file or folder as a local one: itself, or a copy that lives as long as the block.

    Raises:
        FileNotFoundError: Nothing is at a remote path; of a local one, who reads it will tell.
    """
    if not is_remote(path):
        yield Path(path).expanduser()
        return
    with TemporaryDirectory() as directory:
        yield _download(path.rstrip("/"), Path(directory))


def _download(path: str, directory: Path) -> Path:
    """Copy a remote file, or a folder's files, several at a time; return where it is."""
    target = directory / path.rsplit("/", 1)[-1]

    def fetch(file: str) -> None:
        below = target / file.removeprefix(path).lstrip("/")
        if not below.resolve().is_relative_to(target.resolve()):
            raise ValueError(f"{file} would be copied out of its folder: rename it")
        below.parent.mkdir(parents=True, exist_ok=True)
        below.write_bytes(read_bytes(file))

    files = list_files(path)
    if not files:
        raise FileNotFoundError(f"nothing at {path}")
    with ThreadPoolExecutor(NUM_COPIERS) as pool:
        list(pool.map(fetch, files))
    return target


def upload_directory(source: Path, path: str) -> None:
    """Put a local folder's files in the place of what is at a path.

    Nothing half-written is ever taken for the whole. Behind S3 there is no renaming of folders:
    `manifest.json`, which readers ask for first, is deleted first and written last.
    """
    if is_remote(path):
        _upload(source, path)
        return
    target = Path(absolute(path))
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary, old = (
        target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}{suffix}") for suffix in TEMPORARY
    )
    for file in source.rglob("*"):
        if file.is_file():  # contents alone: what is private in a temporary folder is not in a run
            copy = temporary / file.relative_to(source)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, copy)
    if target.exists():
        target.replace(old)
    temporary.replace(target)
    shutil.rmtree(old, ignore_errors=True)


def _upload(source: Path, path: str) -> None:
    files = {
        join(path, file.relative_to(source).as_posix()): file
        for file in source.rglob("*")
        if file.is_file()
    }
    manifest = join(path, MANIFEST)
    before = set(list_files(path))
    with ThreadPoolExecutor(NUM_COPIERS) as pool:
        if manifest in before:
            delete_file(manifest)
        list(pool.map(delete_file, before - files.keys() - {manifest}))
        others = [name for name in files if name != manifest]
        list(pool.map(lambda name: write_bytes_atomic(name, files[name].read_bytes()), others))
    if manifest in files:
        write_bytes_atomic(manifest, files[manifest].read_bytes())


def check_reachable(path: str) -> None:
    """Ask for a path's bucket, which takes seconds: later a store that is away is waited for.

    Raises:
        FileNotFoundError: There is no such bucket.
        PermissionError: The credentials are missing, or not good for it.
        ConnectionError: The store does not answer; says what to look at.
        ValueError: The endpoint is no address, or the bucket lies in another region.
    """
    if is_remote(path):
        buckets.check_bucket(path.removeprefix(REMOTE).split("/")[0])


def check_writable(path: str) -> None:
    """Make sure that files can be written below a path, before hours of work depend on it.

    Raises:
        PermissionError: They cannot; says what stands in the way.
        FileNotFoundError, ConnectionError, ValueError: See `check_reachable`.
    """
    check_reachable(path)
    probe = join(path, f".writable.{uuid.uuid4().hex[:8]}")
    try:
        write_bytes_atomic(probe, b"")
        delete_file(probe)
    except OSError as error:
        raise PermissionError(f"cannot write to {path}: {error}; give another --storage") from error
