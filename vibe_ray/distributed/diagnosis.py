"""Does Ray work here? One task, on the cluster that RAY_ADDRESS names or on one of our own."""

import os

import ray

from vibe_ray.diagnosis import Finding
from vibe_ray.distributed.cluster import ADDRESS, connected

SECONDS = 60.0
"""For one small task; a cluster that is busy or starts a node may take longer."""


def check_ray() -> Finding:
    """Join or start a cluster, and run a task on it.

    Raises:
        ValueError, ConnectionError: See `cluster.connect`.
    """
    with connected(1, "auto") as is_own:
        answer = ray.remote(_double).remote(21)
        ready, _ = ray.wait([answer], timeout=SECONDS)
        if not ready:
            advice = "look at `ray status`: it may be full, or waiting for a node"
            return Finding("Ray", "broken", f"no task began within {SECONDS:.0f} s", advice)
        if (doubled := ray.get(answer)) != 42:
            return Finding("Ray", "broken", f"a task answered {doubled}, expected 42")
        resources = ray.cluster_resources()
    address = os.environ.get(ADDRESS, "no address")
    where = "a cluster of our own" if is_own else f"the cluster at {address}"
    cpus, gpus = (int(resources.get(name, 0)) for name in ("CPU", "GPU"))
    return Finding("Ray", "ok", f"ray {ray.__version__}, {where}: {cpus} CPUs, {gpus} GPUs")


def _double(number: int) -> int:
    return 2 * number
