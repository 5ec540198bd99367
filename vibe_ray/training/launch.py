"""Starts a run: checks everything in the driver, then trains in this process or on Ray.

`train` is the one launch path: the command, every Tune trial and the demo call it.

Ray's traps that shaped this file: workers that take all CPUs starve the readers and the run hangs
for ever, so one CPU stays free; a run whose name exists is *continued* by Ray without asking, so it
is refused here unless the user says `resume`.
"""

import functools
import json
import logging
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

import ray
import ray.data
import ray.train
import ray.train.torch
import torch
from ray.train.v2.api.callback import UserCallback
from ray.train.v2.api.config import CheckpointConfig, FailureConfig, RunConfig, ScalingConfig

from vibe_ray import storage
from vibe_ray.config import TrainConfig, differences, from_dict, to_dict
from vibe_ray.data.mixing import StepPlan
from vibe_ray.data.streams import local_step_batches
from vibe_ray.data.validate import check_usable
from vibe_ray.evaluation.protocols import PROTOCOLS
from vibe_ray.training.loop import SCORE, run_epochs
from vibe_ray.training.reporting import (
    INDEX_FILE,
    RunLog,
    checkpoint_name,
    find_checkpoint,
    read_metrics,
)
from vibe_ray.training.state import TrainState
from vibe_ray.training.worker import RunLogCallback, dataset_from_latest, manifest, train_worker

logger = logging.getLogger(__name__)

RUN_FILE = "run.json"
OBJECT_STORE_BYTES = 2**30
"""On one machine: readers stop ahead of the workers when this is full, so memory stays bounded."""


@dataclass(frozen=True, kw_only=True)
class Launch:
    """Where a run computes and writes; nothing in here changes what it computes."""

    name: str
    storage: str = "runs"
    workers: int = 2
    resume: bool = False
    max_failures: int = 3
    callbacks: tuple[UserCallback, ...] = ()

    @property
    def run_dir(self) -> str:
        """The run's folder."""
        return storage.join(self.storage, self.name)


@dataclass(frozen=True)
class RunResult:
    run_dir: str
    best: str
    last: str
    metrics: list[dict[str, float]]


def train(config: TrainConfig, launch: Launch) -> RunResult:
    """Train to the end and return where the checkpoints are.

    Raises:
        ValueError, FileNotFoundError, PermissionError: Something a user can mend, found before any
            cluster starts.
        ray.train.v2.api.exceptions.TrainingFailedError: The workers failed more than
            `max_failures` times.
    """
    plan = check(config, launch)
    _check_name(config, launch, plan)
    if launch.workers:
        connect(launch.workers, config.device)
    _claim_name(config, launch, plan)
    if launch.workers:
        _trainer(config, launch, plan).fit()
    else:
        _train_in_process(config, launch, plan)
    index = json.loads(storage.read_bytes(storage.join(launch.run_dir, INDEX_FILE)))
    best, last = (storage.join(launch.run_dir, index[which]) for which in ("best", "last"))
    return RunResult(launch.run_dir, best, last, read_metrics(launch.run_dir))


def check(config: TrainConfig, launch: Launch) -> StepPlan:
    """Check all that can be wrong before a cluster starts, and return which windows come when.

    Raises:
        ValueError: Data that does not fit the config, or an unknown protocol.
        FileNotFoundError: A data set, a body or initial weights that are not there.
        PermissionError: A storage path that cannot be written.
    """
    if launch.workers < 0:
        raise ValueError(f"--workers is {launch.workers}, expected 0 (in this process) or more")
    _check_room(launch.workers)
    if config.validation.protocol not in PROTOCOLS:
        raise ValueError(
            f"validation.protocol is {config.validation.protocol!r}, expected one of "
            + ", ".join(sorted(PROTOCOLS))
        )
    plan = check_usable(config.data, config.generator.feature_dim, config.seed)
    TrainState.create(config, torch.device("cpu"))  # its errors belong in the driver
    plan.share(0, 0, max(1, launch.workers))  # refuses more workers than windows
    storage.check_writable(launch.storage)
    return plan


def _check_name(config: TrainConfig, launch: Launch, plan: StepPlan) -> None:
    """Refuse a run's name that is taken, unless the run is the same and to be resumed."""
    path = storage.join(launch.run_dir, RUN_FILE)
    if not storage.exists(path):
        if launch.resume:
            raise FileNotFoundError(f"nothing to resume: no {RUN_FILE} in {launch.run_dir}")
        return
    if not launch.resume:
        raise ValueError(
            f"a run stands in {launch.run_dir} already: --resume continues it, --name NAME "
            "starts another"
        )
    before = json.loads(storage.read_bytes(path))
    changed = differences(from_dict(before["config"]), config)
    if changed:
        named = ", ".join(f"{name} {old!r} -> {new!r}" for name, (old, new) in changed.items())
        raise ValueError(f"cannot resume {launch.run_dir} with another config: {named}")
    if before["data_hash"] != plan.data_hash:
        raise ValueError(
            f"cannot resume {launch.run_dir}: the data's manifests have changed since it began"
        )


