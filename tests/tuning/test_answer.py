"""What a search leaves: ranking, page and best checkpoint, on a disk and in an object store."""

import json
from pathlib import Path

import pytest

from tests.tuning.made_up import made_up, subject
from vibe_ray import storage
from vibe_ray.recipes import motion_prior
from vibe_ray.runs.checkpoints import find_checkpoint
from vibe_ray.settings import override
from vibe_ray.tuning.answer import write_answer
from vibe_ray.tuning.spaces import load_space, make_space

SPACE = load_space("motion_prior")


@pytest.mark.parametrize("kind", ["local", "s3"])
def test_the_answer_is_written(
    kind: str,
    tmp_path: Path,
    request: pytest.FixtureRequest,
    capsys: pytest.CaptureFixture[str],
) -> None:
    root = str(tmp_path / "runs") if kind == "local" else request.getfixturevalue("s3")
    directory = storage.join(root, "search")
    ranked = made_up(tmp_path, SPACE)
    best = ranked[0].best
    assert best is not None
    assert best.checkpoint is not None
    storage.write_json(storage.join(best.checkpoint, "manifest.json"), {"step": 320})
    write_answer(directory, ranked, subject(SPACE), "python -m vibe_ray.tune")

    ranking = json.loads(storage.read_bytes(storage.join(directory, "ranking.json")))
    labels = [row["label"] for row in ranking["candidates"]]
    assert labels == ["frame baseline", "G", "G + MPoser", "G + D"]
    assert ranking["data_hashes"] == {"open_3d/val": "abc123"}
    assert ranking["candidates"][0]["against_baseline"]["noise"]["freedom"] == 6
    assert storage.read_bytes(storage.join(directory, "report.html")).startswith(b"<!")
    assert find_checkpoint(directory) == storage.join(directory, "best")
    manifest = storage.read_bytes(storage.join(directory, "best/manifest.json"))
    assert json.loads(manifest) == {"step": 320}
    assert f"{directory}/report.html" in capsys.readouterr().out


def test_without_a_result_reasons_are_written_and_the_command_fails(tmp_path: Path) -> None:
    ranked = made_up(tmp_path, SPACE, failed=4)
    with pytest.raises(ValueError, match=r"no trial finished; .*ranking\.json says why"):
        write_answer(str(tmp_path), ranked, subject(SPACE), "python -m vibe_ray.tune")
    assert "not finite" in (tmp_path / "ranking.json").read_text()
    assert "not finite" in (tmp_path / "report.html").read_text()


def test_motion_priors_are_ranked_by_what_they_lose(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    base = override(motion_prior(), {"epochs": 4})
    space = make_space({"prior.hidden_dim": [64, 256]})
    ranked = made_up(tmp_path, space, base=base)
    best = ranked[0].best
    assert best is not None
    assert best.checkpoint is not None
    storage.write_json(storage.join(best.checkpoint, "manifest.json"), {})
    write_answer(str(tmp_path), ranked, subject(space, base), "python -m vibe_ray.tune")
    ranking = json.loads((tmp_path / "ranking.json").read_text())
    assert ranking["score"] == "val/reconstruction_mm"
    assert [row["label"] for row in ranking["candidates"]] == ["hidden_dim=64", "hidden_dim=256"]
    html = (tmp_path / "report.html").read_text()
    assert "Reconstruction, validation (mm)" in html
    assert "62.6" in html, "frame by frame"
    assert f"python -m vibe_ray.train --set motion_prior={tmp_path}/best" in html
    assert "MPJPE" not in html
    assert "Reconstruction, validation (mm)" in capsys.readouterr().out
