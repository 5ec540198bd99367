"""A run from its first check to its last checkpoint, in this process. Ray is not needed here.

`check` finds what can be wrong before anything starts; `prepare_run` and `begin_run` are what every
run goes through, wherever its steps are computed: `distributed/launch.py` lets Ray Train's workers
do that. A run whose name is taken is refused unless the user says `resume`.
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch

from vibe_ray import storage
from vibe_ray.config import TrainConfig
from vibe_ray.data.batches import local_step_batches
from vibe_ray.data.mixing import StepPlan
from vibe_ray.evaluation.protocols import PROTOCOLS
from vibe_ray.runs.checkpoints import find_checkpoint
from vibe_ray.runs.claims import check_name, claim_name, pinned
from vibe_ray.runs.integrity import fall_back
from vibe_ray.runs.log import clear_failure, read_metrics
from vibe_ray.runs.owners import owned
from vibe_ray.runs.step_folders import last_step
from vibe_ray.settings import override
from vibe_ray.training.loop import run_epochs
from vibe_ray.training.precision import Precision, fastest
from vibe_ray.training.recorder import Cadence, RunRecorder
from vibe_ray.training.tasks import create, make_step_plan

logger = logging.getLogger(__name__)


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
    callbacks: tuple[Any, ...] = ()
    """Ray Train's `UserCallback`s, called by its controller after each epoch."""
    is_trial: bool = False
    """Whether it is a search's, which owns the folders of all its trials."""
    observers: tuple[Callable[[dict[str, float]], None], ...] = ()
    """Called with each epoch's metrics by a run in this process."""

    def __post_init__(self) -> None:
        storage.check_plain_name(self.name, "--name")
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


def train_here(config: TrainConfig, launch: Launch) -> RunResult:
    """Train to the end in this process, without Ray, and return where the checkpoints are.

    Raises:
        ValueError, FileNotFoundError, PermissionError: Something a user can mend; or bad data.
        FloatingPointError: The run diverged; names the step and the term.
    """
    config, plan = prepare_run(config, launch)
    with owning(config, launch, plan):
        return train_owned(config, launch, plan)


def train_owned(config: TrainConfig, launch: Launch, plan: StepPlan) -> RunResult:
    """Train in this process a run that is this process's alone (`owning`), as `train_here` does."""
    is_left = last_step(launch.run_dir) < config.num_steps
    device = device_of(config, torch.cuda.is_available()) if is_left else torch.device("cpu")
    config = settled(config, lambda: fastest(device))
    begin_run(config, launch, plan)
    _train_in_process(config, launch, plan, device)
    return result_of(launch)


def prepare_run(config: TrainConfig, launch: Launch) -> tuple[TrainConfig, StepPlan]:
    """Check a run and its name; return its config with lasting paths, and which windows come when.

    Raises:
        ValueError, FileNotFoundError, PermissionError: Something a user can mend.
    """
    config = pinned(config, launch.run_dir if launch.resume else None)
    plan = check(config, launch)
    check_name(launch.run_dir, launch.resume, config, plan)
    return config, plan


@contextmanager
def owning(config: TrainConfig, launch: Launch, plan: StepPlan) -> Iterator[None]:
    """Have the run's name for this process alone, and its last good checkpoint to go on from.

    Raises:
        ValueError: Another process is at this run, or was in the meantime; or no checkpoint of
            those that there are is whole.
    """
    ownership = nullcontext() if launch.is_trial else owned(launch.run_dir, "run")
    with ownership:
        check_name(launch.run_dir, launch.resume, config, plan)
        fall_back(launch.run_dir)
        yield


def begin_run(config: TrainConfig, launch: Launch, plan: StepPlan) -> None:
    """Take the name, last of all checks."""
    claim_name(launch.run_dir, config, plan)
    clear_failure(launch.run_dir)


def result_of(launch: Launch) -> RunResult:
    """Return where an ended run's checkpoints are."""
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
    if config.validation.protocol not in PROTOCOLS:
        raise ValueError(
            f"validation.protocol is {config.validation.protocol!r}, expected one of "
            + ", ".join(sorted(PROTOCOLS))
        )
    if config.device == "cuda" and not launch.workers and not torch.cuda.is_available():
        raise ValueError("device is 'cuda', but this machine has no GPU that torch can use")
    storage.check_reachable(config.data.root)
    plan = make_step_plan(config)
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
    with recorder:
        run_epochs(state, local_step_batches(plan, state.step, left), recorder)


def settled(config: TrainConfig, find: Callable[[], Precision]) -> TrainConfig:
    """Return the config with the precision that was found, where it asks to find one."""
    if config.precision != "auto":
        return config
    found = find()
    logger.info("precision=auto takes %s", found)
    return override(config, {"precision": found})


def device_of(config: TrainConfig, has_gpu: bool) -> torch.device:
    """Return the device that a config means where there is, or is not, a GPU."""
    if config.device == "auto":
        return torch.device("cuda" if has_gpu else "cpu")
    return torch.device(config.device)
