"""Starts a run: checks everything in the driver, then trains in this process or on Ray.

`train` is the one launch path: the command, every Tune trial and the demo call it. A run whose name
is taken is refused unless the user says `resume`.
"""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import ray
import ray.data
import ray.exceptions
import ray.train
import ray.train.torch
import torch
from ray.train.v2.api.callback import UserCallback
from ray.train.v2.api.config import FailureConfig, RunConfig, ScalingConfig
from ray.train.v2.api.exceptions import ControllerError, TrainingFailedError

from vibe_ray import storage
from vibe_ray.config import TrainConfig, to_dict
from vibe_ray.data.mixing import StepPlan
from vibe_ray.data.streams import local_step_batches
from vibe_ray.data.validate import check_usable
from vibe_ray.evaluation.protocols import PROTOCOLS
from vibe_ray.training.checkpoints import Cadence, find_checkpoint
from vibe_ray.training.claims import check_name, claim_name, pinned
from vibe_ray.training.cluster import WORKER_CPUS, check_room, connect, has_gpus
from vibe_ray.training.feed import STREAM, StepData
from vibe_ray.training.loop import run_epochs
from vibe_ray.training.recorder import RunRecorder
from vibe_ray.training.reporting import clear_failure, read_failure, read_metrics
from vibe_ray.training.step_folders import last_step
from vibe_ray.training.tasks import create
from vibe_ray.training.worker import WorkerJob, train_worker

logger = logging.getLogger(__name__)

RESTART_SECONDS = 5.0
"""Pause before a lost controller is replaced."""
CONTROLLER_LOST = (
    ControllerError,
    ray.exceptions.RayActorError,
    ray.exceptions.OutOfMemoryError,
    ray.exceptions.NodeDiedError,
)
NO_MEMORY = "low on memory"
"""In Ray's words, which are pages, where it has ended processes for the memory they took."""


