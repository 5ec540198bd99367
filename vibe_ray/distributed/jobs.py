"""A job over many rows: a Ray Data job by actors that load their networks once.

Ray Data tries without end what ends its worker each time, such as frames too large for memory; so
it is counted how often each row was begun and not ended, whatever became of who began it.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import ray
import ray.data

from vibe_ray.distributed.cluster import WORKER_CPUS, connected, has_gpus

MAX_TRIES = 3
"""Of a row whose worker was lost."""
LOST = f"its worker was lost {MAX_TRIES} times: too little memory for such frames?"


class Tries:
    """Counts; an actor of its own, so that it outlives the workers."""

    def __init__(self) -> None:
        self._begun: Counter[str] = Counter()

    def begin(self, name: str) -> int:
        """Return how often the row of a name has been begun and not ended, this time included."""
        self._begun[name] += 1
        return self._begun[name]

    def end(self, name: str) -> None:
        """Forget a row, which has ended no worker."""
        del self._begun[name]


@contextmanager
def attempt(tries: Any, name: str) -> Iterator[bool]:
    """Count what the block does as an attempt at a row, and give whether it is to be tried at all.

    Args:
        tries: The job's actor, the last thing with which a worker is made.
        name: Of the row, which is given up when it has ended too many workers.
    """
    yield bool(ray.get(tries.begin.remote(name)) <= MAX_TRIES)
    tries.end.remote(name)


def run_job(
    worker: Any,
    what: Any,
    tasks: Sequence[Sequence[dict[str, str]]],
    num_workers: int,
    device: str = "",
    *,
    in_order: bool = False,
) -> Iterator[dict[str, Any]]:
    """Let workers go through rows, and yield what they make of each.

    Args:
        worker: A class, made as `worker(what, device, tries)` and called with a row.
        what: Is the same for all.
        tasks: At least one, of about as many rows each, which a worker is handed at once, to do one
            after the other.
        num_workers: Tasks at a time; each takes a CPU, and a GPU if the cluster has one for each.
        device: As PyTorch names it; without one a worker's GPU, if it has one.
        in_order: Yield in the order of the rows, not as they are done.

    Raises:
        ValueError: More workers than the cluster has room for.
        ConnectionError: No cluster where RAY_ADDRESS says.
    """
    size = min(num_workers, len(tasks))
    with connected(num_workers, "cuda" if device.startswith("cuda") else "auto"):
        gpus = int(not device.startswith("cpu") and has_gpus(size))
        tries = ray.remote(Tries).options(num_cpus=0).remote()
        rows = [row for task in tasks for row in task]
        dataset = ray.data.from_items(rows, override_num_blocks=len(tasks))
        dataset.context.execution_options.preserve_order = in_order
        yield from dataset.map(
            worker,
            fn_constructor_args=(what, device or ("cuda" if gpus else "cpu"), tries),
            compute=ray.data.ActorPoolStrategy(size=size, max_tasks_in_flight_per_actor=1),
            num_cpus=WORKER_CPUS,
            num_gpus=gpus,
        ).iter_rows()
