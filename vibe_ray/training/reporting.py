"""A run's folder: metrics, the index of its checkpoints, and event files for TensorBoard.

    metrics.jsonl      one line an epoch
    checkpoints.json   names of the last and the best checkpoint
    tensorboard/       event files (local folders only; the same numbers as metrics.jsonl)
    step_0001000/      checkpoints, see `state.py`

Written by one process: the driver's or Ray Train's controller, which outlives lost workers.
"""

import json
import logging
from dataclasses import dataclass, field
from typing import Literal

from tensorboardX import SummaryWriter

from vibe_ray import storage
from vibe_ray.pretrained import packaged
from vibe_ray.training.loop import SCORE
from vibe_ray.training.state import MANIFEST_FILE

logger = logging.getLogger(__name__)

METRICS_FILE = "metrics.jsonl"
INDEX_FILE = "checkpoints.json"


def checkpoint_name(step: int) -> str:
    """Name of the checkpoint directory written after `step` updates."""
    return f"step_{step:07d}"


@dataclass
class RunLog:
    """Appends epochs to a run's folder; taken up again after a restart, epochs redone replace."""

    run_dir: str
    rows: list[dict[str, float]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.rows = read_metrics(self.run_dir)

    def append(self, metrics: dict[str, float]) -> None:
        """Write one epoch's row and the index; the checkpoint of its step must be in place."""
        self.rows = [row for row in self.rows if row["step"] < metrics["step"]] + [metrics]
        lines = "".join(json.dumps(row, allow_nan=False) + "\n" for row in self.rows)
        storage.write_bytes_atomic(storage.join(self.run_dir, METRICS_FILE), lines.encode())
        best = min(self.rows, key=lambda row: row[SCORE])
        index = {
            "last": checkpoint_name(int(metrics["step"])),
            "best": checkpoint_name(int(best["step"])),
            SCORE: best[SCORE],
        }
        storage.write_json(storage.join(self.run_dir, INDEX_FILE), index)
        self._write_events(metrics)
        logger.info("%s", summary(metrics))

    def _write_events(self, metrics: dict[str, float]) -> None:
        if storage.is_remote(self.run_dir):
            return
        step = int(metrics["step"])
        folder = storage.join(self.run_dir, "tensorboard")
        # Files are named by the second: without the step, a quick epoch would replace the last one.
        with SummaryWriter(folder, filename_suffix=f".{step}") as writer:
            for name, value in metrics.items():
                writer.add_scalar(name, value, step)


def read_metrics(run_dir: str) -> list[dict[str, float]]:
    """Read a run's epochs; a run that has not finished one has none."""
    path = storage.join(run_dir, METRICS_FILE)
    if not storage.exists(path):
        return []
    return [json.loads(line) for line in storage.read_bytes(path).decode().splitlines()]


def find_checkpoint(
    path: str,
    which: Literal["best", "last"] = "best",
    packaged_name: Literal["vibe", "frame_baseline"] = "vibe",
) -> str:
    """Return a checkpoint directory's path, given it, the folder of a run, or `open`.

    Args:
        path: A checkpoint directory, a run's folder, or `open` for packaged weights.
        which: For a run's folder.
        packaged_name: For `open`.

    Raises:
        FileNotFoundError: Neither a checkpoint nor a run with one.
    """
    if path == "open":
        return str(packaged(packaged_name))
    if storage.exists(storage.join(path, MANIFEST_FILE)):
        return path
    index = storage.join(path, INDEX_FILE)
    if not storage.exists(index):
        raise FileNotFoundError(
            f"no checkpoint at {path}: expected a checkpoint directory, or a run's folder with "
            f"{INDEX_FILE} as `python -m vibe_ray.train` writes it"
        )
    return storage.join(path, json.loads(storage.read_bytes(index))[which])


def summary(metrics: dict[str, float]) -> str:
    """One line of an epoch for the console."""
    names = {
        SCORE: "PA-MPJPE",
        "val/accel_error_mm_per_frame2": "accel. error",
        "train/generator/total": "generator",
        "train/discriminator/real": "D real",
        "train/discriminator/fake": "D fake",
    }
    parts = [f"{text} {metrics[name]:.4g}" for name, text in names.items() if name in metrics]
    return f"epoch {int(metrics['epoch'])} (step {int(metrics['step'])}): " + ", ".join(parts)
