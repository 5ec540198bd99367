"""What Ray costs: a run's loop over the same steps, with Ray and without.

Once in a bare process that reads its own data, once as the one worker of a `TorchTrainer`, fed by
Ray Data.
"""

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from tests.benchmarks.measuring import Goal, Options, Report, Row, over
from tests.benchmarks.processes import cpu_seconds, descendants
from tests.benchmarks.setting import config_with, write_shards
from vibe_ray.config import TrainConfig, from_dict
from vibe_ray.data.batches import StepBatch, local_step_batches
from vibe_ray.data.mixing import make_plan
from vibe_ray.settings import to_dict
from vibe_ray.training.learner import Learner
from vibe_ray.training.loop import run_epochs
from vibe_ray.training.state import TrainState

LOOP_STEPS, LOOP_WARM_UP = 30, 10
LOOP_ROUNDS = 3
QUIET = 0.8
"""Load average below which the wall clock of one thread on two cores can be believed."""
LOOP_SIZES = {
    "generator.temporal_encoder.gru.hidden_dim": 256,
    "discriminator.hidden_dim": 256,
    "epochs": 1,
    "steps_per_epoch": LOOP_STEPS + 1,
}
"""Networks of the open world's size: a step of some tenths of a second."""


@dataclass(frozen=True, kw_only=True)
class LoopJob:
    """What either loop is told."""

    config: dict[str, Any]
    out: str
    driver: int = 0
    """Process whose descendants are Ray's; 0 in a bare loop."""


def ray_overhead(folder: Path, options: Options) -> Report:
    """The training loop with Ray and without, by turns."""
    report = Report(title="Ray: the training loop in a TorchTrainer and in a bare process")
    changes = {name.replace(".", "__"): value for name, value in LOOP_SIZES.items()}
    config = config_with(folder, **changes)
    write_shards(folder / "data")
    load = os.getloadavg()[0]
    began = time.perf_counter()
    _start_ray()
    cluster = time.perf_counter() - began
    is_quiet = load < QUIET
    loops: dict[str, list[dict[str, float]]] = {"bare": [], "Ray": []}
    for turn in range(LOOP_ROUNDS):
        for name, run in (("bare", _run_bare), ("Ray", _run_on_ray)):
            loops[name].append(run(config, folder / f"{name}_{turn}.json"))
    report.rows = [
        *_loop_rows(loops, is_quiet),
        Row(name="start-up, bare: process to first step", unit="s", values=_of(loops, "bare")),
        Row(name="start-up, Ray: fit() to first step", unit="s", values=_of(loops, "Ray")),
        Row(name="start-up of the cluster itself", unit="s", values=[cluster]),
    ]
    report.notes.append(
        f"{LOOP_STEPS - LOOP_WARM_UP} steps after {LOOP_WARM_UP} to warm up, {LOOP_ROUNDS} times; "
        "times of a step are medians over the steps, data included."
    )
    if not is_quiet:
        report.notes.append(
            "Others were using the machine, so the wall clock says nothing about Ray and is not "
            "held against its goal."
        )
    return report


def _of(loops: dict[str, list[dict[str, float]]], name: str, key: str = "first") -> list[float]:
    return [loop[key] for loop in loops[name]]


def _loop_rows(loops: dict[str, list[dict[str, float]]], is_quiet: bool) -> list[Row]:
    def more(key: str) -> list[float]:
        ratios = over(_of(loops, "Ray", key), _of(loops, "bare", key))
        return [100 * (ratio - 1) for ratio in ratios]

    def milliseconds(name: str, key: str) -> list[float]:
        return [1e3 * value for value in _of(loops, name, key)]

    goal = Goal(most=3, shown="1")
    waits = [100 * value for value in _of(loops, "Ray", "wait_share")]
    return [
        Row(name="a step, bare", unit="ms", values=milliseconds("bare", "wall")),
        Row(name="a step, Ray", unit="ms", values=milliseconds("Ray", "wall")),
        Row(name="a step, bare", unit="CPU ms", values=milliseconds("bare", "cpu")),
        Row(name="a step, Ray's worker", unit="CPU ms", values=milliseconds("Ray", "cpu")),
        Row(
            name="per step, Ray's other processes",
            unit="CPU ms",
            values=milliseconds("Ray", "others"),
            note="readers of data included",
        ),
        Row(
            name="Ray's share of a step, wall clock",
            unit="%",
            values=more("wall"),
            goal=goal if is_quiet else None,
        ),
        Row(name="Ray's share of a step, worker's CPU", unit="%", values=more("cpu"), goal=goal),
        Row(name="share of time waiting for data, Ray", unit="%", values=waits, goal=Goal(most=3)),
    ]


