"""A run on Ray Train: workers compute its steps, and what is lost of them is replaced.

Commands and Tune's trials call `train`; without workers a run is `training.launch.train_here`'s.
"""

import dataclasses
import logging
import threading
import time
from concurrent.futures import Future, wait

import ray
import ray.data
import ray.exceptions
import ray.train
import ray.train.torch
import torch
from ray.train import (
    ControllerError,
    FailureConfig,
    RunConfig,
    ScalingConfig,
    TrainingFailedError,
)

from vibe_ray import storage
from vibe_ray.config import TrainConfig
from vibe_ray.data.mixing import StepPlan
from vibe_ray.distributed.cluster import (
    WORKER_CPUS,
    check_alive,
    check_room,
    connect,
    has_gpus,
    leave,
)
from vibe_ray.distributed.feed import STREAM, StepData
from vibe_ray.distributed.worker import WorkerJob, train_worker
from vibe_ray.runs.log import innermost_line, read_failure
from vibe_ray.runs.step_folders import last_step
from vibe_ray.settings import to_dict
from vibe_ray.training.launch import (
    Launch,
    RunResult,
    begin_run,
    device_of,
    owning,
    prepare_run,
    result_of,
    settled,
    train_here,
    train_owned,
)
from vibe_ray.training.precision import Precision, fastest

logger = logging.getLogger(__name__)

RESTART_SECONDS = 5.0
"""Pause before a lost controller is replaced."""
LOOK_SECONDS = 1.0
"""Between two looks at whether the cluster is still there."""
CONTROLLER_LOST = (
    ControllerError,
    ray.exceptions.RayActorError,
    ray.exceptions.OutOfMemoryError,
    ray.exceptions.NodeDiedError,
)
NO_MEMORY = "low on memory"
"""In Ray's words, which are pages, where it has ended processes for the memory they took."""


def train(config: TrainConfig, launch: Launch) -> RunResult:
    """Train to the end, with as many workers as the launch says, and return the checkpoints.

    Raises:
        ValueError, FileNotFoundError, PermissionError: Something a user can mend, found before any
            cluster starts; or data that turned out bad.
        FloatingPointError: The run diverged; names the step and the term.
        ChildProcessError: The workers, or their controller, failed more than `max_failures` times.
    """
    if not launch.workers:
        return train_here(config, launch)
    check_room(launch.workers)
    config, plan = prepare_run(config, launch)
    with owning(config, launch, plan):
        if last_step(launch.run_dir) >= config.num_steps:  # a log that lags needs no cluster
            alone = dataclasses.replace(launch, workers=0, max_workers=None)
            return train_owned(config, alone, plan)
        is_own = connect(launch.workers, config.device)
        config = settled(config, lambda: fastest_of_workers(config, launch))
        begin_run(config, launch, plan)
        _train_on_ray(config, launch, plan, is_own)
        return result_of(launch)


def fastest_of_workers(config: TrainConfig, launch: Launch) -> Precision:
    """Measure where a worker would run: the driver may have no GPU, or another processor.

    Raises:
        ChildProcessError: It could not be measured there.
    """
    device = device_of(config, has_gpus(launch.workers))
    measure = ray.remote(num_cpus=WORKER_CPUS, num_gpus=int(device.type == "cuda"))(fastest)
    asked = measure.remote(device)
    while not ray.wait([asked], timeout=LOOK_SECONDS)[0]:
        check_alive()
    try:
        found: Precision = ray.get(asked)
    except ray.exceptions.RayError as error:
        raise ChildProcessError(
            f"which precision is fastest could not be measured on a worker ({_line(error)}): name "
            "it yourself, `--set precision=fp32`"
        ) from error
    return found


