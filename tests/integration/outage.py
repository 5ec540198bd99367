"""Kills a run's object store in the middle of an epoch, and compares its end with another run.

    python -m tests.integration.outage --folder outage --seconds 20

Data are streamed from the store and checkpoints written to it. It is killed, comes back after some
seconds, and the run must end with the same networks byte for byte and the same metrics: no window
was lost and none came twice. The steps of an epoch are as many as the data have clips for, so that
readers wait for the store too. No file of the run, none of Ray's logs and no line that was printed
may hold the secret.
"""

import argparse
import json
import os
import re
import shutil
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from tests.data import noise
from tests.integration.object_server import SECRET_KEY, ObjectServer
from tests.integration.processes import started
from tests.integration.survival import NARROW, hashes, measured
from vibe_ray import storage
from vibe_ray.runs.step_folders import last_step


def main() -> None:
    """Parse, train twice, print; exit with 1 when anything differs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, required=True, help="new or empty, for all files")
    parser.add_argument("--seconds", type=float, default=20.0, help="how long the store is away")
    parser.add_argument("--workers", type=int, default=2)
    args = parser.parse_args()
    result = compare(args.folder, args.seconds, args.workers)
    print(json.dumps(result, indent=2))
    sys.exit(not all(result[name] for name in CHECKS))


CHECKS = ("networks_equal", "metrics_equal", "no_secret", "waited")
LENGTHS = {
    **noise.LENGTHS,
    "open_2d/train": (20,) * 200,
    "open_3d/train": (20,) * 600,
    "motion/train": (20,) * 800,
}
"""Clips of one window each, for a hundred steps of the smoke recipe."""
WAITED = re.compile(r"(?:\((\S+) pid=\d+\))?[^\n]*the object store \S+ answers again after (\d+) s")


def compare(folder: Path, seconds: float, workers: int, steps: int = 100) -> dict[str, object]:
    """Train undisturbed and with an outage; return what differs."""
    folder.mkdir(parents=True, exist_ok=True)
    ray_folder = Path(tempfile.mkdtemp(prefix="ray_", dir="/tmp"))  # sockets want short names
    os.environ["RAY_TMPDIR"] = str(ray_folder)
    try:
        return _compare(folder, seconds, workers, steps)
    finally:
        shutil.rmtree(ray_folder)


def _compare(folder: Path, seconds: float, workers: int, steps: int) -> dict[str, object]:
    with ObjectServer(folder / "store") as server:
        os.environ |= server.environment
        bucket = server.create_bucket("open-world")
        trial = Trial(folder, bucket, workers, steps)
        noise.write_all(trial.data, LENGTHS)
        trial.run("alone")
        killed_at = trial.run("killed", Outage(server, seconds))
        expected, found = (hashes(f"{trial.runs}/{name}") for name in ("alone", "killed"))
        rows = [measured(f"{trial.runs}/{name}") for name in ("alone", "killed")]
        texts = [storage.read_bytes(path) for path in storage.list_files(trial.runs)]
    log = (folder / "log.txt").read_text()
    ray_logs = [file for file in Path(os.environ["RAY_TMPDIR"]).rglob("*") if file.is_file()]
    texts += [log.encode(), *(file.read_bytes() for file in ray_logs)]
    waited = [(who or "driver", int(seconds)) for who, seconds in WAITED.findall(log)]
    return {
        "workers": workers,
        "seconds_away": seconds,
        "away_after_step": killed_at,
        "waited": waited,
        "networks_equal": expected == found,
        "metrics_equal": rows[0] == rows[1],
        "no_secret": not any(SECRET_KEY.encode() in text for text in texts),
        "files_searched": len(texts),
    }


@dataclass(frozen=True)
class Outage:
    server: ObjectServer
    seconds: float


@dataclass(frozen=True)
class Trial:
    """A training from and to a bucket."""

    folder: Path
    bucket: str
    workers: int
    steps: int

    @property
    def data(self) -> str:
        """Where the data are."""
        return f"{self.bucket}/data"

    @property
    def runs(self) -> str:
        """Where runs are written."""
        return f"{self.bucket}/runs"

    def command(self, name: str) -> list[str]:
        """The command line, as a user gives it."""
        changes = {**NARROW, "epochs": 2, "steps_per_epoch": self.steps}
        return [
            *(sys.executable, "-m", "vibe_ray.train", "--recipe", "smoke", "--name", name),
            *("--data", self.data, "--storage", self.runs, "--workers", str(self.workers)),
            *("--checkpoint-steps", "10"),
            *(f"--set={path}={value}" for path, value in changes.items()),
        ]

    def run(self, name: str, outage: Outage | None = None) -> int:
        """Train; return the step after whose checkpoint the store went away."""
        step = 0
        with (
            (self.folder / "log.txt").open("ab") as log,
            started(self.command(name), stdout=log, stderr=log) as driver,
        ):
            if outage is not None:
                while driver.poll() is None and not step:
                    step = last_step(f"{self.runs}/{name}")
                    time.sleep(0.2)
                outage.server.kill()
                time.sleep(outage.seconds)
                outage.server.start()
            if driver.wait():
                raise RuntimeError(f"training ended with {driver.returncode}: see {log.name}")
        return step


if __name__ == "__main__":
    main()