@dataclass(frozen=True, kw_only=True)
class Launch:
    """Where a run computes and writes; nothing in here changes what it computes."""

    name: str
    storage: str = "runs"
    workers: int = 2
    """Ray Train workers; 0 trains in this process."""
    max_workers: int | None = None
    """More workers than that join as the cluster has room, and leave with it; None: no more."""
    resume: bool = False
    cadence: Cadence = field(default_factory=Cadence)
    max_failures: int = 3
    """How often workers, and how often the controller, may fail one after the other, with no
    checkpoint between, before the run is given up."""
    hang_minutes: float = 30.0
    """A worker that brings no step to its end for so long is ended, and all start again. Longer
    than an object store may be away."""
    callbacks: tuple[UserCallback, ...] = ()
    """Called by Ray Train's controller after each epoch."""
    observers: tuple[Callable[[dict[str, float]], None], ...] = ()
    """Called with each epoch's metrics by a run in this process."""

    def __post_init__(self) -> None:
        if not self.hang_minutes > 0:
            raise ValueError(f"--hang-minutes is {self.hang_minutes}, expected more than 0")

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
            cluster starts; or data that turned out bad.
        FloatingPointError: The run diverged; names the step and the term.
        ChildProcessError: The workers, or their controller, failed more than `max_failures` times.
    """
    config = pinned(config, launch.run_dir if launch.resume else None)
    plan = check(config, launch)
    check_name(launch.run_dir, launch.resume, config, plan)
    is_left = last_step(launch.run_dir) < config.num_steps
    workers = launch.workers if is_left else 0  # a log that lags is mended without a cluster
    is_own = connect(workers, config.device) if workers else False
    claim_name(launch.run_dir, config, plan)
    clear_failure(launch.run_dir)
    if workers:
        _train_on_ray(config, launch, plan, is_own)
    else:
        device = _device(config, torch.cuda.is_available()) if is_left else torch.device("cpu")
        _train_in_process(config, launch, plan, device)
    best = find_checkpoint(launch.run_dir, "best")
    last = find_checkpoint(launch.run_dir, "last")
    return RunResult(launch.run_dir, best, last, read_metrics(launch.run_dir))


def check(config: TrainConfig, launch: Launch) -> StepPlan:
    """Check all that can be wrong before a cluster starts, and return which windows come when.

    Raises:
        ValueError: Data that does not fit the config, or an unknown protocol.
        FileNotFoundError: A data set, a body, initial weights or a motion prior that is not there.
        PermissionError: A storage path that cannot be written.
    """
    most = _most_workers(launch)
    check_room(launch.workers)
    if config.validation.protocol not in PROTOCOLS:
        raise ValueError(
            f"validation.protocol is {config.validation.protocol!r}, expected one of "
            + ", ".join(sorted(PROTOCOLS))
        )
    if config.device == "cuda" and not launch.workers and not torch.cuda.is_available():
        raise ValueError("device is 'cuda', but this machine has no GPU that torch can use")
    storage.check_reachable(config.data.root)
    plan = check_usable(config.data, config.generator.feature_dim, config.seed)
    # Its errors belong in the driver.
    create(config, torch.device("cpu"), is_resumed=_is_resumed(launch))
    plan.share(0, 0, max(1, most))  # refuses more workers than windows
    storage.check_writable(launch.storage)
    return plan


def _is_resumed(launch: Launch) -> bool:
    return launch.resume and last_step(launch.run_dir) > 0


def _most_workers(launch: Launch) -> int:
    if launch.workers < 0:
        raise ValueError(f"--workers is {launch.workers}, expected 0 (in this process) or more")
    most = launch.workers if launch.max_workers is None else launch.max_workers
    if most < launch.workers or (most and not launch.workers):
        raise ValueError(
            f"--workers is {launch.workers}..{most}, expected 1 or more, and no more than the most"
        )
    return most


def _train_in_process(
    config: TrainConfig, launch: Launch, plan: StepPlan, device: torch.device
) -> None:
    def announce(metrics: dict[str, float]) -> None:
        for observer in launch.observers:
            observer(metrics)

    state = create(config, device, is_resumed=_is_resumed(launch))
    recorder = RunRecorder(launch.run_dir, launch.cadence, plan, announce)
    recorder.resume(state)
    left = config.num_steps - state.step
    try:
        run_epochs(state, local_step_batches(plan, state.step, left), recorder)
    finally:
        recorder.close()


def _train_on_ray(config: TrainConfig, launch: Launch, plan: StepPlan, is_own: bool) -> None:
    """Let Ray Train run the workers; what is lost is replaced as long as the run gets on.

    Ray Train counts the failures of a whole run. Here those count that came after each other
    without a checkpoint between them: a run of weeks may lose a worker every day. What a lost
    controller held may stay taken, for ever: a cluster of our own is replaced too.
    """
    device = _device(config, has_gpus(launch.workers))
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
            _trainer(config, launch, plan, device).fit()
            break
        except (TrainingFailedError, *CONTROLLER_LOST) as error:
            lost: Exception = error
        # Of workers, Ray Train has then replaced as many as it may.
        allowed = launch.max_failures if isinstance(lost, CONTROLLER_LOST) else 0
        failure = read_failure(launch.run_dir)
        if failure:
            raise failure from lost
        failures = 0 if last_step(launch.run_dir) > before else failures + 1
        if failures > allowed:
            raise ChildProcessError(_given_up(launch, lost)) from lost
        logger.warning("the run's workers or controller were lost (%s): again", _line(lost))
        if is_own:
            ray.shutdown()
            connect(launch.workers, config.device)
        time.sleep(RESTART_SECONDS)
    failure = read_failure(launch.run_dir)
    if failure:
        raise failure


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
        scaling_config=ScalingConfig(
            num_workers=(launch.workers, most) if most else launch.workers,
            use_gpu=device.type == "cuda",
            resources_per_worker={"CPU": WORKER_CPUS},
        ),
        run_config=RunConfig(  # type: ignore[arg-type]  # annotated with the class of Train v1
            name=launch.name,
            storage_path=path,
            storage_filesystem=filesystem,
            failure_config=FailureConfig(max_failures=launch.max_failures),
            callbacks=list(launch.callbacks),
            logging_config=ray.train.LoggingConfig(log_level="WARNING"),
        ),
        datasets={STREAM: ray.data.from_items([])},
        dataset_config=StepData(plan, config.num_steps, job.run_dir),
    )


def _given_up(launch: Launch, error: Exception) -> str:
    return (
        f"training failed more than {launch.max_failures} times, at last with: {_line(error)}; "
        f"the last checkpoint in {launch.run_dir} is good, --resume goes on from it"
    )


def _line(error: Exception) -> str:
    """Return the innermost line of an error that came through several processes."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    starved = next((line for line in lines if NO_MEMORY in line), "")
    if starved:
        return f"{starved} Take fewer workers, a lower data.batch_size or optim.accumulate"
    return lines[-1] if lines else repr(error)


def _device(config: TrainConfig, has_gpu: bool) -> torch.device:
    if config.device == "auto":
        return torch.device("cuda" if has_gpu else "cpu")
    return torch.device(config.device)
