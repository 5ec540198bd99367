"""Keeps what a run has reached: checkpoints, its log, and word to whoever follows it.

The same in this process and in every worker of Ray Train; rank 0 writes.
"""

import logging
import math
import tempfile
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import torch
import torch.distributed as dist

from vibe_ray import storage
from vibe_ray.data.mixing import StepPlan
from vibe_ray.runs.checkpoints import prune, sweep
from vibe_ray.runs.integrity import opened
from vibe_ray.runs.log import RunLog
from vibe_ray.runs.snapshots import Snapshot
from vibe_ray.runs.step_folders import checkpoint_name, last_checkpoint
from vibe_ray.training.learner import Learner

logger = logging.getLogger(__name__)

Announce = Callable[[dict[str, float]], None]

PROBE_STEPS = 5
"""Steps after which the first guess is made of how many steps are so many minutes."""


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


class RunRecorder:
    """Records into a run's folder; a `loop.Recorder`. As a context it is closed at the end.

    An epoch is announced when its log is written, its checkpoint may still be on its way. A run
    killed in between goes on from the checkpoint before, and takes the log back to there.
    """

    def __init__(self, run_dir: str, cadence: Cadence, plan: StepPlan, announce: Announce) -> None:
        """Set up; writes nothing yet.

        Args:
            run_dir: Folder of the run.
            cadence: When checkpoints are made within an epoch.
            plan: Names the data that the run is trained on.
            announce: Called with every epoch's metrics, by every rank.
        """
        self._run_dir = run_dir
        self._announce = announce
        about = {"data_hash": plan.data_hash, "encoder_id": plan.encoder_id}
        self._checkpoints = Checkpointer(run_dir, cadence, about)
        self._log = RunLog(run_dir)

    def resume(self, state: Learner) -> None:
        """Bring a new state to the run's last checkpoint, and the log back to the same moment."""
        last = last_checkpoint(self._run_dir)
        if last is not None:
            with opened(last) as directory:
                state.load(directory)
        if state.rank == 0:
            sweep(self._run_dir)
            self._log.restart(state.history)

    def step(self, state: Learner) -> None:
        """Make a checkpoint if one is due."""
        self._checkpoints.after_step(state)

    def epoch(self, state: Learner) -> None:
        """Make a checkpoint, write the log, announce."""
        self._checkpoints.save(state)
        if state.rank == 0:
            self._log.append(state.history)
        self._announce(state.history[-1])

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        ended_by: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close; what ended the run already is not replaced by what then cannot be stored.

        Raises:
            OSError: Something could not be stored.
        """
        try:
            self.close()
        except Exception as error:
            if ended_by is None:
                raise
            logger.warning("what the run reached last was not stored: %s", error)

    def close(self) -> None:
        """Wait until all is stored.

        Raises:
            OSError: It could not be.
        """
        try:
            self._log.close()
        finally:
            self._checkpoints.wait()


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
            storage.DiskFullError: There was no room for the one before.
            OSError: It could not be written for another reason.
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
        writing, self._writing = self._writing, None
        if writing is not None:
            writing.result()

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
