"""Folders of a run's checkpoints: their names, and which of them are complete.

Without torch, since one of Ray's own processes asks for the last step whenever workers start, and
torch would take it seconds to load (`feed.py`).
"""

import json
import re
from collections.abc import Collection

from vibe_ray import storage

DAMAGED_FILE = "manifest.damaged.json"
"""In the place of the manifest, which is uploaded last and deleted first, where a file turned out
to be damaged: such a checkpoint counts as none."""
PREFIX = "step_"
STEP_FOLDER = re.compile(rf"{PREFIX}(\d+)")


def checkpoint_name(step: int) -> str:
    """Name of the checkpoint directory written after `step` updates."""
    return f"{PREFIX}{step:07d}"


def complete_steps(run_dir: str) -> list[int]:
    """Return the steps of a run's complete checkpoints, rising.

    One whose manifest is empty or cut off, as a power cut may leave it on a disk that lies, is not.
    """
    return sorted(step for step, path in _manifests(run_dir).items() if _is_readable(path))


def unreadable_manifests(run_dir: str) -> list[str]:
    """Return the paths of manifests that are empty or cut off."""
    return [path for path in _manifests(run_dir).values() if not _is_readable(path)]


def _manifests(run_dir: str) -> dict[int, str]:
    """Paths of the manifests in a run's step folders, by step."""
    root = storage.absolute(run_dir).rstrip("/") + "/"
    found = {}
    for path in storage.list_files(run_dir, f"/{storage.MANIFEST}"):
        folder = STEP_FOLDER.fullmatch(path.removeprefix(root).removesuffix(f"/{storage.MANIFEST}"))
        if folder:
            found[int(folder[1])] = path
    return found


def _is_readable(path: str) -> bool:
    try:
        return isinstance(json.loads(storage.read_bytes(path)), dict)
    except (ValueError, FileNotFoundError):  # gone: it was just pruned
        return False


def last_step(run_dir: str) -> int:
    """Return the step from which a run goes on, 0 when it has to start anew."""
    return max(complete_steps(run_dir), default=0)


def last_checkpoint(run_dir: str, without: Collection[str] = ()) -> str | None:
    """Return the checkpoint from which a run goes on, None when it has to start anew.

    Args:
        run_dir: Folder of the run.
        without: Paths of checkpoints that do not count.
    """
    paths = [storage.join(run_dir, checkpoint_name(step)) for step in complete_steps(run_dir)]
    return next((path for path in reversed(paths) if path not in without), None)


def set_aside(path: str) -> None:
    """Let a checkpoint count as none, and keep its files."""
    manifest = storage.join(path, storage.MANIFEST)
    storage.write_bytes_atomic(storage.join(path, DAMAGED_FILE), storage.read_bytes(manifest))
    storage.delete_file(manifest)


def folders_set_aside(run_dir: str) -> set[str]:
    """Return the names of the folders that were set aside."""
    root = storage.absolute(run_dir).rstrip("/") + "/"
    found = storage.list_files(run_dir, f"/{DAMAGED_FILE}")
    return {path.removeprefix(root).removesuffix(f"/{DAMAGED_FILE}") for path in found}
