"""Trains for an hour at smoke size, and looks whether any process or folder grows.

    python -m tests.integration.soak --minutes 60 --folder soak

Every few seconds the memory of its own (shared pages aside) and the open files of every process
below the command are noted, and the number of files on disk. The verdict compares the middle third
of the hour with the last: what leaks grows by a steady amount.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.integration.processes import PROC, Process, descendants, started
from tests.integration.survival import Trial

MAX_GROWTH_MB = 15.0
"""Between the middle and the last third; Python's and Arrow's pools move by a few."""
MAX_NEW_FILES = 5


@dataclass(frozen=True)
class Sample:
    seconds: float
    private_mb: float
    num_open: int


def sample(process: Process, begun: float) -> Sample | None:
    """Measure a process; None if it has ended or is not ours to look at."""
    try:
        rollup = (PROC / str(process.pid) / "smaps_rollup").read_text()
        num_open = len(os.listdir(PROC / str(process.pid) / "fd"))  # noqa: PTH208
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return None
    private = sum(
        int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Private_")
    )
    return Sample(time.monotonic() - begun, private / 1024, num_open)


def watch(
    driver: subprocess.Popen[bytes], folders: list[Path], minutes: float
) -> dict[str, object]:
    """Sample until the time is over or the command ends."""
    samples: dict[str, list[Sample]] = defaultdict(list)
    files: list[int] = []
    processes: list[int] = []
    begun = time.monotonic()
    while time.monotonic() - begun < 60 * minutes and driver.poll() is None:
        below = descendants(driver.pid)
        driver.known.update({process.pid: process for process in below})
        for process in below:
            if found := sample(process, begun):
                samples[f"{process.role} {process.pid}"].append(found)
        processes.append(len(below))
        files.append(sum(1 for folder in folders for path in folder.rglob("*") if path.is_file()))
        time.sleep(10)
    return verdict(samples, files, processes) | {
        "minutes": round((time.monotonic() - begun) / 60, 1),
        "ended_early": driver.poll() is not None,
    }


def verdict(
    samples: dict[str, list[Sample]], files: list[int], processes: list[int]
) -> dict[str, object]:
    """Compare the middle third with the last, process by process."""
    longest = max(len(found) for found in samples.values())
    stayed = {name: found for name, found in samples.items() if len(found) >= 0.9 * longest}
    table = {
        name: {
            "private_mb": round(found[-1].private_mb, 1),
            "growth_mb": round(growth([item.private_mb for item in found]), 1),
            "open_files_growth": growth([item.num_open for item in found]),
        }
        for name, found in sorted(stayed.items())
    }
    overall = {"files": growth(files), "processes": growth(processes)}
    flat = all(
        row["growth_mb"] <= MAX_GROWTH_MB and row["open_files_growth"] <= MAX_NEW_FILES
        for row in table.values()
    )
    level = overall["files"] <= MAX_NEW_FILES and overall["processes"] <= 1
    return {"flat": flat and level, "processes": table, "growth": overall}


def growth(values: Sequence[float]) -> float:
    """Median of the last third less that of the middle one."""
    third = len(values) // 3
    return statistics.median(values[2 * third :]) - statistics.median(values[third : 2 * third])


def main() -> None:
    """Parse, train and watch, print; exit with 1 when anything grew."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--folder", type=Path, required=True, help="new or empty, for all files")
    args = parser.parse_args()
    from tests.data import noise

    args.folder.mkdir(parents=True, exist_ok=True)
    trial = Trial(
        data=Path(noise.write_all(str(args.folder / "data"))),
        storage=args.folder / "runs",
        workers=args.workers,
        epochs=250,
        steps_per_epoch=1000,
        checkpoint_steps=300,
    )
    log = (args.folder / "log.txt").open("wb")
    command = trial.command("soak", resume=False)
    with started(command, stdout=log, stderr=log) as driver:
        result = watch(driver, [trial.storage, Path("/dev/shm")], args.minutes)
    (args.folder / "soak.json").write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))
    sys.exit(not result["flat"] or bool(result["ended_early"]))


if __name__ == "__main__":
    main()
