"""What can go wrong in a run on Ray: divergence, bad data, a hung worker, no memory left.

The messages are those that a run in this process gives.
"""

import os
import shutil
import signal
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.data import noise
from tests.integration.processes import descendants, started
from tests.integration.survival import Trial, hashes, measured
from tests.training.tiny import NO_DROPOUT, tiny
from vibe_ray.data.shards import ShardWriter
from vibe_ray.distributed.launch import NO_MEMORY, train
from vibe_ray.runs.log import read_failure
from vibe_ray.runs.step_folders import complete_steps, last_step
from vibe_ray.training.launch import Launch
from vibe_ray.training.recorder import Cadence

LEFT_FOR_THE_RUN, PIECE = 5 * 2**30, 2**28
"""Bytes."""

pytestmark = [pytest.mark.ray, pytest.mark.slow]


@pytest.fixture
def where(tmp_path: Path, ray_cluster: None) -> Launch:
    return Launch(name="run", storage=str(tmp_path), workers=2, cadence=Cadence(steps=2))


def test_a_run_that_diverges_stops_and_names_the_step(where: Launch, shards: str) -> None:
    config = tiny(data__root=shards, optim__generator_lr=1e30, epochs=1, steps_per_epoch=10)
    with pytest.raises(FloatingPointError) as on_ray:
        train(config, where)
    with pytest.raises(FloatingPointError) as here:
        train(config, replace(where, workers=0, name="here"))
    assert str(on_ray.value) == str(here.value)
    assert "not finite" in str(here.value)
    assert isinstance(read_failure(where.run_dir), FloatingPointError)
    assert complete_steps(where.run_dir) == complete_steps(replace(where, name="here").run_dir)


def test_bad_data_end_the_run_at_once(where: Launch, shards: str, tmp_path: Path) -> None:
    data = tmp_path / "data"
    shutil.copytree(shards, data)
    shutil.rmtree(data / "open_3d/train")
    features = np.full((70, noise.F), np.nan, np.float16)
    with ShardWriter(str(data / "open_3d/train"), noise.header("open_3d/train")) as writer:
        writer.write(noise.pose_sequence("a", 70, features=features))
    with pytest.raises(ValueError, match="features of sequence 'a' hold NaN or infinity") as error:
        train(tiny(data__root=str(data)), replace(where, workers=1))
    assert "\n" not in str(error.value)


@pytest.mark.long
@pytest.mark.timeout(1200)
def test_a_worker_that_hangs_is_replaced(where: Launch, shards: str) -> None:
    config = tiny(data__root=shards, epochs=2, steps_per_epoch=200, **NO_DROPOUT)
    stopped: list[int] = []

    def stop_one() -> None:
        while not last_step(where.run_dir):
            time.sleep(0.1)
        workers = [p for p in descendants(os.getpid()) if p.role == "worker"]
        os.kill(workers[0].pid, signal.SIGSTOP)
        stopped.append(workers[0].pid)

    thread = threading.Thread(target=stop_one)
    thread.start()
    result = train(config, replace(where, cadence=Cadence(steps=50), hang_minutes=0.2))
    thread.join()
    assert stopped
    here = train(config, replace(where, workers=0, name="here"))
    for found, expected in zip(result.metrics, here.metrics, strict=True):
        names = [name for name in expected if not name.startswith("system/")]
        assert {n: found[n] for n in names} == pytest.approx({n: expected[n] for n in names}, 1e-4)


@pytest.mark.long
@pytest.mark.timeout(1200)
def test_a_worker_that_runs_out_of_memory_is_replaced(tmp_path: Path) -> None:
    """Something else on the machine takes the memory: Ray ends a worker, and all goes on."""
    trial = Trial(
        data=Path(noise.write_all(str(tmp_path / "data"))),
        storage=tmp_path / "runs",
        workers=2,
        epochs=3,
        steps_per_epoch=200,
        log=tmp_path / "log.txt",
    )
    trial.run_alone("alone")
    lines = (line.split() for line in Path("/proc/meminfo").read_text().splitlines())
    memory = {name: 1024 * int(number) for name, number, *_ in lines}
    most = 1 - (memory["MemAvailable:"] - LEFT_FOR_THE_RUN) / memory["MemTotal:"]
    with (
        trial.log.open("wb") as log,
        started(
            trial.command("starved", resume=False),
            stdout=log,
            stderr=log,
            env=os.environ | {"RAY_memory_usage_threshold": str(most)},
        ) as driver,
    ):
        run_dir = str(trial.storage / "starved")
        while not last_step(run_dir):
            assert driver.poll() is None, trial.log.read_text()
            time.sleep(0.1)
        workers = [p for p in descendants(driver.pid) if p.role == "worker"]
        taken = []
        while all(worker.is_alive() for worker in workers):
            assert driver.poll() is None, "the run came to its end without the memory"
            if len(taken) * PIECE < LEFT_FOR_THE_RUN:
                taken.append(np.ones(PIECE, np.uint8))
            time.sleep(0.1)
        taken.clear()
        assert driver.wait() == 0, trial.log.read_text()
    assert NO_MEMORY in trial.log.read_text()
    assert hashes(run_dir) == hashes(f"{trial.storage}/alone")
    assert measured(run_dir) == measured(f"{trial.storage}/alone")
