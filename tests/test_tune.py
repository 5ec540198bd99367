"""The tune command: its plan, and what it refuses before Ray starts."""

import json
from pathlib import Path

import pytest

from vibe_ray import tune


def refusal(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    with pytest.raises(SystemExit) as exit_info:
        tune.main(argv)
    assert exit_info.value.code == 2
    return capsys.readouterr().err


def write_space(tmp_path: Path, text: str) -> str:
    path = tmp_path / "space.py"
    path.write_text(text)
    return str(path)


def plan(capsys: pytest.CaptureFixture[str], *argv: str) -> dict[str, dict[str, object]]:
    tune.main(["--recipe", "smoke", "--dry-run", *argv])
    found: dict[str, dict[str, object]] = json.loads(capsys.readouterr().out)
    return found


def test_a_dry_run_lists_the_trials(capsys: pytest.CaptureFixture[str]) -> None:
    trials = plan(capsys, "--space", "attention", "--seeds", "2", "--trials", "3")
    assert len(trials) == 6
    assert all("discriminator.pool" in settings for settings in trials.values())


def test_a_space_with_ranges_is_drawn_from(capsys: pytest.CaptureFixture[str]) -> None:
    trials = plan(capsys, "--space", "loss_weights", "--seeds", "1", "--trials", "4")
    weights = [settings["losses.pose"] for settings in trials.values()]
    assert weights[0] == 60.0, "the recipe"
    assert len(set(map(str, weights))) == 4


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("SPACE = {'losses.adversarail': [1]}", "did you mean 'losses.adversarial'?"),
        ("SPACE = {'epochs': ['many']}", "epochs is 'many', expected int"),
        ("SPACE = {}", "expected a dict of setting names to lists"),
        ("SPACE = {'epochs': [0]}", "epochs is 0, must be at least 1"),
        ("from vibe_ray.tuning.spaces import uniform\nSPACE = {'epochs': uniform(1, 9.5)}",
         "epochs is 9.5, expected int"),
    ],
)  # fmt: skip
def test_a_bad_space_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, message: str
) -> None:
    space = write_space(tmp_path, text)
    error = refusal(capsys, "--space", space, "--storage", str(tmp_path / "runs"))
    assert error.startswith("python -m vibe_ray.tune: ")
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (("--space", "nowhere.py"), "no search space nowhere.py: expected"),
        (("--space", "loss_weights", "--search", "grid"), "is a range, which no grid can try"),
        (("--seeds", "0"), "--seeds is 0, expected 1 or more"),
        (("--set", "epoch=3"), "did you mean 'epochs'?"),
    ],
)
def test_bad_flags_are_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], argv: tuple[str, ...], message: str
) -> None:
    error = refusal(capsys, *argv, "--storage", str(tmp_path / "runs"))
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "runs").exists()


def test_missing_data_are_found_before_ray_starts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--data", str(tmp_path / "nothing"), "--storage", str(tmp_path / "runs")]
    error = refusal(capsys, "--recipe", "smoke", *flags)
    assert f"`python -m vibe_ray.prepare open --out {tmp_path / 'nothing'}`" in error
    assert not (tmp_path / "runs").exists()
