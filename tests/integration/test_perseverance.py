"""How long are workers and controllers replaced? With a trainer that only fails."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import ray.exceptions
from ray.train import ControllerError, WorkerGroupError

from tests.training.tiny import tiny
from vibe_ray import storage
from vibe_ray.data.mixing import make_plan
from vibe_ray.distributed import launch as module
from vibe_ray.runs.log import write_failure
from vibe_ray.training.launch import Launch

LOST_WORKER = WorkerGroupError("a worker died", worker_failures={0: RuntimeError("gone")})
LOST_CONTROLLER = ControllerError(RuntimeError("gone"))
STARVED = ray.exceptions.OutOfMemoryError(
    "1 worker(s) were killed: low on memory.\nPages\nof words"
)


class Fits:
    """Stands in for the trainer: each fit makes some checkpoints, then fails or not."""

    def __init__(self, run_dir: str, ends: list[tuple[int, Exception | None]]) -> None:
        self.left: Iterator[tuple[int, Exception | None]] = iter(ends)
        self.run_dir, self.count = run_dir, 0

    def fit(self) -> None:
        step, error = next(self.left)
        self.count += 1
        if step:
            path = f"{self.run_dir}/step_{step:07d}/manifest.json"
            storage.write_bytes_atomic(path, b"{}")
        if error is not None:
            raise error


@pytest.fixture
def where(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Launch:
    monkeypatch.setattr(module, "has_gpus", lambda workers: False)
    monkeypatch.setattr(module, "RESTART_SECONDS", 0)
    return Launch(name="run", storage=str(tmp_path), max_failures=2)


@pytest.fixture
def go(where: Launch, shards: str, monkeypatch: pytest.MonkeyPatch) -> object:
    config = tiny(data__root=shards)
    plan = make_plan(config.data, config.seed)

    def run(*ends: tuple[int, Exception | None]) -> int:
        fits = Fits(where.run_dir, list(ends))
        monkeypatch.setattr(module, "_trainer", lambda *args: fits)
        module._train_on_ray(config, where, plan, is_own=False)
        return fits.count

    return run


def test_a_run_that_gets_on_may_lose_any_number(go) -> None:  # type: ignore[no-untyped-def]
    lost = [(10 * n, LOST_WORKER if n % 2 else LOST_CONTROLLER) for n in range(1, 9)]
    assert go(*lost, (0, None)) == 9


def test_workers_lost_at_one_step_are_given_up_when_ray_has(go) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ChildProcessError, match="the last checkpoint"):
        go((10, LOST_WORKER), (0, LOST_WORKER), (0, None))


def test_a_controller_is_replaced_a_few_times_at_one_step(go) -> None:  # type: ignore[no-untyped-def]
    assert go((0, LOST_CONTROLLER), (0, STARVED), (0, None)) == 3
    with pytest.raises(ChildProcessError, match=r"low on memory\. Take fewer workers"):
        go((0, LOST_CONTROLLER), (0, LOST_CONTROLLER), (0, STARVED), (0, None))


def test_a_full_disk_is_told_though_it_had_no_room_for_a_note(go) -> None:  # type: ignore[no-untyped-def]
    line = f"{storage.DiskFullError.__module__}.DiskFullError: no room for x (full): free some"
    lost = WorkerGroupError(f"[Rank 0]:\n{line}\n[Rank 1]:\nRuntimeError: reset\n", {})
    with pytest.raises(storage.DiskFullError, match=r"^no room for x \(full\): free some$"):
        go((10, lost), (0, None))


def test_a_failure_that_comes_again_is_told_at_once(go, where: Launch) -> None:  # type: ignore[no-untyped-def]
    write_failure(where.run_dir, FloatingPointError("loss term x was not finite at step 3"))
    with pytest.raises(FloatingPointError, match="loss term x"):
        go((10, LOST_WORKER), (0, None))
