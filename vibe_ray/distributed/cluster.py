"""Joins or starts the cluster on which workers run, and makes sure that they have room.

Workers that take all CPUs starve the readers of their data, and the run hangs for ever: one CPU
stays free, and a worker leaves a part of its own, for runs that grow to what a cluster has.
"""

import logging
import os

import ray

from vibe_ray import storage

WORKER_CPUS = 0.75
"""What a worker takes of its CPU; the rest holds a reader (`distributed/streams.py`)."""
OBJECT_STORE_BYTES = 2**30
"""On one machine: readers stop ahead of the workers when this is full, so memory stays bounded."""

NUM_PAST_TASKS = 2_000
"""Of so many tasks does Ray's head, on one machine, keep a record for its dashboard. A record takes
3.5 kB, and a training makes 300 in a minute: Ray's own bound, 100,000, would be 350 MB."""


def connect(workers: int, device: str, flag: str = "--workers") -> bool:
    """Join the cluster that RAY_ADDRESS names, or start one on this machine.

    On one machine a spare logical CPU is declared for the readers beside the workers.

    Args:
        workers: The fewest with which the run can begin.
        device: `auto`, `cpu` or `cuda`.
        flag: By which the user asked for the workers.

    Returns:
        Whether a cluster was started, which then is this process's alone.

    Raises:
        ValueError: More workers than the cluster has room for.
    """
    check_room(workers, flag)
    is_own = not ray.is_initialized() and "RAY_ADDRESS" not in os.environ
    if is_own:
        os.environ.setdefault("RAY_task_events_max_num_task_in_gcs", str(NUM_PAST_TASKS))
        ray.init(
            address="local",
            num_cpus=_num_cores() + 1,
            object_store_memory=OBJECT_STORE_BYTES,
            logging_level=logging.WARNING,
        )
    elif not ray.is_initialized():
        environment = {"env_vars": storage.shared_environment()}
        ray.init(logging_level=logging.WARNING, runtime_env=environment)
    resources = ray.cluster_resources()
    room = int(resources.get("CPU", 0)) - 1
    if workers > room:
        raise ValueError(
            _too_many(flag, workers, f"the cluster has {room + 1} CPUs, one for readers")
        )
    if device == "cuda" and workers > resources.get("GPU", 0):
        raise ValueError(_too_many(flag, workers, f"it has {int(resources.get('GPU', 0))} GPUs"))
    return is_own


def check_room(workers: int, flag: str = "--workers") -> None:
    """Refuse, before a cluster starts and a run's name is taken, what this machine cannot hold.

    Raises:
        ValueError: More workers than CPUs.
    """
    if ray.is_initialized() or "RAY_ADDRESS" in os.environ:
        return
    if workers > _num_cores():
        raise ValueError(_too_many(flag, workers, f"this machine has {_num_cores()} CPUs"))


def has_gpus(workers: int) -> bool:
    """Whether the cluster has a GPU for each worker."""
    return bool(ray.cluster_resources().get("GPU", 0) >= workers)


def _num_cores() -> int:
    return os.cpu_count() or 1


def _too_many(flag: str, workers: int, found: str) -> str:
    return f"{flag} is {workers}, but {found}: ask for fewer, or set RAY_ADDRESS to a larger one"
