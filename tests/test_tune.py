"""The tune command: its plan, and what it refuses before Ray starts."""

import json
from pathlib import Path

import pytest

from vibe_ray import tune

ATTENTION = str(Path(__file__).parents[1] / "tune_spaces/attention.py")


def refusal(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    with pytest.raises(SystemExit) as exit_info:
        tune.main(argv)
    assert exit_info.value.code == 2
    return capsys.readouterr().err


def space(tmp_path: Path, text: str) -> str:
    path = tmp_path / "space.py"
    path.write_text(text)
    return str(path)


def test_a_dry_run_lists_the_trials(capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["--recipe", "smoke", "--seeds", "2", "--trials", "3", "--dry-run"]
    tune.main(["--space", ATTENTION, *flags])
    trials = json.loads(capsys.readouterr().out)
    assert len(trials) == 6
    assert all("discriminator.pool" in settings for settings in trials.values())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("SPACE = {'losses.adversarail': [1]}", "did you mean 'losses.adversarial'?"),
        ("SPACE = {'epochs': ['many']}", "epochs is 'many', expected int"),
        ("SPACE = {}", "expected a dict of setting names to lists"),
    ],
)
def test_a_bad_space_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, message: str
) -> None:
    error = refusal(capsys, "--space", space(tmp_path, text))
    assert error.startswith("python -m vibe_ray.tune: ")
    assert message in error
    assert error.count("\n") == 1


def test_missing_data_are_found_before_ray_starts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--data", str(tmp_path / "nothing"), "--storage", str(tmp_path / "runs")]
    assert "manifest" in refusal(capsys, "--space", ATTENTION, "--recipe", "smoke", *flags)
    assert not (tmp_path / "runs").exists()
