"""A run's folder: metrics, the index of checkpoints, event files."""

import json
from pathlib import Path

import pytest
from tensorboardX.proto.event_pb2 import Event

from vibe_ray.training.loop import SCORE
from vibe_ray.training.reporting import RunLog, find_checkpoint, read_metrics, summary


def row(step: int, score: float) -> dict[str, float]:
    return {"step": step, "epoch": step // 10, SCORE: score, "train/generator/total": 1.5}


def index_of(folder: Path) -> dict[str, object]:
    index: dict[str, object] = json.loads((folder / "checkpoints.json").read_text())
    return index


def test_an_epoch_is_a_line_and_the_index_names_best_and_last(tmp_path: Path) -> None:
    log = RunLog(str(tmp_path))
    for step, score in ((10, 70.0), (20, 60.0), (30, 65.0)):
        log.append(row(step, score))
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == [row(10, 70.0), row(20, 60.0), row(30, 65.0)]
    assert index_of(tmp_path) == {"last": "step_0000030", "best": "step_0000020", SCORE: 60.0}
    assert read_metrics(str(tmp_path)) == log.rows
    assert not list(tmp_path.glob(".*"))  # nothing half-written


def test_epochs_redone_replace_what_came_after_them(tmp_path: Path) -> None:
    log = RunLog(str(tmp_path))
    for step, score in ((10, 70.0), (20, 60.0), (30, 50.0)):
        log.append(row(step, score))
    again = RunLog(str(tmp_path))  # another process, which starts at step 10
    again.append(row(20, 61.0))
    assert read_metrics(str(tmp_path)) == [row(10, 70.0), row(20, 61.0)]
    assert index_of(tmp_path) == {"last": "step_0000020", "best": "step_0000020", SCORE: 61.0}


def test_the_earlier_of_equals_is_best(tmp_path: Path) -> None:
    log = RunLog(str(tmp_path))
    log.append(row(10, 60.0))
    log.append(row(20, 60.0))
    assert index_of(tmp_path)["best"] == "step_0000010"


def test_nan_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        RunLog(str(tmp_path)).append(row(10, float("nan")))
    assert not (tmp_path / "checkpoints.json").exists()


def test_tensorboard_gets_the_same_numbers(tmp_path: Path) -> None:
    log = RunLog(str(tmp_path))
    log.append(row(10, 70.0))
    log.append(row(20, 60.0))
    found: dict[tuple[str, int], float] = {}
    for path in (tmp_path / "tensorboard").iterdir():
        content = path.read_bytes()
        while content:  # length (8), checksum (4), event, checksum (4)
            end = 12 + int.from_bytes(content[:8], "little")
            event = Event.FromString(content[12:end])
            content = content[end + 4 :]
            found |= {(value.tag, event.step): value.simple_value for value in event.summary.value}
    assert found[SCORE, 10] == 70.0
    assert found[SCORE, 20] == 60.0
    assert found["train/generator/total", 20] == 1.5


def test_a_run_in_an_object_store(s3: str) -> None:
    log = RunLog(f"{s3}/runs/one")
    log.append(row(10, 70.0))
    assert read_metrics(f"{s3}/runs/one") == [row(10, 70.0)]
    assert find_checkpoint(f"{s3}/runs/one") == f"{s3}/runs/one/step_0000010"


def test_a_checkpoint_is_found_by_its_folder_or_its_runs(tmp_path: Path) -> None:
    log = RunLog(str(tmp_path))
    log.append(row(10, 60.0))
    log.append(row(20, 70.0))
    best, last = str(tmp_path / "step_0000010"), str(tmp_path / "step_0000020")
    assert find_checkpoint(str(tmp_path)) == best
    assert find_checkpoint(str(tmp_path) + "/", "last") == last
    Path(last).mkdir()
    (Path(last) / "manifest.json").write_bytes(b"{}")
    assert find_checkpoint(last) == last


def test_no_checkpoint_says_what_was_expected(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as error:
        find_checkpoint(str(tmp_path / "none"))
    assert str(error.value) == (
        f"no checkpoint at {tmp_path}/none: expected a checkpoint directory, or a run's folder "
        "with checkpoints.json as `python -m vibe_ray.train` writes it"
    )
    assert read_metrics(str(tmp_path)) == []


def test_the_consoles_line_names_what_there_is() -> None:
    text = summary({**row(20, 61.2345), "train/discriminator/real": 0.25})
    assert text == "epoch 2 (step 20): PA-MPJPE 61.23, generator 1.5, D real 0.25"
