"""Kills a training again and again, and compares its end with one that was left alone.

    python -m tests.integration.survival --kills 20 --workers 2

Each kill is a SIGKILL at a random moment of a random process: a worker, the controller of Ray
Train, or the driver, after which the command is given again with `--resume`. Most moments are
counted from a new checkpoint on, so that training goes on between them; some from the start. How
long a run takes is this machine's affair: moments are shares of what the run that was left alone
took, and a run that came to its end before its last kill is begun again, with earlier ones.
The networks of the last checkpoint must be equal byte for byte, and so must every metric of every
epoch.
"""

import argparse
import hashlib
import json
import os
import random
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

from tests.integration.processes import Process, descendants, started
from vibe_ray import storage
from vibe_ray.runs.checkpoints import find_checkpoint
from vibe_ray.runs.log import read_metrics
from vibe_ray.runs.step_folders import last_step

POLL_SECONDS = 0.02
VICTIMS = ("worker", "controller", "driver")
NARROW = {
    "generator.feature_dim": 16,
    "generator.temporal_encoder.gru.hidden_dim": 8,
    "generator.regressor.hidden_dim": 8,
    "generator.regressor.dropout": 0.3,
    "discriminator.hidden_dim": 8,
    "initial_regressor": "scratch",
    "data.window_length": 5,
}


@dataclass(frozen=True)
class Kill:
    role: str
    moment: float
    """From the moment at which the victim may be killed to its end, as a share of the time that
    the kill has: of an equal part of training, or, if it is early, of the time until then."""
    early: bool
    """Whether it may be killed before the run has made a new checkpoint."""


@dataclass(kw_only=True)
class Trial:
    """A training that is killed now and then."""

    data: Path
    storage: Path
    workers: int
    epochs: int = 6
    steps_per_epoch: int = 100
    checkpoint_steps: int = 7
    seed: int = 0
    log: Path = Path(os.devnull)
    seconds: dict[str, float] = field(default_factory=dict)
    """Of a run that was left alone: to its first checkpoint, the "start", and from there to its
    last, the "training"; how long it takes to go away gives no kill time."""
    killed: list[tuple[str, float, int]] = field(default_factory=list)
    """Role, seconds after it could be killed, and the last checkpoint's step at that moment."""

    def command(self, name: str, *, resume: bool) -> list[str]:
        """The command line, as a user gives it."""
        changes = {**NARROW, "epochs": self.epochs, "steps_per_epoch": self.steps_per_epoch}
        return [
            *(sys.executable, "-m", "vibe_ray.train", "--recipe", "smoke", "--name", name),
            *("--data", str(self.data), "--storage", str(self.storage)),
            *("--workers", str(self.workers), "--checkpoint-steps", str(self.checkpoint_steps)),
            *(f"--set={path}={value}" for path, value in changes.items()),
            *(["--resume"] if resume else []),
        ]

    def run_alone(self, name: str) -> None:
        """Train undisturbed, and note how long that takes here."""
        begun = time.monotonic()
        made: dict[int, float] = {}
        with self._started(name, resume=False) as driver:
            while driver.poll() is None:
                made.setdefault(last_step(str(self.storage / name)), time.monotonic())
                time.sleep(POLL_SECONDS)
        self._check(driver.returncode)
        moments = [moment for step, moment in made.items() if step]
        self.seconds = {"start": moments[0] - begun, "training": moments[-1] - moments[0]}

    def run_killed(self, name: str, kills: Sequence[Kill]) -> None:
        """Train to the end, killing one victim after the other.

        Raises:
            TimeoutError: The run was at its end before the last kill, however early that came.
        """
        for haste in (1, 2, 4, 8, 16):
            self.killed.clear()
            shutil.rmtree(self.storage / name, ignore_errors=True)
            if self._run_killed(name, kills, haste):
                return
        raise TimeoutError(f"the run ends before {len(kills)} kills: give it more steps")

    def _run_killed(self, name: str, kills: Sequence[Kill], haste: int) -> bool:
        """Train to the end, with pauses shortened so many times; return whether all were killed."""
        left = list(kills)
        run_dir = self.storage / name
        resume, seen = False, 0
        while True:
            with self._started(name, resume=resume) as driver:
                while driver.poll() is None:
                    step = last_step(str(run_dir))
                    ready = left and (left[0].early or step > seen)
                    if ready:
                        pause = self._pause(left[0], len(kills)) / haste
                        if self._kill(driver.pid, left[0], pause, driver.known):
                            left.pop(0)
                            seen = last_step(str(run_dir))
                    time.sleep(POLL_SECONDS)
            resume = (run_dir / "run.json").exists()
            if driver.returncode == 0:
                return not left
            self._check(driver.returncode)

    def _pause(self, kill: Kill, num_kills: int) -> float:
        """Return a kill's moment in seconds; a run has time for all even if all come late."""
        if kill.early:
            return kill.moment * self.seconds["start"]
        return kill.moment * self.seconds["training"] / num_kills

    @contextmanager
    def _started(self, name: str, *, resume: bool) -> Iterator["subprocess.Popen[bytes]"]:
        command = self.command(name, resume=resume)
        with self.log.open("ab") as log, started(command, stdout=log, stderr=log) as driver:
            yield driver

    def _check(self, returncode: int) -> None:
        if returncode > 0:
            raise RuntimeError(f"training ended with {returncode}: see {self.log}")

    def _kill(self, root: int, kill: Kill, pause: float, known: dict[int, Process]) -> bool:
        """Kill a process of a role; False when there is none yet."""
        below = descendants(root)
        known |= {process.pid: process for process in below}
        found = [process for process in below if process.role == kill.role]
        if not found or (self.workers and "worker" not in {process.role for process in below}):
            return False
        time.sleep(pause)
        victim = random.Random(kill.moment).choice(found)
        if not victim.is_alive():
            return False
        victim.end()
        step = last_step(str(self.storage / "killed"))
        self.killed.append((kill.role, round(pause, 2), step))
        return True


