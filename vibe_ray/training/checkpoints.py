"""Which of a run's checkpoints is meant, when is one due, and which of them stay?

The folders themselves say what there is (`step_folders.py`). No index can disagree with that,
whatever was killed and when. Ray Train restarts workers, and is not told of checkpoints: its own
record of them is bound to its version, is written by a controller that may die, and is unknown to a
run without Ray. So one folder serves all: a run may start on a laptop and go on with any number of
workers.
"""

import math
import re
import tempfile
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
import torch.distributed as dist

from vibe_ray import storage
from vibe_ray.pretrained import Packaged, packaged
from vibe_ray.training.learner import Learner, score
from vibe_ray.training.reporting import read_metrics
from vibe_ray.training.snapshots import Snapshot
from vibe_ray.training.step_folders import MANIFEST_FILE, PREFIX, checkpoint_name, complete_steps

LEFT_BEHIND = re.compile(rf"{PREFIX}\d+|\.{PREFIX}\d+\.\w+\.(tmp|old)")
PROBE_STEPS = 5
"""Steps after which the first guess is made of how many steps are so many minutes."""


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
    if storage.exists(storage.join(path, MANIFEST_FILE)):
        return path
    if storage.exists(storage.join(path, "best", MANIFEST_FILE)):  # of a search
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
            storage.delete_file(storage.join(path, MANIFEST_FILE))
            storage.delete_directory(path)


def sweep(run_dir: str) -> None:
    """Delete what killed processes left of checkpoints that they were writing or deleting."""
    whole = {checkpoint_name(step) for step in complete_steps(run_dir)}
    root = storage.absolute(run_dir).rstrip("/") + "/"
    folders = {path.removeprefix(root).partition("/")[0] for path in storage.list_files(run_dir)}
    for name in folders - whole:
        if LEFT_BEHIND.fullmatch(name):
            storage.delete_directory(root + name)


@dataclass(frozen=True, kw_only=True)
class Cadence:
    """When checkpoints are made within an epoch; every epoch ends in one in any case."""

    steps: int = 0
    """At every so many steps; 0 goes by the clock."""
    minutes: float = 10.0
    """About every so many minutes; 0 makes none within an epoch."""

    def __post_init__(self) -> None:
        if self.steps < 0 or self.minutes < 0:
            raise ValueError(
                f"checkpoints every {self.steps} steps or {self.minutes} minutes: expected 0 or "
                "more"
            )


class Checkpointer:
    """Saves a run's state in the background, one checkpoint at a time.

    Every rank calls it at the same steps, since making a checkpoint is something they do together;
    rank 0 writes. To go by the clock the ranks agree on a step: asking a clock at each would make
    them wait for one another.
    """

    def __init__(self, run_dir: str, cadence: Cadence, about: Mapping[str, str]) -> None:
        """Set up; writes nothing yet.

        Args:
            run_dir: Folder of the run.
            cadence: When checkpoints are made within an epoch.
            about: What every checkpoint's manifest says beside its step and metrics.
        """
        self.run_dir = run_dir
        self.cadence = cadence
        self.about = about
        self._writer = ThreadPoolExecutor(1, "checkpoints")
        self._writing: Future[None] | None = None
        self._since: tuple[int, float] | None = None
        self._due = math.inf

    def after_step(self, state: Learner) -> None:
        """Save if a checkpoint is due."""
        if self._is_due(state):
            self.save(state)

    def save(self, state: Learner) -> None:
        """Take the state as it is now and write it in the background.

        Raises:
            FloatingPointError: A loss term or a weight is not finite; the checkpoints before are
                untouched.
            OSError: The one before could not be written.
        """
        state.check_finite()
        ended = [row for row in state.history if row["step"] == state.step]
        metrics = ended[0] if ended else {}
        snapshot = state.snapshot({"step": state.step, **self.about, "metrics": metrics})
        self.wait()
        if state.rank == 0:
            self._writing = self._writer.submit(self._write, snapshot)
        self._since = None

    def wait(self) -> None:
        """Wait until what was saved is stored.

        Raises:
            OSError: It could not be.
        """
        if self._writing is not None:
            self._writing.result()
            self._writing = None

    def _write(self, snapshot: Snapshot) -> None:
        with tempfile.TemporaryDirectory() as directory:
            snapshot.write(Path(directory))
            target = storage.join(self.run_dir, checkpoint_name(snapshot.step))
            storage.upload_directory(Path(directory), target)
        prune(self.run_dir, snapshot.history, snapshot.config.checkpoints_kept)

    def _is_due(self, state: Learner) -> bool:
        if self.cadence.steps:
            return state.step % self.cadence.steps == 0
        return self.cadence.minutes > 0 and self._is_time(state)

    def _is_time(self, state: Learner) -> bool:
        """Whether the minutes have passed, on every rank by rank 0's clock."""
        if self._since is None:
            self._since, self._due = (state.step, time.monotonic()), state.step + PROBE_STEPS
        if state.step < self._due:
            return False
        start, begun = self._since
        per_step = (time.monotonic() - begun) / (state.step - start)
        steps = _agreed(max(1, round(60 * self.cadence.minutes / per_step)), state.device)
        self._due = start + steps
        return state.step >= self._due


def _agreed(number: int, device: torch.device) -> int:
    """Return rank 0's number on every rank."""
    if not dist.is_initialized():
        return number
    shared = torch.tensor(number, device=device)
    dist.broadcast(shared, src=0)
    return int(shared)