def _claim_name(config: TrainConfig, launch: Launch, plan: StepPlan) -> None:
    """Write what the run is, last of all checks, so that a refused run leaves its name free."""
    facts = {"config": to_dict(config), "data_hash": plan.data_hash}
    storage.write_json(storage.join(launch.run_dir, RUN_FILE), facts)


def connect(workers: int, device: str) -> None:
    """Join the cluster that RAY_ADDRESS names, or start one on this machine.

    On one machine a spare logical CPU is declared for the readers beside the workers.

    Raises:
        ValueError: More workers than the cluster has room for.
    """
    _check_room(workers)
    if not ray.is_initialized():
        if "RAY_ADDRESS" in os.environ:
            ray.init(logging_level=logging.WARNING)
        else:
            ray.init(
                num_cpus=_num_cores() + 1,
                object_store_memory=OBJECT_STORE_BYTES,
                logging_level=logging.WARNING,
            )
    resources = ray.cluster_resources()
    room = int(resources.get("CPU", 0)) - 1
    if workers > room:
        raise ValueError(_too_many(workers, f"the cluster has {room + 1} CPUs, one for readers"))
    if device == "cuda" and workers > resources.get("GPU", 0):
        raise ValueError(_too_many(workers, f"it has {int(resources.get('GPU', 0))} GPUs"))


def _check_room(workers: int) -> None:
    """Refuse, before a cluster starts and a run's name is taken, what this machine cannot hold."""
    if ray.is_initialized() or "RAY_ADDRESS" in os.environ:
        return
    if workers > _num_cores():
        raise ValueError(_too_many(workers, f"this machine has {_num_cores()} CPUs"))


def _num_cores() -> int:
    return os.cpu_count() or 1


def _too_many(workers: int, found: str) -> str:
    return f"--workers is {workers}, but {found}: ask for fewer, or set RAY_ADDRESS to a larger one"


def _train_in_process(config: TrainConfig, launch: Launch, plan: StepPlan) -> None:
    state = TrainState.create(config, _device(config, torch.cuda.is_available()))
    log = RunLog(launch.run_dir)
    if launch.resume and storage.exists(storage.join(launch.run_dir, INDEX_FILE)):
        with storage.local_copy(find_checkpoint(launch.run_dir, "last")) as directory:
            state.load(directory)

    def report(metrics: dict[str, float], state: TrainState) -> None:
        name = checkpoint_name(state.step)
        with tempfile.TemporaryDirectory() as directory:
            state.save(Path(directory), manifest(plan, metrics))
            storage.upload_directory(Path(directory), storage.join(launch.run_dir, name))
        log.append(metrics)
        _prune(log, config.checkpoints_kept)

    left = config.num_steps - state.step
    run_epochs(state, local_step_batches(plan, state.step, left), report)


def _prune(log: RunLog, kept: int) -> None:
    """Delete all checkpoints but the best and the most recent ones."""
    steps = sorted((int(row["step"]) for row in log.rows), reverse=True)
    best = int(min(log.rows, key=lambda row: row[SCORE])["step"])
    keep = {best, *steps[: max(1, kept - 1)]}
    for step in set(steps) - keep:
        storage.delete_directory(storage.join(log.run_dir, checkpoint_name(step)))


def _trainer(config: TrainConfig, launch: Launch, plan: StepPlan) -> ray.train.torch.TorchTrainer:
    filesystem, path = storage.resolve(launch.storage)
    has_gpus = ray.cluster_resources().get("GPU", 0) >= launch.workers
    use_gpu = _device(config, has_gpus).type == "cuda"
    options = ray.data.ExecutionOptions(preserve_order=True)
    stream = functools.partial(dataset_from_latest, config, launch.run_dir, launch.workers, plan)
    return ray.train.torch.TorchTrainer(
        train_worker,
        train_loop_config={"config": to_dict(config), "plan": plan},
        scaling_config=ScalingConfig(
            num_workers=launch.workers, use_gpu=use_gpu, resources_per_worker={"CPU": 1}
        ),
        run_config=RunConfig(  # type: ignore[arg-type]  # annotated with the class of Train v1
            name=launch.name,
            storage_path=path,
            storage_filesystem=filesystem,
            failure_config=FailureConfig(max_failures=launch.max_failures),
            checkpoint_config=CheckpointConfig(
                num_to_keep=config.checkpoints_kept,
                checkpoint_score_attribute=SCORE,
                checkpoint_score_order="min",
            ),
            callbacks=[RunLogCallback(launch.run_dir), *launch.callbacks],
            logging_config=ray.train.LoggingConfig(log_level="WARNING"),
        ),
        datasets={"steps": stream},
        dataset_config=ray.train.DataConfig(execution_options=options),
    )


def _device(config: TrainConfig, has_gpu: bool) -> torch.device:
    if config.device == "auto":
        return torch.device("cuda" if has_gpu else "cpu")
    return torch.device(config.device)
