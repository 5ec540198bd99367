"""Where do the workers' batches come from? One horizon of steps after the other, by Ray Data.

Ray makes all tasks of a dataset before its first block: a millisecond each, for every share of
every step. So a run is a sequence of datasets, each of which reads a bounded number of items, its
**horizon**: a start takes as long whether a thousand steps are left or ten million. The next one is
made while the workers train, and begun shortly before the last batch of the one before it.

Ray's controller and its manager of data load this module at every start of a run, before the first
batch: it is kept from torch, which would take each of them seconds.
"""

import threading
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any

import ray
import ray.data
import ray.train
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from vibe_ray.data.mixing import StepPlan
from vibe_ray.distributed.streams import StepStream, step_batches

if TYPE_CHECKING:
    from vibe_ray.data.batches import StepBatch

STREAM = "steps"
HORIZON_ITEMS = 512
"""Items of a horizon, of all ranks together: half a second to make."""
LEAD_ITEMS = 4
"""Of a rank: at least so many items before a horizon's end the next is begun, which takes Ray a
second."""
LEAD_SHARE = 8
"""And at least such a part of a horizon before it: an item of large batches is a step."""


@dataclass(frozen=True)
class Horizon:
    """Some steps, and one rank's part of the dataset that brings them."""

    steps: range
    """Empty at the run's end."""
    begin_next: int
    """The step at which the next horizon should be begun."""
    split: ray.data.DataIterator | None


class Feeder:
    """Makes the datasets of a run, for as many workers as have come; as an actor."""

    def __init__(
        self, plan: StepPlan, num_steps: int, num_workers: int, context: ray.data.DataContext
    ) -> None:
        """Set up; reads nothing yet.

        Args:
            plan: Which windows come when.
            num_steps: Of the whole run.
            num_workers: Who share the steps.
            context: Ray Data's settings, where this actor's process has others.
        """
        self._num_steps = num_steps
        self._num_workers = num_workers
        self._context = context
        self._stream = StepStream(plan, num_workers)
        self._start = -1
        self._splits: list[ray.data.DataIterator] = []

    def horizon(self, start: int, rank: int) -> Horizon:
        """Return one rank's part of the steps from `start` on.

        A rank asks for the next horizon when batches of the present one have come, thus when all
        ranks have asked for that: none but the last that was made is ever asked for again.
        """
        item_steps = self._stream.item_steps
        most = max(1, HORIZON_ITEMS // self._num_workers) * item_steps
        steps = range(start, min(start + most, self._num_steps))
        if not steps:
            return Horizon(steps, start, None)
        if start != self._start:
            with ray.data.DataContext.current(self._context):
                dataset = self._stream.dataset(start, len(steps))
            dataset.context.execution_options = ray.data.ExecutionOptions(preserve_order=True)
            # Else Ray ends a stream of which nothing is taken for half an hour, as while a run is
            # validated for long; workers that hang are found by `watch.py`.
            dataset.context.execution_no_progress_timeout_s = -1
            self._splits = dataset.streaming_split(self._num_workers, equal=True)
            self._start = start
        lead = max(LEAD_ITEMS * item_steps, most // LEAD_SHARE)
        begin_next = max(start, steps.stop - lead)
        return Horizon(steps, begin_next, self._splits[rank])


class StepData(ray.train.DataConfig):
    """Gives the workers a feeder, at every start of them.

    A stream of steps depends on how many workers share them, and here alone Ray says how many have
    come. So the dataset that the trainer names holds nothing, and is replaced.
    """

    def __init__(self, plan: StepPlan, num_steps: int) -> None:
        """Set up; reads nothing yet.

        Args:
            plan: Which windows come when.
            num_steps: Of the whole run.
        """
        super().__init__()
        self._plan = plan
        self._num_steps = num_steps

    def configure(
        self, datasets: dict[str, ray.data.Dataset], world_size: int, *_: Any, **__: Any
    ) -> list[dict[str, Any]]:
        """Make a feeder, which lives until that of the next start comes; called once per start."""
        feeder = make_feeder(self._plan, self._num_steps, world_size)
        return [{STREAM: feeder}] * world_size


def make_feeder(plan: StepPlan, num_steps: int, num_workers: int) -> Any:
    """Start a `Feeder` beside this process, with which it ends; returns the actor.

    Its datasets have the settings of Ray Data that are in force here.
    """
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    actor: Any = ray.remote(Feeder).options(num_cpus=0, scheduling_strategy=here)
    return actor.remote(plan, num_steps, num_workers, ray.data.DataContext.get_current())


def fed_batches(feeder: Any, start_step: int, rank: int) -> "Iterator[StepBatch]":
    """Yield this rank's batches from a step to the run's last.

    Args:
        feeder: The actor.
        start_step: The same on all ranks.
        rank: Of this worker.

    Raises:
        RuntimeError: A row of another rank or step arrived, or a row is missing.
    """
    coming = _begun(feeder.horizon.remote(start_step, rank), rank)
    while True:
        horizon, batches = coming.result()
        if not horizon.steps:
            return
        step = horizon.steps.start
        for step, batch in enumerate(batches, horizon.steps.start + 1):
            if step == horizon.steps.start + 1:  # every rank has its part of this one by now
                upcoming = feeder.horizon.remote(horizon.steps.stop, rank)
            if step == horizon.begin_next + 1:
                coming = _begun(upcoming, rank)
            yield batch
        if step != horizon.steps.stop:
            raise RuntimeError(f"the stream ended at step {step}, before {horizon.steps.stop}")


def _begun(ref: ray.ObjectRef[Horizon], rank: int) -> "Future[tuple[Horizon, Iterator[StepBatch]]]":
    """Have a horizon's first batch read, which takes all ranks: in a thread of its own."""
    done: Future[tuple[Horizon, Iterator[StepBatch]]] = Future()

    def begin() -> None:
        try:
            horizon = ray.get(ref)
            if horizon.split is None:
                done.set_result((horizon, iter(())))
                return
            batches = step_batches(horizon.split, horizon.steps.start, rank)
            done.set_result((horizon, chain([next(batches)], batches)))
        except BaseException as error:
            done.set_exception(error)

    threading.Thread(target=begin, name="horizon", daemon=True).start()
    return done