def hashes(run_dir: str) -> dict[str, str]:
    """Return the hash of every network of a run's last checkpoint."""
    with storage.local_copy(find_checkpoint(run_dir, "last")) as folder:
        return {
            path.name: hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(folder.glob("*.safetensors"))
        }


def measured(run_dir: str) -> list[dict[str, float]]:
    """Return the metrics of all epochs but those of the machine."""
    return [
        {name: value for name, value in row.items() if not name.startswith("system/")}
        for row in read_metrics(run_dir)
    ]


def compare(trial: Trial, num_kills: int) -> dict[str, object]:
    """Train once undisturbed and once killed; return what was killed and whether all is equal."""
    chance = random.Random(trial.seed)
    roles = VICTIMS if trial.workers else ("driver",)
    victims = [roles[index % len(roles)] for index in range(num_kills)]
    chance.shuffle(victims)
    kills = [Kill(role, chance.random(), chance.random() < 0.25) for role in victims]
    trial.run_alone("alone")
    begun = time.monotonic()
    trial.run_killed("killed", kills)
    expected, found = (hashes(f"{trial.storage}/{name}") for name in ("alone", "killed"))
    rows = [measured(f"{trial.storage}/{name}") for name in ("alone", "killed")]
    return {
        "trial": {name: str(value) for name, value in asdict(trial).items() if name != "killed"},
        "kills": dict(Counter(role for role, _, _ in trial.killed)),
        "moments": trial.killed,
        "networks_equal": expected == found,
        "metrics_equal": rows[0] == rows[1],
        "epochs": len(rows[1]),
        "hashes": {"alone": expected, "killed": found},
        "seconds": {**trial.seconds, "killed": time.monotonic() - begun},
    }


def main() -> None:
    """Parse, compare, print; exit with 1 when anything differs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--steps-per-epoch", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, required=True, help="new or empty, for all files")
    args = parser.parse_args()
    from tests.data import noise

    args.folder.mkdir(parents=True, exist_ok=True)
    trial = Trial(
        data=Path(noise.write_all(str(args.folder / "data"))),
        storage=args.folder / "runs",
        workers=args.workers,
        epochs=args.epochs,
        steps_per_epoch=args.steps_per_epoch,
        seed=args.seed,
        log=args.folder / "log.txt",
    )
    result = compare(trial, args.kills)
    print(json.dumps(result, indent=2))
    sys.exit(not (result["networks_equal"] and result["metrics_equal"]))


if __name__ == "__main__":
    main()
