"""The watch over a cluster of our own, with other processes in its processes' place."""

import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.integration.processes import Process, descendants
from vibe_ray.distributed import watch as watch_module
from vibe_ray.distributed.watch import ClusterWatch

PARENT = "import subprocess, time; subprocess.Popen(['sleep', '600']); time.sleep(600)"


@pytest.fixture
def children(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, object]]:
    """A child that was there before; a `gcs_server`, and a parent of another, that came after."""
    monkeypatch.setattr(watch_module, "SECONDS", 0.05)
    gcs = tmp_path / "gcs_server"
    shutil.copy(shutil.which("sleep") or "", gcs)
    other = subprocess.Popen(["sleep", "600"])
    before = psutil.Process().children()
    started = {
        "other": other,
        "gcs": subprocess.Popen([str(gcs), "600"]),
        "parent": subprocess.Popen([sys.executable, "-c", PARENT]),
    }
    while len(descendants(started["parent"].pid)) < 2:
        time.sleep(0.05)
    below = {found.pid: found for found in descendants(started["parent"].pid)}
    yield {**started, "before": before, "below": below}
    for found in below.values():
        found.end()
    for process in started.values():
        process.kill()
        process.wait()


def wait_for_end(processes: dict[int, Process]) -> None:
    while any(process.is_alive() for process in processes.values()):
        time.sleep(0.05)


@pytest.mark.timeout(60)
def test_nothing_is_left_when_the_gcs_has_died(children: dict[str, object]) -> None:
    watch = ClusterWatch(children["before"])
    watch.start()
    time.sleep(0.3)
    assert not watch.has_lost.is_set()
    children["gcs"].kill()
    assert watch.has_lost.wait(30)
    wait_for_end(children["below"])
    assert children["other"].poll() is None


@pytest.mark.timeout(60)
def test_a_process_whose_parent_has_died_is_known(children: dict[str, object]) -> None:
    watch = ClusterWatch(children["before"])
    watch.start()
    while len(watch._known) < 3:
        time.sleep(0.05)
    children["parent"].kill()
    children["parent"].wait()
    children["gcs"].kill()
    wait_for_end(children["below"])


@pytest.mark.timeout(60)
def test_a_watch_that_is_told_to_end_ends_nothing(children: dict[str, object]) -> None:
    watch = ClusterWatch(children["before"])
    watch.start()
    watch.stop()
    assert not watch.is_alive()
    children["gcs"].kill()
    time.sleep(0.3)
    assert not watch.has_lost.is_set()
    assert all(process.is_alive() for process in children["below"].values())
