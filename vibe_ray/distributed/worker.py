"""The part of a run that Ray Train carries elsewhere: its workers."""

import faulthandler
import functools
import logging
import socket
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import ray.train
import ray.train.torch

from vibe_ray import storage
from vibe_ray.config import from_dict
from vibe_ray.data.batches import StepBatch
from vibe_ray.data.mixing import StepPlan
from vibe_ray.distributed.feed import STREAM, fed_batches
from vibe_ray.runs.claims import RUN_FILE
from vibe_ray.runs.log import FAILURES, read_failure, write_failure
from vibe_ray.runs.step_folders import last_step
from vibe_ray.training.loop import run_epochs
from vibe_ray.training.recorder import Cadence, RunRecorder
from vibe_ray.training.tasks import create


@dataclass(frozen=True, kw_only=True)
class WorkerJob:
    """What every worker is told; pickled on its way."""

    config: dict[str, Any]
    run_dir: str
    plan: StepPlan
    cadence: Cadence
    hang_seconds: float


def train_worker(loop_config: dict[str, WorkerJob]) -> None:
    """Body of every Ray Train worker."""
    job = loop_config["job"]
    show_progress()
    if read_failure(job.run_dir):  # Ray Train starts workers again whatever they failed of
        return
    try:
        _train(job)
    except tuple(FAILURES.values()) as error:
        with suppress(OSError):  # a full disk must not hide what happened
            write_failure(job.run_dir, error)
        raise
    finally:
        faulthandler.cancel_dump_traceback_later()


def _train(job: WorkerJob) -> None:
    if not storage.exists(storage.join(job.run_dir, RUN_FILE)):
        raise ValueError(
            f"no {RUN_FILE} in {job.run_dir} on {socket.gethostname()}, where a worker runs: give "
            "--storage on a disk that all machines share, or s3://"
        )
    config = from_dict(job.config)
    feeder = ray.train.get_dataset_shard(STREAM)  # it starts while the networks are made
    rank = ray.train.get_context().get_world_rank()
    is_resumed = last_step(job.run_dir) > 0
    state = create(config, ray.train.torch.get_device(), rank, is_resumed=is_resumed)
    recorder = RunRecorder(job.run_dir, job.cadence, job.plan, announce=ray.train.report)
    recorder.resume(state)
    state.parallelize(functools.partial(ray.train.torch.prepare_model, move_to_device=False))
    with recorder:
        run_epochs(state, _watched(fed_batches(feeder, state.step, rank), job), recorder)


def _watched(batches: Iterator[StepBatch], job: WorkerJob) -> Iterator[StepBatch]:
    """End this process if a step takes too long, so that Ray Train starts the workers again.

    A rank that hangs keeps all others waiting, for ever: each of them ends itself. The watch is a
    thread below Python, so that it outlives a lock that is never released.
    """
    faulthandler.dump_traceback_later(job.hang_seconds, exit=True)
    for batch in batches:
        yield batch
        faulthandler.dump_traceback_later(job.hang_seconds, exit=True)


def show_progress() -> None:
    """Print this process's progress lines, which Ray brings to the driver, and no others."""
    logging.basicConfig(format="%(message)s")
    logging.getLogger().setLevel(logging.WARNING)  # some of Ray's loggers have no other parent
    logging.getLogger("ray.train").setLevel(logging.WARNING)
    logging.getLogger("vibe_ray").setLevel(logging.INFO)
