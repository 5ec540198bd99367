"""A run's folder: metrics and event files."""

import json
from pathlib import Path

import pytest
from tensorboardX.proto.event_pb2 import Event

from vibe_ray import storage
from vibe_ray.runs.log import (
    SCORE,
    RunLog,
    clear_failure,
    read_failure,
    read_metrics,
    summary,
    write_failure,
)


def row(step: int, score: float) -> dict[str, float]:
    return {"step": step, "epoch": step // 10, SCORE: score, "train/generator/total": 1.5}


def test_an_epoch_is_a_line(tmp_path: Path) -> None:
    log = RunLog(str(tmp_path))
    history = [row(10, 70.0), row(20, 60.0)]
    log.append(history[:1])
    log.append(history)
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == history == read_metrics(str(tmp_path))
    assert not list(tmp_path.glob(".*"))  # nothing half-written


def test_a_run_taken_up_again_takes_back_what_came_after(tmp_path: Path) -> None:
    log = RunLog(str(tmp_path))
    log.append([row(10, 70.0)])
    log.append([row(10, 70.0), row(20, 60.0)])
    RunLog(str(tmp_path)).restart([row(10, 70.0)])
    assert read_metrics(str(tmp_path)) == [row(10, 70.0)]


def test_a_row_lost_with_its_writer_comes_back(tmp_path: Path) -> None:
    RunLog(str(tmp_path)).restart([row(10, 70.0)])  # the checkpoint has it, the log had not
    assert read_metrics(str(tmp_path)) == [row(10, 70.0)]


def test_a_run_that_has_no_epoch_yet_has_no_log(tmp_path: Path) -> None:
    RunLog(str(tmp_path)).restart([])
    assert not list(tmp_path.iterdir())


def test_nan_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        RunLog(str(tmp_path)).append([row(10, float("nan"))])
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "error",
    [
        FloatingPointError("term b, step 3"),
        ValueError("bad shard"),
        storage.DiskFullError("no room for a/b"),
    ],
)
def test_why_a_run_failed_is_kept_until_it_is_tried_again(tmp_path: Path, error: Exception) -> None:
    assert read_failure(str(tmp_path)) is None
    write_failure(str(tmp_path), error)
    found = read_failure(str(tmp_path))
    assert type(found) is type(error)
    assert str(found) == str(error)
    clear_failure(str(tmp_path))
    assert read_failure(str(tmp_path)) is None


def test_tensorboard_gets_the_same_numbers(tmp_path: Path) -> None:
    log = RunLog(str(tmp_path))
    log.append([row(10, 70.0)])
    log.append([row(10, 70.0), row(20, 60.0)])
    log.close()
    assert len(list((tmp_path / "tensorboard").iterdir())) == 1  # not one an epoch
    found: dict[tuple[str, int], float] = {}
    for path in (tmp_path / "tensorboard").iterdir():
        content = path.read_bytes()
        while content:  # length (8), checksum (4), event, checksum (4)
            end = 12 + int.from_bytes(content[:8], "little")
            event = Event.FromString(content[12:end])
            content = content[end + 4 :]
            assert event.wall_time > 1.7e9  # the opening ones, too: pages sort by it
            found |= {(value.tag, event.step): value.simple_value for value in event.summary.value}
    assert found[SCORE, 10] == 70.0
    assert found[SCORE, 20] == 60.0
    assert found["train/generator/total", 20] == 1.5


def test_a_run_in_an_object_store(s3: str) -> None:
    RunLog(f"{s3}/runs/one").append([row(10, 70.0)])
    assert read_metrics(f"{s3}/runs/one") == [row(10, 70.0)]


def test_the_consoles_line_names_what_there_is() -> None:
    text = summary({**row(20, 61.2345), "train/discriminator/real": 0.25})
    assert text == "epoch 2 (step 20): validation PA-MPJPE 61.23, generator 1.5, D real 0.25"
