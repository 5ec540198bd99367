"""Is a checkpoint what was written? Its manifest holds the hash of every other file.

Disks, memory and networks flip bits now and then, and a network with other weights learns and
answers without a word. Hashing costs about as much as reading. Checkpoints that were written before
there were hashes are taken as they are.
"""

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vibe_ray import storage
from vibe_ray.runs.step_folders import (
    last_checkpoint,
    set_aside,
    unreadable_manifests,
)

logger = logging.getLogger(__name__)

FILES = "files"
"""In a manifest: SHA-256 of every other file of the checkpoint, by its name."""


class DamagedError(ValueError):
    """A file of a checkpoint is not what was written."""


def file_hashes(directory: Path) -> dict[str, str]:
    """Hash all files of a directory but its manifest; memory holds a piece of one."""
    files = sorted(path for path in directory.iterdir() if path.is_file())
    return {path.name: storage.sha256(str(path)) for path in files if path.name != storage.MANIFEST}


@contextmanager
def opened(path: str) -> Iterator[Path]:
    """Give a checkpoint as a local directory, every file of which is what was written.

    Args:
        path: Of a checkpoint directory, local or remote.

    Raises:
        FileNotFoundError: Nothing is at a remote path.
        DamagedError: A file is damaged or missing; names it.
    """
    with storage.local_copy(path) as directory:
        check_whole(directory, path)
        yield directory


def check_whole(directory: Path, path: str) -> None:
    """Compare the files of a checkpoint with the hashes in its manifest.

    Args:
        directory: Where they are.
        path: Where they came from, for the message.

    Raises:
        DamagedError: A file is damaged or missing; names it.
    """
    manifest = directory / storage.MANIFEST
    if not manifest.is_file():
        return  # who reads on tells what is missing
    for name, expected in _written(manifest, path).items():
        file = directory / name
        if not file.is_file():
            raise _damaged(path, name, "is missing")
        if (found := storage.sha256(str(file))) != expected:
            raise _damaged(
                *(path, name),
                f"is damaged: its {file.stat().st_size} bytes have the SHA-256 {found[:12]}..., "
                f"{expected[:12]}... were written",
            )


def _written(manifest: Path, path: str) -> dict[str, str]:
    try:
        hashes: dict[str, str] = json.loads(manifest.read_bytes()).get(FILES, {})
        is_sane = all(storage.is_plain_name(name) for name in hashes)
    except (ValueError, AttributeError, TypeError):
        is_sane = False
    if not is_sane:
        raise _damaged(path, storage.MANIFEST, "is damaged")
    return hashes


def _damaged(path: str, name: str, what: str) -> DamagedError:
    return DamagedError(
        f"{storage.join(path, name)} {what}: restore it, or take another checkpoint (of a run, "
        "--resume goes on from the last good one)"
    )


def fall_back(run_dir: str) -> None:
    """Let a run go on from the last of its checkpoints that is what was written, and say so.

    Damaged ones later than that are set aside: nobody takes them for checkpoints again, and their
    files stay until the run writes a checkpoint of the same step.

    Raises:
        DamagedError: The run has checkpoints, and all are damaged.
    """
    damaged = []
    for manifest in unreadable_manifests(run_dir):
        logger.warning("%s is empty or cut off: the checkpoint counts as none", manifest)
        damaged.append(manifest.removesuffix(f"/{storage.MANIFEST}"))
    while last := last_checkpoint(run_dir, without=damaged):
        try:
            with opened(last):
                break
        except DamagedError as error:
            logger.warning("%s", error)
            damaged.append(last)
    if damaged and not last:
        raise DamagedError(
            f"no checkpoint in {run_dir} is whole ({', '.join(damaged)}): restore one, or start "
            "anew with --name NAME"
        )
    for path in damaged:
        set_aside(path)
        logger.warning("%s is set aside: the run goes on from %s", path, last)
