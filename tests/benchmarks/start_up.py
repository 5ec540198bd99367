"""How long until the first batch, and how much memory until then, by a run's length and workers?

The rows are small, so that what is seen is the cost of planning, not of reading. Workers only take
a batch, and are threads of the driver. Each figure is of a cluster of its own that has brought the
batches of one step before.
"""

import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.benchmarks.measuring import Options, Report, Row
from tests.benchmarks.processes import descendants, is_ray, peak_mib
from tests.data import noise

STEPS = (1_000, 100_000, 10_000_000)
WORKERS = (1, 2, 8, 16)


def start_up(folder: Path, options: Options) -> Report:
    """From asking for a stream to the first batch of the slowest worker."""
    report = Report(title="Start-up of the stream of batches, readers' work with small rows")
    root = noise.write_all(str(folder / "data"))
    for num_workers in WORKERS:
        for num_steps in STEPS:
            found = [
                _in_a_process(root, num_steps, num_workers) for _ in range(options.repetitions)
            ]
            name = f"{num_steps:,} steps, {num_workers} workers"
            for unit in ("s", "MiB"):
                values = [run[unit] for run in found]
                note = "largest of the driver and Ray's workers and actors" if unit == "MiB" else ""
                report.rows.append(Row(name=name, unit=unit, values=values, note=note))
    return report


def _in_a_process(root: str, num_steps: int, num_workers: int) -> dict[str, float]:
    job = json.dumps({"root": root, "num_steps": num_steps, "num_workers": num_workers})
    command = [sys.executable, "-m", "tests.benchmarks.start_up", job]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def measure(root: str, num_steps: int, num_workers: int) -> dict[str, float]:
    """Start a cluster, bring the first batches of a short run, then of this one."""
    import ray

    from vibe_ray.data.mixing import DataConfig, make_plan
    from vibe_ray.distributed.feed import fed_batches, make_feeder

    ray.init(address="local", num_cpus=4, log_to_driver=False, logging_level="ERROR")
    plan = make_plan(DataConfig(root=root, batch_size=32, motion_batch_size=32), seed=0)

    def first_batches(num_steps: int) -> float:
        began = time.perf_counter()
        feeder = make_feeder(plan, num_steps, num_workers)
        streams = [fed_batches(feeder, 0, rank) for rank in range(num_workers)]
        with ThreadPoolExecutor(num_workers) as pool:
            list(pool.map(next, streams))
        seconds = time.perf_counter() - began
        for stream in streams:
            stream.close()
        return seconds

    first_batches(num_workers)
    seconds = first_batches(num_steps)
    ours = {os.getpid()} | {pid for pid in descendants(os.getpid()) if is_ray(pid)}
    return {"s": seconds, "MiB": max(map(peak_mib, ours))}


if __name__ == "__main__":
    print(json.dumps(measure(**json.loads(sys.argv[1]))), flush=True)
    os._exit(0)  # what the streams have begun is not waited for
