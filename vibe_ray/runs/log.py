"""A run's folder: metrics and event files for TensorBoard.

run.json           what the run is: config and hash of its data
metrics.jsonl      one line an epoch
tensorboard/       event files (local folders only; the same numbers as metrics.jsonl)
step_0001000/      checkpoints, see `step_folders.py` and `snapshots.py`
failure.json       why the run stopped before its end, if it can only fail again
"""

import json
import logging
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.summary import scalar

from vibe_ray import storage
from vibe_ray.config import TrainConfig

logger = logging.getLogger(__name__)

METRICS_FILE = "metrics.jsonl"
FAILURE_FILE = "failure.json"
SCORE = "val/pa_mpjpe_mm"
"""What a generator's schedules and the choice of its best checkpoint follow; lower is better. The
same for a frame encoder, which learns with a generator of single frames."""
PRIOR_SCORE = "val/reconstruction_mm"
"""The same for a motion prior."""
FAILURES: dict[str, type[Exception]] = {
    "diverged": FloatingPointError,
    "disk": storage.DiskFullError,
    "data": ValueError,
}
"""What comes again if a run is only taken up again, by its name in the file."""


class RunLog:
    """Writes a run's epochs. They are part of the state: a run taken up again takes them along."""

    def __init__(self, run_dir: str) -> None:
        self.run_dir = run_dir
        self._events: EventsWriter | None = None

    def restart(self, history: Sequence[dict[str, float]]) -> None:
        """Take back what a run wrote after the checkpoint from which it goes on."""
        if read_metrics(self.run_dir) != list(history):
            self._write(history)

    def append(self, history: Sequence[dict[str, float]]) -> None:
        """Write the epochs so far, the last of which is new."""
        self._write(history)
        self._write_events(history[-1])
        logger.info("%s", summary(history[-1]))

    def _write(self, history: Sequence[dict[str, float]]) -> None:
        lines = "".join(json.dumps(row, allow_nan=False) + "\n" for row in history)
        storage.write_bytes_atomic(storage.join(self.run_dir, METRICS_FILE), lines.encode())

    def close(self) -> None:
        """Close the event file."""
        if self._events is not None:
            events, self._events = self._events, None
            with storage.room_for(self._folder):
                events.close()

    @property
    def _folder(self) -> str:
        return storage.join(self.run_dir, "tensorboard")

    def _write_events(self, metrics: dict[str, float]) -> None:
        """Write TensorBoard's events at once, by this thread.

        The thread of `tensorboardX.SummaryWriter` ends where a disk is full, and keeps whoever
        writes on waiting for ever.
        """
        if storage.is_remote(self.run_dir):
            return
        step = int(metrics["step"])
        with storage.room_for(self._folder):
            if self._events is None:
                Path(self._folder).mkdir(parents=True, exist_ok=True)
                self._events = EventsWriter(storage.join(self._folder, "events"))
                # What an earlier process wrote from this step on is taken back.
                begun = SessionLog(status=SessionLog.START)
                self._write_event(step, file_version="brain.Event:2")
                self._write_event(step, session_log=begun)
            for name, value in metrics.items():
                self._write_event(step, summary=scalar(name, value))
            self._events.flush()

    def _write_event(self, step: int, **what: object) -> None:
        assert self._events is not None
        self._events.write_event(Event(wall_time=time.time(), step=step, **what))


def read_metrics(run_dir: str) -> list[dict[str, float]]:
    """Read a run's epochs; a run that has not finished one has none."""
    path = storage.join(run_dir, METRICS_FILE)
    if not storage.exists(path):
        return []
    return [json.loads(line) for line in storage.read_bytes(path).decode().splitlines()]


def summary(metrics: dict[str, float]) -> str:
    """One line of an epoch for the console."""
    names = {
        SCORE: "validation PA-MPJPE",
        PRIOR_SCORE: "reconstruction",
        "val/frame/reconstruction_mm": "frame by frame",
        "val/accel_error_mm_per_frame2": "accel. error",
        "train/generator/total": "generator",
        "train/discriminator/real": "D real",
        "train/discriminator/fake": "D fake",
    }
    parts = [f"{text} {metrics[name]:.4g}" for name, text in names.items() if name in metrics]
    return f"epoch {int(metrics['epoch'])} (step {int(metrics['step'])}): " + ", ".join(parts)


def write_failure(run_dir: str, error: Exception) -> None:
    """Note why a run can only fail again: it diverged, no disk has room, or its data are bad."""
    cause = getattr(error, "cause", error)  # Ray wraps what a reader raised
    kind = next((name for name, kind in FAILURES.items() if isinstance(cause, kind)), "data")
    # Ray adds lines of its own; ours are one line.
    failure = {"kind": kind, "message": str(cause).splitlines()[0]}
    storage.write_json(storage.join(run_dir, FAILURE_FILE), failure)


def read_failure(run_dir: str) -> Exception | None:
    """Return what `write_failure` noted, None for a run that may go on."""
    path = storage.join(run_dir, FAILURE_FILE)
    if not storage.exists(path):
        return None
    failure = json.loads(storage.read_bytes(path))
    return FAILURES[failure["kind"]](failure["message"])


def clear_failure(run_dir: str) -> None:
    """Let a run that failed be tried again."""
    storage.delete_file(storage.join(run_dir, FAILURE_FILE))


def score_name(config: TrainConfig) -> str:
    """Return the name of the metric by which checkpoints and candidates are compared."""
    return PRIOR_SCORE if config.task == "motion_prior" else SCORE


def score(metrics: Mapping[str, float]) -> float:
    """Return that metric of an epoch, whatever was trained; lower is better."""
    return metrics[SCORE if SCORE in metrics else PRIOR_SCORE]


def innermost_line(text: str) -> str:
    """Return the last line of an error that came through several processes, if it has any."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else ""