def _start_ray() -> None:
    from vibe_ray.distributed.cluster import connect

    connect(1, "cpu")


def _run_bare(config: TrainConfig, out: Path) -> dict[str, float]:
    began = time.time()
    job = json.dumps({"config": to_dict(config), "out": str(out)})
    subprocess.run([sys.executable, "-m", "tests.benchmarks.ray_overhead", job], check=True)
    return _with_start(out, began)


def _run_on_ray(config: TrainConfig, out: Path) -> dict[str, float]:
    import ray.data
    import ray.train
    import ray.train.torch

    from vibe_ray.distributed.feed import STREAM, StepData

    plan = make_plan(config.data, config.seed)
    began = time.time()
    trainer = ray.train.torch.TorchTrainer(
        ray_loop,
        train_loop_config={
            "job": LoopJob(config=to_dict(config), out=str(out), driver=os.getpid())
        },
        scaling_config=ray.train.ScalingConfig(num_workers=1, resources_per_worker={"CPU": 1}),
        run_config=ray.train.RunConfig(storage_path=str(out.parent / "ray"), name=out.stem),
        datasets={STREAM: ray.data.from_items([])},
        dataset_config=StepData(plan, config.num_steps),
    )
    trainer.fit()
    return _with_start(out, began)


def _with_start(out: Path, began: float) -> dict[str, float]:
    found: dict[str, float] = json.loads(out.read_text())
    found["first"] -= began
    return found


def ray_loop(loop_config: dict[str, LoopJob]) -> None:
    """Body of Ray's worker."""
    import functools

    import ray.train
    import ray.train.torch

    from vibe_ray.distributed.feed import STREAM, fed_batches

    job = loop_config["job"]
    state = TrainState.create(from_dict(job.config), torch.device("cpu"))
    state.parallelize(functools.partial(ray.train.torch.prepare_model, move_to_device=False))
    _loop(state, fed_batches(ray.train.get_dataset_shard(STREAM), 0, 0), job)


def bare_loop(job: LoopJob) -> None:
    """The same without Ray."""
    config = from_dict(job.config)
    state = TrainState.create(config, torch.device("cpu"))
    plan = make_plan(config.data, config.seed)
    _loop(state, local_step_batches(plan, 0, config.num_steps), job)


def _loop(state: TrainState, batches: Iterator[StepBatch], job: LoopJob) -> None:
    """Train as a run does, and write down what each step took."""
    torch.set_num_threads(1)
    watch = Stopwatch(batches, job)
    with suppress(Enough):
        run_epochs(state, watch, watch)
    walls, cpus, waits = zip(*watch.steps[LOOP_WARM_UP:], strict=True)
    found = {
        "first": watch.first,
        "wall": statistics.median(walls),
        "cpu": statistics.median(cpus),
        "wait_share": sum(waits) / sum(walls),
        "others": (_others(job) - watch.others) / len(walls),
    }
    Path(job.out).write_text(json.dumps(found))


class Enough(Exception):  # noqa: N818
    """All steps are measured."""


class Stopwatch:
    """Batches and recorder of a run in one: a step begins with the one and ends with the other."""

    def __init__(self, batches: Iterator[StepBatch], job: LoopJob) -> None:
        self._batches, self._job = batches, job
        self._start, self._cpu, self._waited = 0.0, 0.0, 0.0
        self.steps: list[tuple[float, float, float]] = []
        """Wall clock, CPU time and time spent waiting for data."""
        self.first = 0.0
        """When the first step was done."""
        self.others = 0.0
        """CPU time of Ray's other processes when all was warm."""

    def __iter__(self) -> Iterator[StepBatch]:
        return self

    def __next__(self) -> StepBatch:
        self._start, self._cpu = time.perf_counter(), time.process_time()
        batch = next(self._batches)
        self._waited = time.perf_counter() - self._start
        return batch

    def step(self, state: Learner) -> None:
        wall, cpu = time.perf_counter() - self._start, time.process_time() - self._cpu
        self.steps.append((wall, cpu, self._waited))
        self.first = self.first or time.time()
        if state.step == LOOP_WARM_UP:
            self.others = _others(self._job)
        if state.step == LOOP_STEPS:
            raise Enough

    def epoch(self, state: Learner) -> None:
        raise AssertionError(f"no epoch ends in {state.step} steps")


def _others(job: LoopJob) -> float:
    """CPU time of Ray's processes so far, without this one and without the driver."""
    if not job.driver:
        return 0.0
    return sum(cpu_seconds(pid) for pid in descendants(job.driver) - {os.getpid()})


if __name__ == "__main__":
    bare_loop(LoopJob(**json.loads(sys.argv[1])))
