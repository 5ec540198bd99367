"""What a search leaves: ranking, page and best checkpoint, on a disk and in an object store."""

import json
from pathlib import Path

import pytest

from tests.tuning.made_up import made_up, subject
from vibe_ray import storage
from vibe_ray.training.checkpoints import find_checkpoint
from vibe_ray.tuning.answer import write_answer
from vibe_ray.tuning.spaces import load_space

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
    assert [row["label"] for row in ranking["candidates"]] == ["frame baseline", "G", "G + D"]
    assert ranking["data_hashes"] == {"open_3d/val": "abc123"}
    assert ranking["seed_noise"]["freedom"] == 4
    assert storage.read_bytes(storage.join(directory, "report.html")).startswith(b"<!")
    assert find_checkpoint(directory) == storage.join(directory, "best")
    manifest = storage.read_bytes(storage.join(directory, "best/manifest.json"))
    assert json.loads(manifest) == {"step": 320}
    assert f"{directory}/report.html" in capsys.readouterr().out


def test_without_a_result_reasons_are_written_and_the_command_fails(tmp_path: Path) -> None:
    ranked = made_up(tmp_path, SPACE, failed=3)
    with pytest.raises(ValueError, match=r"no trial finished; .*ranking\.json says why"):
        write_answer(str(tmp_path), ranked, subject(SPACE), "python -m vibe_ray.tune")
    assert "not finite" in (tmp_path / "ranking.json").read_text()
    assert "not finite" in (tmp_path / "report.html").read_text()
