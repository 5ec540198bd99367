"""The train command."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from vibe_ray import train
from vibe_ray.config import from_dict
from vibe_ray.runs.log import read_metrics

NARROW = {
    "generator.feature_dim": 16,
    "generator.temporal_encoder.gru.hidden_dim": 8,
    "generator.regressor.hidden_dim": 8,
    "discriminator.hidden_dim": 8,
    "initial_regressor": "scratch",
    "steps_per_epoch": 2,
    "data.window_length": 5,
}
FLAGS = [f"--set={name}={value}" for name, value in NARROW.items()]


def refusal(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    with pytest.raises(SystemExit) as exit_info:
        train.main(argv)
    assert exit_info.value.code == 2
    return capsys.readouterr().err


def test_a_dry_run_prints_json_from_which_the_config_comes_back(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    where = ["--storage", str(tmp_path), "--data", "s3://bucket/open"]
    train.main(["--recipe", "smoke", *FLAGS, *where, "--dry-run"])
    config = from_dict(json.loads(capsys.readouterr().out))
    assert config.data.root == "s3://bucket/open"
    assert config.generator.temporal_encoder.gru.hidden_dim == 8
    assert not list(tmp_path.iterdir())


def test_a_run_in_this_process_and_its_resumption(
    shards: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["--recipe", "smoke", "--workers", "0", "--data", shards, "--storage", str(tmp_path)]
    train.main([*command, *FLAGS])
    run = tmp_path / "smoke"  # the recipe's name
    assert capsys.readouterr().out.splitlines()[-1] == f"last checkpoint: {run}/step_0000004"
    assert [row["step"] for row in read_metrics(str(run))] == [2, 4]
    assert refusal(capsys, *command, *FLAGS) == (
        f"python -m vibe_ray.train: a run stands in {run} already: --resume continues it, "
        "--name NAME starts another\n"
    )
    train.main([*command, *FLAGS, "--resume"])
    assert "last checkpoint" in capsys.readouterr().out
    error = refusal(capsys, *command, *FLAGS, "--resume", "--set", "seed=2")
    assert error.endswith("with another config: seed 0 -> 2\n")
    train.main([*command, *FLAGS, "--name", "other"])
    assert (tmp_path / "other/metrics.jsonl").exists()


def test_an_unknown_setting_has_a_suggestion(capsys: pytest.CaptureFixture[str]) -> None:
    assert refusal(capsys, "--set", "losses.adversarail=1") == (
        "python -m vibe_ray.train: no setting 'losses.adversarail'; did you mean "
        "'losses.adversarial'?\n"
    )


def test_missing_data_are_told_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    error = refusal(capsys, "--data", str(tmp_path / "none"), "--storage", str(tmp_path))
    assert error == (
        f"python -m vibe_ray.train: no data set at {tmp_path}/none/open_2d/train (manifest.json is "
        "missing): make one with `python -m vibe_ray.prepare`, or give another folder\n"
    )


@pytest.mark.slow
def test_a_run_in_this_process_knows_no_ray(shards: str, tmp_path: Path) -> None:
    flags = ["--recipe", "smoke", "--workers", "0", "--data", shards, "--storage", str(tmp_path)]
    code = (
        "import sys\nfrom vibe_ray import train\n"
        "train.main(sys.argv[1:])\nassert 'ray' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code, *flags, *FLAGS], check=True, capture_output=True)
