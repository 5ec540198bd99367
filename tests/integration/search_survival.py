"""Kills a search, takes it up again, kills a process of a trial, and compares the answers.

    python -m tests.integration.search_survival --workers-per-trial 1 --folder /tmp/search

The driver is killed once some trials are finished and others are under way. In the session that
takes the search up, the process of a trial is killed (with workers: one of Ray Train's). What was
finished must not be touched again, and the ranking must be that of a search that was left alone.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.integration.processes import Process, descendants, started
from tests.integration.survival import NARROW
from vibe_ray.runs.step_folders import complete_steps

SPACE = """
SPACE = {
    ("losses.adversarial", "optim.generator_lr"): {
        "G": (0.0, 1e-3), "G + D": (0.5, 1e-3), "diverges": (0.5, 1e30),
    },
}
"""
TITLES = {False: "ImplicitFunc.train", True: "RayTrainWorker"}
"""Of processes that train, by whether a trial has workers."""
PATIENCE_SECONDS = 1200


@dataclass(frozen=True, kw_only=True)
class Case:
    data: Path
    folder: Path
    workers: int
    epochs: int = 6
    steps_per_epoch: int = 40
    seeds: int = 2

    @property
    def changes(self) -> dict[str, Any]:
        """Settings that differ from the smoke recipe's."""
        return {**NARROW, "epochs": self.epochs, "steps_per_epoch": self.steps_per_epoch}

    def command(self, name: str, *, resume: bool) -> list[str]:
        """The command line, as a user gives it."""
        space = self.folder / "space.py"
        space.write_text(SPACE)
        return [
            *(sys.executable, "-m", "vibe_ray.tune", "--recipe", "smoke", "--name", name),
            *("--space", str(space), "--seeds", str(self.seeds), "--data", str(self.data)),
            *("--storage", str(self.folder), "--workers-per-trial", str(self.workers)),
            *(f"--set={path}={value}" for path, value in self.changes.items()),
            *(["--resume"] if resume else []),
        ]

    def run(self, name: str, until: Callable[[int], bool], *, resume: bool = False) -> int | None:
        """Search until a condition holds, or to the end, which returns the exit code."""
        with (
            (self.folder / f"{name}.log").open("ab") as log,
            started(self.command(name, resume=resume), stdout=log, stderr=log) as driver,
        ):
            limit = time.monotonic() + PATIENCE_SECONDS
            while driver.poll() is None:
                below = descendants(driver.pid)
                driver.known.update({process.pid: process for process in below})
                if until(driver.pid):
                    Process.end(below[0])
                    return None
                if time.monotonic() > limit:
                    raise TimeoutError(f"see {self.folder / name}.log")
                time.sleep(0.02)
        return driver.returncode

    def finished(self, name: str) -> list[Path]:
        """Folders of the trials that are at their end, the last checkpoint stored."""
        trials = (self.folder / name / "trials").glob("candidate_*")
        last = self.epochs * self.steps_per_epoch
        return sorted(path for path in trials if last in complete_steps(str(path)))

    def answer(self, name: str) -> list[dict[str, Any]]:
        """The ranking, without paths."""
        ranking = json.loads((self.folder / name / "ranking.json").read_text())
        for candidate in ranking["candidates"]:
            for trial in candidate["trials"]:
                del trial["checkpoint"]
                trial["metrics"] = _measured(trial["metrics"])
            candidate["median_metrics"] = _measured(candidate["median_metrics"])
        return list(ranking["candidates"])

    def interrupt(self, name: str) -> list[Path]:
        """Search, and kill the driver in the middle; returns what was finished then."""

        def is_under_way(driver: int) -> bool:
            done = self.finished(name)
            begun = list((self.folder / name / "trials").glob("*/metrics.jsonl"))
            return bool(done) and len(begun) > len(done)

        if self.run(name, is_under_way) is not None:
            raise RuntimeError(f"the search ended first: see {self.folder / name}.log")
        return self.finished(name)

    def resume(self, name: str) -> str:
        """Take the search up, kill a process of a trial, and let it come to its end."""
        killed: list[str] = []

        def kill_once(driver: int) -> bool:
            if not killed and (victim := self._victim(driver, name)):
                victim.end()
                killed.append(victim.title)
            return False

        code = self.run(name, kill_once, resume=True)
        if code != 0 or not killed:
            raise RuntimeError(f"exit code {code}, killed {killed}: see {self.folder / name}.log")
        return killed[0]

    def _victim(self, driver: int, name: str) -> Process | None:
        """A trial's process, once it has written an epoch that was not there before."""
        begun = len(list((self.folder / name / "trials").glob("*/metrics.jsonl")))
        if begun <= len(self.finished(name)):
            return None
        title = TITLES[self.workers > 0]
        found = [process for process in descendants(driver) if title in process.title]
        return found[0] if found else None


def _measured(metrics: dict[str, float]) -> dict[str, float]:
    return {name: value for name, value in metrics.items() if not name.startswith("system/")}


def times(folders: list[Path]) -> dict[Path, int]:
    """When each file was last written."""
    return {path: path.stat().st_mtime_ns for folder in folders for path in folder.rglob("*")}


def survive(case: Case) -> dict[str, Any]:
    """Search, kill, take up again, kill; return what happened."""
    finished = case.interrupt("killed")
    before = times(finished)
    victim = case.resume("killed")
    return {
        "finished_when_killed": [path.name for path in finished],
        "finished_untouched": times(finished) == before,
        "killed_later": victim,
        "ranking": [
            [row["label"], row["median"], row["num_seeds"], row["num_failed"]]
            for row in case.answer("killed")
        ],
    }


def main() -> None:
    """Parse, compare, print; exit with 1 when anything differs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workers-per-trial", type=int, default=0)
    parser.add_argument("--folder", type=Path, required=True, help="new or empty, for all files")
    args = parser.parse_args()
    from tests.data import noise

    args.folder.mkdir(parents=True, exist_ok=True)
    data = Path(noise.write_all(str(args.folder / "data")))
    case = Case(data=data, folder=args.folder, workers=args.workers_per_trial)
    result = survive(case)
    if case.run("alone", lambda _: False) != 0:
        raise RuntimeError(f"see {args.folder / 'alone'}.log")
    result["answers_equal"] = case.answer("killed") == case.answer("alone")
    print(json.dumps(result, indent=2))
    sys.exit(not (result["finished_untouched"] and result["answers_equal"]))


if __name__ == "__main__":
    main()
