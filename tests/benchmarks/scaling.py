"""What a second worker brings.

Three ways: (A) one worker alone, (B) two that know nothing of each other, at the same time, (C) two
that train one model. B against C is the price of communication; A against B is what they take from
each other by sharing the machine, which is not ours to mend.
"""

import multiprocessing
import statistics
import time
from collections.abc import Sequence
from multiprocessing.connection import Connection
from pathlib import Path

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

from tests.benchmarks.measuring import Goal, Options, Report, Row, over
from tests.benchmarks.setting import config_with, new_state, step_batch
from vibe_ray.training.step import adversarial_step

Seconds = tuple[float, float]
"""Wall clock and CPU time."""
NUM_RANKS = 2
TURN_STEPS = 2


def scaling(folder: Path, options: Options) -> Report:
    """From one worker to two, one thread each, 32 windows each."""
    report = Report(title="From 1 to 2 workers, one thread and 32 windows each, gloo")
    apart = [_Rank(folder, rank, together=False) for rank in range(NUM_RANKS)]
    joined = [_Rank(folder, rank, together=True) for rank in range(NUM_RANKS)]
    groups = {"A": apart[:1], "B": apart, "C": joined}
    for ranks in (apart, joined):
        _run(ranks, TURN_STEPS)
    turns: dict[str, list[Seconds]] = {name: [] for name in groups}
    for _ in range(options.repetitions):
        for name, ranks in groups.items():
            turns[name].append(_run(ranks, TURN_STEPS))
    for rank in (*apart, *joined):
        rank.end()
    titles = {"A": "one alone", "B": "two without each other", "C": "two with one model"}
    for name, title in titles.items():
        for kind, unit in enumerate(("ms", "CPU ms")):
            values = [1e3 * turn[kind] for turn in turns[name]]
            report.rows.append(Row(name=f"{name}: {title}, a step", unit=unit, values=values))
    goal = Goal(least=80, shown="88")
    for kind, clock in enumerate(("wall clock", "CPU time")):
        a, b, c = ([turn[kind] for turn in turns[name]] for name in groups)
        efficiency = [100 * x for x in over(b, c)]
        report.rows.append(
            Row(name=f"efficiency B/C, {clock}", unit="%", values=efficiency, goal=goal)
        )
        shared = [100 * x for x in over(a, b)]
        report.rows.append(Row(name=f"shared machine A/B, {clock}", unit="%", values=shared))
    return report


class _Rank:
    """A process that trains when told to."""

    def __init__(self, folder: Path, rank: int, *, together: bool) -> None:
        context = multiprocessing.get_context("spawn")
        self._ours, theirs = context.Pipe()
        self._process = context.Process(
            target=_serve_steps, args=(folder, rank, together, theirs), daemon=True
        )
        self._process.start()

    def begin(self, num_steps: int) -> None:
        self._ours.send(num_steps)

    def result(self) -> Seconds:
        return self._ours.recv()

    def end(self) -> None:
        self.begin(0)
        self._process.join()


def _run(ranks: Sequence[_Rank], num_steps: int) -> Seconds:
    """Train at the same time; the slowest rank's wall clock and the ranks' mean CPU time."""
    for rank in ranks:
        rank.begin(num_steps)
    walls, cpus = zip(*(rank.result() for rank in ranks), strict=True)
    return max(walls), statistics.mean(cpus)


def _serve_steps(folder: Path, rank: int, together: bool, connection: Connection) -> None:
    torch.set_num_threads(1)
    if together:
        store = f"file://{folder / 'rendezvous'}"
        dist.init_process_group("gloo", init_method=store, rank=rank, world_size=NUM_RANKS)
    config = config_with(folder)
    state, batch = new_state(config, rank=rank), step_batch(config, seed=rank)
    if together:
        state.parallelize(DistributedDataParallel)
    while num_steps := connection.recv():
        start = time.perf_counter(), time.process_time()
        for _ in range(num_steps):
            adversarial_step(state, batch)
        end = time.perf_counter(), time.process_time()
        connection.send(tuple((b - a) / num_steps for a, b in zip(start, end, strict=True)))
    if together:
        dist.destroy_process_group()
