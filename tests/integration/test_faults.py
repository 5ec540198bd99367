"""What can go wrong in a run on Ray: divergence, bad data, hung or killed workers, nothing left.

The messages are those that a run in this process gives.
"""

import json
import os
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.data import noise
from tests.integration.machine_memory import read_memory
from tests.integration.processes import Process, descendants, started
from tests.integration.survival import Trial, compare, hashes, measured
from tests.integration.test_full_disk import (
    A_LITTLE_IS_LEFT,
    FILLED_AFTER_A_CHECKPOINT,
    check_told,
    on_a_small_disk,
)
from tests.training.tiny import NO_DROPOUT, tiny
from vibe_ray.data.shards import ShardWriter
from vibe_ray.distributed.launch import NO_MEMORY, train
from vibe_ray.runs.log import FAILURE_FILE, read_failure
from vibe_ray.runs.step_folders import complete_steps, last_step
from vibe_ray.training.launch import Launch
from vibe_ray.training.recorder import Cadence

LEFT_FOR_THE_RUN, PIECE = 5 * 2**30, 2**28
"""Bytes."""
LENGTHS = (200, 400, 800, 1600)
"""Steps per epoch: a run that came to its end before its fault is begun again, twice as long."""

pytestmark = [pytest.mark.ray, pytest.mark.slow]


@pytest.fixture
def where(tmp_path: Path, ray_cluster: None) -> Launch:
    return Launch(name="run", storage=str(tmp_path), workers=2, cadence=Cadence(steps=2))


def test_a_run_that_diverges_stops_and_names_the_step(where: Launch, shards: str) -> None:
    config = tiny(data__root=shards, optim__generator_lr=1e30, epochs=1, steps_per_epoch=10)
    with pytest.raises(FloatingPointError) as on_ray:
        train(config, replace(where, workers=1))
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
    for steps in LENGTHS:
        config = tiny(data__root=shards, epochs=2, steps_per_epoch=steps, **NO_DROPOUT)
        launch = replace(where, name=f"run{steps}", cadence=Cadence(steps=50), hang_minutes=0.2)
        ended = threading.Event()
        with ThreadPoolExecutor(1) as beside:
            replaced = beside.submit(stop_a_worker, launch.run_dir, ended)
            try:
                result = train(config, launch)
            finally:
                ended.set()
        if replaced.result():
            break
    else:
        pytest.fail(f"a run of {steps} steps per epoch ends before a worker is replaced")
    here = train(config, replace(where, workers=0, name="here"))
    for found, expected in zip(result.metrics, here.metrics, strict=True):
        names = [name for name in expected if not name.startswith("system/")]
        assert {n: found[n] for n in names} == pytest.approx({n: expected[n] for n in names}, 1e-4)


def stop_a_worker(run_dir: str, ended: threading.Event) -> bool:
    """Stop a worker once there is a checkpoint, and wait for others in its place.

    Returns:
        Whether they came before the run's end.
    """
    while not (last_step(run_dir) and (before := workers_below(os.getpid()))):
        if ended.wait(0.05):
            return False
    with suppress(ProcessLookupError):
        os.kill(before[0].pid, signal.SIGSTOP)
    while not set(workers_below(os.getpid())) - set(before):
        if ended.wait(0.05):
            return False
    return True


@pytest.mark.long
@pytest.mark.timeout(1200)
def test_a_worker_that_runs_out_of_memory_is_replaced(tmp_path: Path) -> None:
    """Something else on the machine takes the memory: Ray ends a worker, and all goes on."""
    data = Path(noise.write_all(str(tmp_path / "data")))
    for steps in LENGTHS:
        trial = Trial(
            data=data,
            storage=tmp_path / f"runs{steps}",
            workers=2,
            epochs=3,
            steps_per_epoch=steps,
            log=tmp_path / "log.txt",
        )
        trial.run_alone("alone")
        if run_starved(trial, "starved"):
            break
    else:
        pytest.fail(f"a run of {steps} steps per epoch ends before the memory is taken")
    assert NO_MEMORY in trial.log.read_text()
    assert hashes(f"{trial.storage}/starved") == hashes(f"{trial.storage}/alone")
    assert measured(f"{trial.storage}/starved") == measured(f"{trial.storage}/alone")


def run_starved(trial: Trial, name: str) -> bool:
    """Train, and take the machine's memory from the first checkpoint until a worker is ended.

    One worker is stopped meanwhile, so that the run cannot come to its end.

    Returns:
        Whether it had not come to its end before.
    """
    with (
        trial.log.open("wb") as log,
        started(
            trial.command(name, resume=False),
            stdout=log,
            stderr=log,
            env=os.environ | {"RAY_memory_usage_threshold": str(share_to_take())},
        ) as driver,
    ):
        while not (last_step(str(trial.storage / name)) and (found := workers_below(driver.pid))):
            if driver.poll() is not None:
                assert driver.returncode == 0, trial.log.read_text()
                return False
            time.sleep(0.05)
        with stopped(found[0]):
            take_memory_until(lambda: not all(worker.is_alive() for worker in found))
        assert driver.wait() == 0, trial.log.read_text()
    return NO_MEMORY in trial.log.read_text()


def workers_below(pid: int) -> list[Process]:
    return [process for process in descendants(pid) if process.role == "worker"]


def share_to_take() -> float:
    """Share of the memory that is used when as much is left as the run may have."""
    memory = read_memory()
    share = (memory.used + LEFT_FOR_THE_RUN) / memory.total
    if share >= 1:
        pytest.skip(f"{LEFT_FOR_THE_RUN / 2**30:.0f} GiB of memory are not free here")
    return share


def take_memory_until(happened: Callable[[], bool]) -> None:
    """Hold more and more memory, no more than a run may have; free it in the end."""
    taken = []
    while not happened():
        if len(taken) * PIECE < LEFT_FOR_THE_RUN:
            taken.append(np.ones(PIECE, np.uint8))
        time.sleep(0.1)


@contextmanager
def stopped(process: Process) -> Iterator[None]:
    """Let a process stand still as long as the block lasts."""
    with suppress(ProcessLookupError):
        os.kill(process.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        if process.is_alive():
            os.kill(process.pid, signal.SIGCONT)


@pytest.mark.long
@pytest.mark.timeout(1200)
def test_a_worker_a_controller_and_a_driver_killed(shards: str, tmp_path: Path) -> None:
    trial = Trial(
        data=Path(shards), storage=tmp_path, workers=2, epochs=2, log=tmp_path / "log.txt"
    )
    result = compare(trial, num_kills=3)
    assert result["kills"] == {"worker": 1, "controller": 1, "driver": 1}
    assert result["networks_equal"]
    assert result["metrics_equal"]


@pytest.mark.long
@pytest.mark.parametrize("note", [True, False])
def test_a_worker_that_finds_no_room_is_not_started_again_where_a_note_has_room(
    shards: str, tmp_path: Path, note: bool
) -> None:
    disk, left = tmp_path / "disk", tmp_path / "left"
    trial = Trial(data=Path(shards), storage=disk, workers=1, epochs=10_000)
    command = trial.command("run", resume=False)
    script = FILLED_AFTER_A_CHECKPOINT.format(A_LITTLE_IS_LEFT if note else ":")
    done = on_a_small_disk(script, disk, left, command)
    check_told(done, disk, left)
    failure = left / "run" / FAILURE_FILE
    if note:
        assert json.loads(failure.read_text())["kind"] == "disk"
