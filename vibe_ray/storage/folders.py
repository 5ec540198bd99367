"""Folders as wholes: copied down, put in a place, and looked at before anything is put there."""

from collections.abc import Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from vibe_ray.storage import disk, remote
from vibe_ray.storage.paths import (
    MANIFEST,
    absolute,
    delete_file,
    is_remote,
    join,
    list_files,
    to_local,
    write_bytes_atomic,
)

NUM_COPIERS = 8


def visible_files(path: str) -> list[str]:
    """Return the names, below a folder, of all files in it but hidden ones, sorted.

    Hidden are `.gitkeep`, `.DS_Store` and what was on its way in when a command was killed.
    """
    root = absolute(path).rstrip("/") + "/"
    names = (file.removeprefix(root) for file in list_files(path))
    return [name for name in names if not any(part.startswith(".") for part in name.split("/"))]


def sweep(path: str, sparing: str = "") -> None:
    """Delete what killed processes left half-written in a folder; in a store nothing is.

    Args:
        path: Folder in which nobody else writes now.
        sparing: Start of names that stay, since others may write them now.
    """
    if is_remote(path) or not to_local(path).is_dir():
        return
    for file in to_local(path).iterdir():
        is_spared = bool(sparing) and file.name.startswith(sparing)
        if file.is_file() and disk.LEFT_BEHIND.fullmatch(file.name) and not is_spared:
            delete_file(str(file))


@contextmanager
def local_copy(path: str) -> Iterator[Path]:
    """Give a file or folder as a local one: itself, or a copy that lives as long as the block.

    Raises:
        FileNotFoundError: Nothing is at a remote path; of a local one, who reads it will tell.
    """
    if not is_remote(path):
        yield Path(path.removeprefix("file://")).expanduser()
        return
    with TemporaryDirectory() as directory:
        yield _download(absolute(path), Path(directory))


def _download(path: str, directory: Path) -> Path:
    """Copy a remote file, or a folder's files, several at a time; return where it is."""
    target = directory / path.rsplit("/", 1)[-1]

    def fetch(file: str) -> None:
        below = target / file.removeprefix(path).lstrip("/")
        if not below.resolve().is_relative_to(target.resolve()):
            raise ValueError(f"{file} would be copied out of its folder: rename it")
        below.parent.mkdir(parents=True, exist_ok=True)
        remote.copy_down(file, below)

    files = list_files(path)
    if not files:
        raise FileNotFoundError(f"nothing at {path}")
    with ThreadPoolExecutor(NUM_COPIERS) as pool:
        list(pool.map(fetch, files))
    return target


def upload_directory(source: Path, path: str) -> None:
    """Put a local folder's files in the place of what is at a path: for folders of our own alone.

    Nothing half-written is ever taken for the whole. In a store there is no renaming of folders:
    `manifest.json`, which readers ask for first, is deleted first and written last.
    """
    if is_remote(path):
        put_files(source, path, replaced=_names_at(path))
    else:
        disk.copy_folder(source, to_local(path))


def put_files(source: Path, path: str, replaced: Collection[str] = ()) -> None:
    """Put a local folder's files into one where others may lie, which stay.

    Args:
        source: Local folder.
        path: Folder, local or remote.
        replaced: Names in it that are deleted, but for those that are written anew.
    """
    files = {
        file.relative_to(source).as_posix(): file for file in source.rglob("*") if file.is_file()
    }

    def put(name: str) -> None:
        write_bytes_atomic(join(path, name), files[name].read_bytes())

    with ThreadPoolExecutor(NUM_COPIERS) as pool:
        if MANIFEST in replaced:
            delete_file(join(path, MANIFEST))
        obsolete = set(replaced) - files.keys() - {MANIFEST}
        list(pool.map(delete_file, [join(path, name) for name in obsolete]))
        list(pool.map(put, files.keys() - {MANIFEST}))
    if MANIFEST in files:
        put(MANIFEST)


def _names_at(path: str) -> set[str]:
    root = absolute(path).rstrip("/") + "/"
    return {file.removeprefix(root) for file in list_files(path)}
