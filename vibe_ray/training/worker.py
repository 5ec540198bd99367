"""The part of a run that Ray Train carries elsewhere: its workers, and what its controller calls.

A dataset given as a function is made anew in the controller at every (re)start of the workers, so
it begins at the latest checkpoint's step.
"""

import functools
import json
import logging
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ray.data
import ray.train
import ray.train.torch
from ray.train.v2.api.callback import UserCallback

from vibe_ray import storage
from vibe_ray.config import TrainConfig, from_dict
from vibe_ray.data.mixing import StepPlan
from vibe_ray.data.streams import step_batches, step_dataset
from vibe_ray.training.loop import run_epochs
from vibe_ray.training.reporting import RunLog, checkpoint_name
from vibe_ray.training.state import MANIFEST_FILE, TrainState


def dataset_from_latest(
    config: TrainConfig, run_dir: str, workers: int, plan: StepPlan
) -> ray.data.Dataset:
    """Make the stream that begins where the latest checkpoint stands. Runs in the controller."""
    filesystem, path = storage.resolve(run_dir)
    start = 0
    try:
        checkpoint = ray.train.Result.from_path(path, storage_filesystem=filesystem).checkpoint
    except RuntimeError:  # Ray's word for a run that has reported nothing yet
        checkpoint = None
    if checkpoint is not None:
        with checkpoint.as_directory() as directory:
            start = json.loads((Path(directory) / MANIFEST_FILE).read_text())["step"]
    return step_dataset(plan, start, config.num_steps - start, workers)


def train_worker(loop_config: dict[str, Any]) -> None:
    """Body of every Ray Train worker."""
    _show_progress()
    config, plan = from_dict(loop_config["config"]), loop_config["plan"]
    context = ray.train.get_context()
    rank = context.get_world_rank()
    state = TrainState.create(config, ray.train.torch.get_device(), rank)
    if checkpoint := ray.train.get_checkpoint():
        with checkpoint.as_directory() as directory:
            state.load(Path(directory))
    state.parallelize(functools.partial(ray.train.torch.prepare_model, move_to_device=False))

    def report(metrics: dict[str, float], state: TrainState) -> None:
        # A report is a barrier: every rank makes it, only rank 0 brings the files.
        directory = Path(tempfile.mkdtemp()) if rank == 0 else None
        saved = None
        if directory is not None:
            state.save(directory, manifest(plan, metrics))
            saved = ray.train.Checkpoint.from_directory(directory)
        name = checkpoint_name(state.step)
        ray.train.report(metrics, checkpoint=saved, checkpoint_dir_name=name)
        if directory is not None:
            shutil.rmtree(directory, ignore_errors=True)

    stream = ray.train.get_dataset_shard("steps")
    run_epochs(state, step_batches(stream, state.step, rank), report)


class RunLogCallback(UserCallback):
    """Writes the run's log in the controller, from rank 0's numbers."""

    def __init__(self, run_dir: str) -> None:
        self.run_dir = run_dir

    def after_report(
        self,
        run_context: Any,
        metrics: Sequence[dict[str, Any]],
        checkpoint: ray.train.Checkpoint | None,
    ) -> None:
        """Append an epoch's row, now that its checkpoint is in place."""
        _show_progress()
        RunLog(self.run_dir).append(dict(metrics[0]))


def _show_progress() -> None:
    """Print this process's progress lines, which Ray brings to the driver, and no others."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    logging.getLogger("vibe_ray").setLevel(logging.INFO)
    logging.getLogger("ray.train").setLevel(logging.WARNING)


def manifest(plan: StepPlan, metrics: dict[str, float]) -> dict[str, Any]:
    """What a checkpoint says of itself beside the versions that wrote it."""
    return {"step": int(metrics["step"]), "data_hash": plan.data_hash, "metrics": metrics}
