"""The evaluate command: numbers, JSON, report, and what it refuses."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.training.tiny import tiny, tiny_prior, tiny_prior_state
from vibe_ray import evaluate
from vibe_ray.data.shards import read_manifest
from vibe_ray.distributed.launch import train
from vibe_ray.reports.measuring import measure_checkpoints
from vibe_ray.training.launch import Launch


def written(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text())
    return content


def refusal(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    with pytest.raises(SystemExit) as exit_info:
        evaluate.main(argv)
    assert exit_info.value.code == 2
    return capsys.readouterr().err


def test_every_flag_says_what_is_measured(
    checkpoints: list[str], test_split: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, (*seeds, baseline) = tmp_path / "metrics.json", checkpoints
    flags = ["--data", str(test_split), "--baseline", baseline, "--protocol", "joints"]
    evaluate.main([*seeds, *flags, "--json", str(path)])
    found = written(path)
    measured = measure_checkpoints(seeds, baseline, str(test_split), protocol="joints")
    assert found == json.loads(json.dumps(measured.to_dict()))
    out = capsys.readouterr().out
    assert "PA-MPJPE" in out
    assert f"{found['vibe']['pa_mpjpe_mm']:.1f}" in out
    assert "56.5" in out  # the published table stands beside


def test_a_runs_folder_stands_for_its_best_checkpoint_and_has_curves(
    shards: str, test_split: Path, tmp_path: Path
) -> None:
    result = train(tiny(data__root=shards), Launch(name="run", storage=str(tmp_path), workers=0))
    of_run, of_best = tmp_path / "run.json", tmp_path / "best.json"
    report = tmp_path / "report.html"
    flags = ["--data", str(test_split)]
    evaluate.main([result.run_dir, *flags, "--json", str(of_run), "--report", str(report)])
    evaluate.main([result.best, *flags, "--json", str(of_best)])
    assert written(of_run)["vibe"] == written(of_best)["vibe"]
    html = report.read_text()
    assert "VIBE on held-out motion" in html
    assert f"{written(of_run)['vibe']['pa_mpjpe_mm']:.1f}" in html
    assert html.count("<img") + html.count("<svg") >= 2  # curves, and pictures of two sequences
    assert "http://" not in html.replace("http://www.w3.org", "")  # nothing is loaded from outside


def test_the_validation_split(checkpoints: list[str], shards: str, tmp_path: Path) -> None:
    path = tmp_path / "metrics.json"
    flags = ["--data", shards, "--split", "validation", "--json", str(path)]
    evaluate.main([checkpoints[0], *flags])
    assert 0 < written(path)["num_frames"] <= 50


def test_a_data_set_by_its_name(
    checkpoints: list[str], shards: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "metrics.json"
    flags = ["--data", shards, "--json", str(path)]
    evaluate.main([checkpoints[0], *flags, "--split", "open_3d/train"])
    assert written(path)["data_hash"] == read_manifest(f"{shards}/open_3d/train").hash()
    error = refusal(capsys, checkpoints[0], *flags, "--split", "open_3d/unseen")
    assert f"{shards}/open_3d/unseen" in error


def test_a_motion_prior(
    test_split: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny_prior_state(tiny_prior()).snapshot({}).write(tmp_path)
    error = refusal(capsys, str(tmp_path), "--data", str(test_split))
    assert f"{tmp_path} holds a motion prior, which estimates no bodies" in error
    assert len(error.splitlines()) == 1


def test_bad_names_are_told_in_one_line(
    checkpoints: list[str], test_split: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--data", str(test_split)]
    error = refusal(capsys, checkpoints[0], *flags, "--protocol", "opne")
    assert error == (
        "python -m vibe_ray.evaluate: no protocol 'opne', expected one of open, joints, sequence, "
        "vibe_compat, mpi_inf_3dhp, human36m_p1, human36m_p2\n"
    )
    error = refusal(capsys, str(tmp_path / "none"), *flags)
    assert f"no checkpoint at {tmp_path}/none" in error
    error = refusal(capsys, checkpoints[0], "--data", str(tmp_path / "none"))
    assert f"no data set at {tmp_path}/none/open_3d/test" in error