def _train_on_ray(config: TrainConfig, launch: Launch, plan: StepPlan, is_own: bool) -> None:
    """Let Ray Train run the workers; what is lost is replaced as long as the run gets on.

    Ray Train counts the failures of a whole run. Here those count that came after each other
    without a checkpoint between them: a run of weeks may lose a worker every day. What a lost
    controller held may stay taken, for ever: a cluster of our own is replaced too.
    """
    device = device_of(config, has_gpus(launch.workers))
    if config.device == "auto" and device.type == "cpu" and has_gpus(1):
        logger.warning(
            "fewer GPUs than --workers %d: training on CPUs; take as many workers as GPUs to use "
            "them",
            launch.workers,
        )
    failures = 0
    while True:
        before = last_step(launch.run_dir)
        try:
            _fit(_trainer(config, launch, plan, device))
            break
        except ChildProcessError as error:
            raise ChildProcessError(f"{error}; {_good(launch)}") from None
        except (TrainingFailedError, *CONTROLLER_LOST) as error:
            lost: Exception = error
        # Of workers, Ray Train has then replaced as many as it may.
        allowed = launch.max_failures if isinstance(lost, CONTROLLER_LOST) else 0
        failure = read_failure(launch.run_dir) or _full_disk(lost)
        if failure:
            raise failure from lost
        failures = 0 if last_step(launch.run_dir) > before else failures + 1
        if failures > allowed:
            raise ChildProcessError(_given_up(launch, lost)) from lost
        logger.warning("the run's workers or controller were lost (%s): again", _line(lost))
        if is_own:
            leave()
            connect(launch.workers, config.device)
        time.sleep(RESTART_SECONDS)
    failure = read_failure(launch.run_dir)
    if failure:
        raise failure


def _fit(trainer: ray.train.torch.TorchTrainer) -> None:
    """Fit in another thread, while this one waits for signals.

    In the main thread Ray Train takes Ctrl-C for itself and ends with exit code 0 or 1.
    """
    done: Future[None] = Future()

    def fit() -> None:
        try:
            trainer.fit()
        except BaseException as error:
            done.set_exception(error)
        else:
            done.set_result(None)

    threading.Thread(target=fit, name="fit", daemon=True).start()
    while not wait([done], LOOK_SECONDS).done:
        check_alive()
    done.result()


def _trainer(
    config: TrainConfig, launch: Launch, plan: StepPlan, device: torch.device
) -> ray.train.torch.TorchTrainer:
    filesystem, path = storage.resolve(launch.storage)
    job = WorkerJob(
        config=to_dict(config),
        run_dir=storage.absolute(launch.run_dir),
        plan=plan,
        cadence=launch.cadence,
        hang_seconds=60 * launch.hang_minutes,
    )
    most = launch.max_workers
    return ray.train.torch.TorchTrainer(
        train_worker,
        train_loop_config={"job": job},
        torch_config=ray.train.torch.TorchConfig(timeout_s=round(2 * job.hang_seconds)),
        # Both are annotated as in Train v1, whose classes stand in their place for v2's.
        scaling_config=ScalingConfig(
            num_workers=(launch.workers, most) if most else launch.workers,  # type: ignore[arg-type]
            use_gpu=device.type == "cuda",
            resources_per_worker={"CPU": WORKER_CPUS},
        ),
        run_config=RunConfig(  # type: ignore[call-arg]
            name=launch.name,
            storage_path=path,
            storage_filesystem=filesystem,
            failure_config=FailureConfig(max_failures=launch.max_failures),
            callbacks=list(launch.callbacks),
            logging_config=ray.train.LoggingConfig(log_level="WARNING"),
        ),
        datasets={STREAM: ray.data.from_items([])},
        dataset_config=StepData(plan, config.num_steps),
    )


def _full_disk(error: Exception) -> storage.DiskFullError | None:
    """Find in Ray's words, which are pages, a full disk of which no note could be taken on it."""
    for line in str(error).splitlines():
        _, is_full, message = line.partition(f"{storage.DiskFullError.__name__}: ")
        if is_full:
            return storage.DiskFullError(message)
    return None


def _given_up(launch: Launch, error: Exception) -> str:
    return (
        f"training failed more than {launch.max_failures} times, at last with: {_line(error)}; "
        f"{_good(launch)}"
    )


def _good(launch: Launch) -> str:
    return f"the last checkpoint in {launch.run_dir} is good, --resume goes on from it"


def _line(error: Exception) -> str:
    """Say in a line what Ray tells of an error in pages."""
    starved = next((line for line in str(error).splitlines() if NO_MEMORY in line), "")
    if starved:
        return f"{starved.strip()} Take fewer workers, a lower data.batch_size or optim.accumulate"
    return innermost_line(str(error)) or repr(error)
