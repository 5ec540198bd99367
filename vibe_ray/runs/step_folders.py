"""Folders of a run's checkpoints: their names, and which of them are complete.

Without torch, since one of Ray's own processes asks for the last step whenever workers start, and
torch would take it seconds to load (`feed.py`).
"""

import re

from vibe_ray import storage

MANIFEST_FILE = "manifest.json"
"""Uploaded last and deleted first: a checkpoint with a manifest is complete."""
PREFIX = "step_"
STEP_FOLDER = re.compile(rf"{PREFIX}(\d+)")


def checkpoint_name(step: int) -> str:
    """Name of the checkpoint directory written after `step` updates."""
    return f"{PREFIX}{step:07d}"


def complete_steps(run_dir: str) -> list[int]:
    """Return the steps of a run's complete checkpoints, rising."""
    root = storage.absolute(run_dir).rstrip("/") + "/"
    manifests = storage.list_files(run_dir, f"/{MANIFEST_FILE}")
    names = (path.removeprefix(root).removesuffix(f"/{MANIFEST_FILE}") for path in manifests)
    return sorted(int(found[1]) for name in names if (found := STEP_FOLDER.fullmatch(name)))


def last_step(run_dir: str) -> int:
    """Return the step from which a run goes on, 0 when it has to start anew."""
    return max(complete_steps(run_dir), default=0)


def last_checkpoint(run_dir: str) -> str | None:
    """Return the checkpoint from which a run goes on, None when it has to start anew."""
    step = last_step(run_dir)
    return storage.join(run_dir, checkpoint_name(step)) if step else None
