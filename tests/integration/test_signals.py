"""Ctrl-C, SIGTERM and a dead GCS: one line, the shell's exit code, and no process left behind."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.integration.processes import Process, descendants, started
from tests.integration.serving_load import request_body, served
from tests.integration.survival import Trial
from vibe_ray.runs.step_folders import checkpoint_name, last_step

ROOT = Path(__file__).parents[2]

pytestmark = [pytest.mark.ray, pytest.mark.long, pytest.mark.timeout(900)]


def wait_for_end(processes: list[Process], seconds: float) -> list[str]:
    """Wait until processes have ended, and return the roles of those that have not."""
    deadline = time.monotonic() + seconds
    while any(process.is_alive() for process in processes) and time.monotonic() < deadline:
        time.sleep(0.5)
    return [process.title for process in processes if process.is_alive()]


def own_lines(output: Path) -> list[str]:
    """Return what the command itself said, without what Ray brings from other processes."""
    lines = output.read_text(errors="replace").splitlines()
    return [line for line in lines if not line.startswith("\x1b[") and " pid=" not in line]


@pytest.fixture
def trial(shards: str, tmp_path: Path) -> Trial:
    return Trial(data=Path(shards), storage=tmp_path, workers=2, epochs=10_000)


@contextmanager
def in_training(
    trial: Trial, run_dir: Path, output: Path
) -> Iterator[tuple[subprocess.Popen[bytes], list[Process]]]:
    """Start a run and wait for its first checkpoint: its process, and all below it."""
    with (
        output.open("wb") as stderr,
        started(trial.command(run_dir.name, resume=False), stdout=stderr, stderr=stderr) as process,
    ):
        while not last_step(str(run_dir)):
            assert process.poll() is None, output.read_text()
            time.sleep(0.5)
        yield process, descendants(process.pid)


@pytest.mark.parametrize(
    ("number", "said"), [(signal.SIGINT, "interrupted"), (signal.SIGTERM, "ended by SIGTERM")]
)
def test_a_training_on_ray_ends_cleanly(
    number: signal.Signals, said: str, trial: Trial, tmp_path: Path
) -> None:
    run_dir, output = tmp_path / "run", tmp_path / "output.txt"
    with in_training(trial, run_dir, output) as (process, below):
        assert {found.role for found in below} >= {"worker", "raylet", "gcs"}
        process.send_signal(number)
        assert process.wait(120) == 128 + number, output.read_text()
        assert not wait_for_end(below, 30)
    lines = own_lines(output)
    last = run_dir / checkpoint_name(last_step(str(run_dir)))
    said_last = (
        f"python -m vibe_ray.train: {said}; last checkpoint: {last}, --resume goes on from it"
    )
    assert lines[-1] == said_last
    assert not [line for line in lines if "Traceback" in line]


def test_a_dead_gcs_leaves_no_process_behind(trial: Trial, tmp_path: Path) -> None:
    run_dir, output = tmp_path / "run", tmp_path / "output.txt"
    with in_training(trial, run_dir, output) as (process, below):
        (gcs,) = (found for found in below if found.role == "gcs")
        gcs.end()
        assert process.wait(300) != 0  # what Ray makes of it at the exit
        assert not wait_for_end(below, 30)
    last_line = own_lines(output)[-1]
    assert last_line.startswith("python -m vibe_ray.train: Ray's GCS died")
    assert last_line.endswith(f"the last checkpoint in {run_dir} is good, --resume goes on from it")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_server_answers_what_is_in_flight(number: signal.Signals, tmp_path: Path) -> None:
    """Requests that all have been sent when the first is answered and the server told to end."""
    log = tmp_path / "log.txt"
    body, statuses = request_body(1500), []
    is_first_answered = threading.Event()
    with served(ROOT, log) as server:
        below = descendants(server.pid)

        def ask() -> None:
            headers = {"content-type": "application/json"}
            reply = httpx.post(f"{server.url}/v1/infer", content=body, headers=headers, timeout=200)
            statuses.append((reply.status_code, len(reply.content)))
            is_first_answered.set()

        asking = [threading.Thread(target=ask) for _ in range(6)]
        for thread in asking:
            thread.start()
        assert is_first_answered.wait(200)
        assert len(statuses) < len(asking)
        os.kill(server.pid, number)
        for thread in asking:
            thread.join()
        assert wait_for_end(below, 120) == []
    assert [status for status, _ in statuses] == [200] * 6
    assert len({length for _, length in statuses}) == 1
    lines = own_lines(log)
    assert not [line for line in lines if "Traceback" in line]
    assert lines[-1].startswith("python -m vibe_ray.serve: ")


def test_a_second_server_is_refused_on_one_cluster(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the first goes on with its own model."""
    monkeypatch.setenv("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "1")  # one that others can join
    with served(ROOT, tmp_path / "log.txt") as server:
        told = {found.title.partition("--gcs-address=")[2] for found in descendants(server.pid)}
        (address,) = {words.split()[0] for words in told if words}  # as its processes are told it
        run = subprocess.run(
            [sys.executable, "-m", "vibe_ray.serve", "--port", "0"],
            env={**os.environ, "RAY_ADDRESS": address, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert run.returncode == 2
        assert "this cluster serves already (vibe_ray)" in run.stderr
        assert httpx.get(f"{server.url}/healthz").status_code == 200
