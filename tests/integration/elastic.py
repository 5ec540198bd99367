"""Takes a node from a running training, gives another, and looks whether it computed the same.

    python -m tests.integration.elastic --folder elastic

A head without room for workers and two nodes with room for one each are simulated on this machine.
A run with 1 to 2 workers loses a node and goes on with one worker; when another node joins, it
grows again. Windows are a function of the global step alone and losses are divided by global
counts, so without dropout its metrics must agree with those of a run in one process, up to the
order of sums.
"""

import argparse
import functools
import json
import os
import sys
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING
from unittest import mock

from tests.data import noise
from tests.training.tiny import NO_DROPOUT, tiny
from vibe_ray.config import TrainConfig
from vibe_ray.runs.step_folders import last_step

if TYPE_CHECKING:
    from vibe_ray.training.launch import Launch, RunResult

os.environ |= {
    "GLOO_SOCKET_IFNAME": "lo",
    "RAY_AUTH_MODE": "disabled",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "20",
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_failure_threshold": "5",
}  # read when Ray is imported
LOOK_SECONDS = 2.0
"""Ray looks for room that often; by itself every 60 s."""
LENGTHS = (1, 2, 4, 8)
"""A run that came to its end before it had grown again is begun anew, so many times as long."""


def main() -> None:
    """Parse, train, print; exit with 1 when metrics differ."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, required=True, help="new or empty, for all files")
    parser.add_argument("--epochs", type=int, default=6, help="doubled until it has grown again")
    parser.add_argument("--steps-per-epoch", type=int, default=400)
    args = parser.parse_args()
    result = run(args.folder, args.epochs, args.steps_per_epoch)
    print(json.dumps(result, indent=2))
    sys.exit(not result["agrees"])


def run(folder: Path, epochs: int, steps_per_epoch: int) -> dict[str, object]:
    """Train with nodes that go and come, and in this process.

    Raises:
        TimeoutError: However long, the run was at its end before it had grown again.
    """
    from vibe_ray.distributed.launch import train
    from vibe_ray.training.launch import Launch
    from vibe_ray.training.recorder import Cadence

    folder.mkdir(parents=True, exist_ok=True)
    data = noise.write_all(str(folder / "data"))
    where = Launch(name="here", storage=str(folder / "runs"), workers=0)
    known = {"data__root": data, "steps_per_epoch": steps_per_epoch, **NO_DROPOUT}
    for times in LENGTHS:
        config = tiny(epochs=times * epochs, **known)
        name = f"elastic{times}"
        launch = replace(where, name=name, workers=1, max_workers=2, cadence=Cadence(steps=20))
        found, events = train_while_nodes_change(config, launch)
        workers = [row["system/num_workers"] for row in found.metrics]
        if 1 in workers and 2 in workers[workers.index(1) :]:
            break
    else:
        raise TimeoutError(f"it ends before it grows again: more than {config.epochs} epochs?")
    here = train(config, where)
    worst = max(
        abs(row[name] - value) / max(abs(value), 1e-9)
        for row, expected in zip(found.metrics, here.metrics, strict=True)
        for name, value in expected.items()
        if not name.startswith("system/")
    )
    return {
        "events": events,
        "workers_at_the_end_of_each_epoch": workers,
        "largest_relative_difference": worst,
        "agrees": worst < 1e-3,
    }


def train_while_nodes_change(
    config: TrainConfig, launch: "Launch"
) -> tuple["RunResult", list[tuple[float, str]]]:
    """Train on two nodes, take one away, give one; return the result, and what came when (s)."""
    import ray
    from ray.cluster_utils import Cluster
    from ray.train import ScalingConfig

    from vibe_ray.distributed.launch import train

    node = {"num_cpus": 1, "object_store_memory": 150 * 2**20}
    head = {**node, "num_cpus": 0, "include_dashboard": True}
    head["dashboard_port"] = None  # the first that is free; a cluster beside this one has its own
    cluster = Cluster(initialize_head=True, head_node_args=head)
    cluster.add_node(**node)
    lost = cluster.add_node(**node)
    ray.init(address=cluster.address, log_to_driver=True, logging_level="ERROR")
    events: list[tuple[float, str]] = []
    begun = time.monotonic()

    def note(text: str) -> None:
        events.append((round(time.monotonic() - begun, 1), text))

    looking = functools.partial(ScalingConfig, elastic_resize_monitor_interval_s=LOOK_SECONDS)
    with mock.patch("vibe_ray.distributed.launch.ScalingConfig", looking):
        training = ThreadPoolExecutor(1).submit(train, config, launch)
        wait_for_step(launch.run_dir, 100, training)  # nodes come and go in the main thread alone
        note("a node is lost")
        cluster.remove_node(lost, allow_graceful=False)
        epoch = last_step(launch.run_dir) // config.steps_per_epoch + 1
        # The node that is left ends an epoch alone.
        left_alone = epoch * config.steps_per_epoch + launch.cadence.steps
        wait_for_step(launch.run_dir, left_alone, training)
        note("a node joins")
        cluster.add_node(**node)
        found = training.result()
    note("the end")
    ray.shutdown()
    cluster.shutdown()
    return found, events


def wait_for_step(run_dir: str, step: int, training: Future[object]) -> None:
    """Wait until a checkpoint of at least this step is there, or the run is at its end."""
    while last_step(run_dir) < step and not training.done():
        time.sleep(0.2)


if __name__ == "__main__":
    main()
