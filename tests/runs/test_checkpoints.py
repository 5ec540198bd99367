"""Checkpoints of a run: found, kept, deleted, and made when they are due."""

from pathlib import Path

import pytest

from vibe_ray import storage
from vibe_ray.runs.checkpoints import find_checkpoint, prune, sweep
from vibe_ray.runs.log import SCORE, RunLog
from vibe_ray.runs.step_folders import complete_steps, last_checkpoint, last_step

ABOUT = {"data_hash": "abc"}


def row(step: int, score: float) -> dict[str, float]:
    return {"step": step, "epoch": step // 10, SCORE: score}


def make(run_dir: str, *steps: int) -> None:
    for step in steps:
        storage.write_bytes_atomic(f"{run_dir}/step_{step:07d}/generator.safetensors", b"x")
        storage.write_bytes_atomic(f"{run_dir}/step_{step:07d}/manifest.json", b"{}")


@pytest.fixture(params=["local", "s3"])
def run_dir(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return (
        str(tmp_path / "run") if request.param == "local" else f"{request.getfixturevalue('s3')}/r"
    )


def test_the_best_and_the_last_of_a_run(run_dir: str) -> None:
    make(run_dir, 10, 20, 25)
    RunLog(run_dir).restart([row(10, 60.0), row(20, 70.0)])
    assert find_checkpoint(run_dir) == f"{run_dir}/step_0000010"
    assert find_checkpoint(run_dir + "/", "last").endswith("/step_0000025")
    assert find_checkpoint(f"{run_dir}/step_0000020") == f"{run_dir}/step_0000020"
    assert find_checkpoint(f"{run_dir}/best") == f"{run_dir}/step_0000010"
    assert find_checkpoint(f"{run_dir}/last/") == f"{run_dir}/step_0000025"
    assert last_step(run_dir) == 25
    assert last_checkpoint(run_dir) == f"{run_dir}/step_0000025"


def test_the_best_of_a_search(run_dir: str) -> None:
    make(f"{run_dir}/trials/candidate_000_seed_0", 10, 20)
    storage.write_bytes_atomic(f"{run_dir}/best/manifest.json", b"{}")
    assert find_checkpoint(run_dir) == find_checkpoint(f"{run_dir}/best") == f"{run_dir}/best"


def test_runs_below_a_folder_are_not_its_own(run_dir: str) -> None:
    make(f"{run_dir}/trials/candidate_000_seed_0", 10, 20)
    assert complete_steps(run_dir) == []
    with pytest.raises(FileNotFoundError, match="no checkpoint at"):
        find_checkpoint(run_dir)


def test_what_killed_processes_left_is_swept_out(run_dir: str) -> None:
    make(run_dir, 10)
    left = ("step_0000020", ".step_0000010.0123abcd.tmp", ".step_0000010.0123abcd.old")
    others = ("run.json", "tensorboard/events", "best/manifest.json")
    for name in (*(f"{folder}/generator.safetensors" for folder in left), *others):
        storage.write_bytes_atomic(f"{run_dir}/{name}", b"x")
    sweep(run_dir)
    found = {path.split("/run/")[-1].split("/r/")[-1] for path in storage.list_files(run_dir)}
    step = "step_0000010"
    assert found == {*others, f"{step}/generator.safetensors", f"{step}/manifest.json"}


def test_the_earlier_of_equals_is_best(run_dir: str) -> None:
    make(run_dir, 10, 20)
    RunLog(run_dir).restart([row(10, 60.0), row(20, 60.0)])
    assert find_checkpoint(run_dir).endswith("step_0000010")


def test_a_run_in_its_first_epoch_has_only_a_last_one(run_dir: str) -> None:
    make(run_dir, 3, 6)
    assert find_checkpoint(run_dir) == f"{run_dir}/step_0000006"


def test_what_is_not_complete_does_not_count(run_dir: str) -> None:
    make(run_dir, 10)
    storage.write_bytes_atomic(f"{run_dir}/step_0000020/generator.safetensors", b"x")
    storage.write_bytes_atomic(f"{run_dir}/other/manifest.json", b"{}")
    assert complete_steps(run_dir) == [10]
    RunLog(run_dir).restart([row(10, 60.0), row(20, 50.0)])
    assert find_checkpoint(run_dir) == find_checkpoint(run_dir, "last")


def test_no_checkpoint_says_what_was_expected(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as error:
        find_checkpoint(str(tmp_path / "none"))
    assert str(error.value) == (
        f"no checkpoint at {tmp_path}/none: expected a checkpoint directory, or a run's folder as "
        "`python -m vibe_ray.train` writes it"
    )
    assert last_step(str(tmp_path)) == 0
    assert last_checkpoint(str(tmp_path)) is None


def test_the_best_and_the_most_recent_stay(run_dir: str) -> None:
    make(run_dir, 10, 20, 30, 40, 45)
    prune(run_dir, [row(10, 60.0), row(20, 50.0), row(30, 70.0), row(40, 70.0)], kept=3)
    assert complete_steps(run_dir) == [20, 40, 45]
    prune(run_dir, [row(20, 50.0), row(40, 70.0)], kept=1)
    assert complete_steps(run_dir) == [20, 45]
    left = {path.removeprefix(run_dir) for path in storage.list_files(run_dir)}
    assert {path.split("/")[1] for path in left} == {"step_0000020", "step_0000045"}
