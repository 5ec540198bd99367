"""Which of a run's checkpoints is meant, when is one due, and which of them stay?

The folders themselves say what there is (`step_folders.py`). No index can disagree with that,
whatever was killed and when. Ray Train restarts workers, and is not told of checkpoints: its own
record of them is bound to its version, is written by a controller that may die, and is unknown to a
run without Ray. So one folder serves all: a run may start on a laptop and go on with any number of
workers.
"""

import re
from collections.abc import Sequence
from typing import Literal

from vibe_ray import storage
from vibe_ray.pretrained import Packaged, packaged
from vibe_ray.runs.log import read_metrics, score
from vibe_ray.runs.owners import OWNER_TEMPORARY
from vibe_ray.runs.step_folders import (
    PREFIX,
    checkpoint_name,
    complete_steps,
    folders_set_aside,
)

LEFT_BEHIND = re.compile(rf"{PREFIX}\d+|\.{PREFIX}\d+\.\w+\.(tmp|old)")


def find_checkpoint(
    path: str,
    which: Literal["best", "last"] = "best",
    packaged_name: Packaged = "vibe",
) -> str:
    """Return a checkpoint directory's path, given it, the folder of a run or search, or `open`.

    Args:
        path: A checkpoint directory, a run's folder, that with `/best` or `/last` behind it, a
            search's folder, or `open` for packaged weights.
        which: For a run's folder. A run that has not ended an epoch yet has only a last one.
        packaged_name: For `open`.

    Raises:
        FileNotFoundError: Neither a checkpoint nor a run with one.
    """
    if path == "open":
        return str(packaged(packaged_name))
    if storage.exists(storage.join(path, storage.MANIFEST)):
        return path
    if storage.exists(storage.join(path, "best", storage.MANIFEST)):  # of a search
        return storage.join(path, "best")
    run_dir, _, name = path.rstrip("/").rpartition("/")
    if run_dir and name in ("best", "last") and complete_steps(run_dir):
        return find_checkpoint(run_dir, "best" if name == "best" else "last")
    steps = complete_steps(path)
    if not steps:
        raise FileNotFoundError(
            f"no checkpoint at {path}: expected a checkpoint directory, or a run's folder as "
            "`python -m vibe_ray.train` writes it"
        )
    best = _best_step(read_metrics(path), steps)
    step = steps[-1] if which == "last" or best is None else best
    return storage.join(path, checkpoint_name(step))


def _best_step(rows: Sequence[dict[str, float]], steps: Sequence[int]) -> int | None:
    """Of the steps, the one with the best validation; the earlier of equals."""
    scored = [row for row in rows if int(row["step"]) in steps]
    return int(min(scored, key=score)["step"]) if scored else None


def prune(run_dir: str, rows: Sequence[dict[str, float]], kept: int) -> None:
    """Delete all of a run's checkpoints but the best and the most recent ones."""
    steps = complete_steps(run_dir)
    keep = {*steps[-max(1, kept - 1) :], _best_step(rows, steps)}
    for step in steps:
        if step not in keep:
            path = storage.join(run_dir, checkpoint_name(step))
            storage.delete_file(storage.join(path, storage.MANIFEST))
            storage.delete_directory(path)


def sweep(run_dir: str) -> None:
    """Delete what killed processes left of files that they were writing or deleting."""
    storage.sweep(run_dir, sparing=OWNER_TEMPORARY)
    whole = {checkpoint_name(step) for step in complete_steps(run_dir)}
    root = storage.absolute(run_dir).rstrip("/") + "/"
    folders = {path.removeprefix(root).partition("/")[0] for path in storage.list_files(run_dir)}
    for name in folders - whole - folders_set_aside(run_dir):
        if LEFT_BEHIND.fullmatch(name):
            storage.delete_directory(root + name)
