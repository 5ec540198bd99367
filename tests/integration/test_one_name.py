"""Two commands that are given one name at the same moment: one runs, the other is refused."""

import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.integration.search_survival import Case
from tests.integration.survival import Trial
from vibe_ray.runs.log import read_metrics
from vibe_ray.runs.step_folders import last_step

pytestmark = [pytest.mark.ray, pytest.mark.long, pytest.mark.timeout(900)]


def both(commands: Sequence[list[str]]) -> list[tuple[int, str]]:
    """Start all at once; return each one's exit code and last line, the one that ran first."""
    processes = [
        subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        for command in commands
    ]
    try:
        told = [process.communicate()[1].strip().splitlines() for process in processes]
    finally:
        for process in processes:
            process.kill()
    codes = [process.returncode for process in processes]
    return sorted((code, lines[-1]) for code, lines in zip(codes, told, strict=True))


def check_refused(found: list[tuple[int, str]]) -> None:
    assert [code for code, _ in found] == [0, 2], found
    _, told = found[1]
    assert "in use" in told or "is taken" in told, told


def test_two_trainings_of_one_name(shards: str, tmp_path: Path) -> None:
    trial = Trial(data=Path(shards), storage=tmp_path, workers=1, epochs=2)
    command = trial.command("one", resume=False)
    check_refused(both([[*command, f"--set=seed={seed}"] for seed in (1, 2)]))
    assert last_step(str(tmp_path / "one")) == trial.epochs * trial.steps_per_epoch
    assert [row["epoch"] for row in read_metrics(str(tmp_path / "one"))] == [1, 2]


def test_two_searches_of_one_name(shards: str, tmp_path: Path) -> None:
    case = Case(data=Path(shards), folder=tmp_path, workers=1, seeds=1, epochs=1)
    check_refused(both([case.command("one", resume=False)] * 2))
    ranking = {row["label"]: row["num_failed"] for row in case.answer("one")}
    assert ranking == {"G": 0, "G + D": 0, "diverges": 1}
