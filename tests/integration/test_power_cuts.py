"""A power cut at any moment loses at most what a kill loses: of runs, data sets and searches."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.data import noise
from tests.integration.power_cuts import Disk
from tests.training.tiny import tiny_prior
from vibe_ray import storage
from vibe_ray.config import TrainConfig
from vibe_ray.data import journal, shards
from vibe_ray.data.shards import ShardWriter
from vibe_ray.runs import owners
from vibe_ray.runs.checkpoints import find_checkpoint
from vibe_ray.runs.claims import RUN_FILE
from vibe_ray.runs.integrity import fall_back
from vibe_ray.runs.log import read_metrics
from vibe_ray.runs.step_folders import last_step
from vibe_ray.training.launch import Launch, train_here
from vibe_ray.training.recorder import Cadence
from vibe_ray.tuning import records
from vibe_ray.tuning.candidates import plan_trials
from vibe_ray.tuning.plan import Search, first_candidates
from vibe_ray.tuning.spaces import load_space

EVERY = 19
"""From one in so many cuts a run is trained to the end; at all the last checkpoint is asked for."""


@pytest.fixture
def disk(tmp_path: Path) -> Disk:
    (tmp_path / "disk").mkdir()
    return Disk(tmp_path / "disk")


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> TrainConfig:
    root = str(tmp_path_factory.mktemp("data"))
    for split in ("train", "val"):
        noise.write(root, f"motion/{split}", (20, 20))
    known = {"data__root": root, "data__validation": "motion/val", "checkpoints_kept": 2}
    return tiny_prior(**known, epochs=2, steps_per_epoch=2)


def train(config: TrainConfig, folder: Path) -> None:
    is_begun = (folder / "run" / RUN_FILE).is_file()
    cadence = Cadence(steps=1)
    train_here(
        config,
        Launch(name="run", storage=str(folder), workers=0, resume=is_begun, cadence=cadence),
    )


def outcome(folder: Path) -> tuple[str, list[dict[str, float]]]:
    """What a run has come to: its weights, and its log without what a clock says."""
    weights = Path(find_checkpoint(str(folder / "run"), "last"), "prior.safetensors").read_bytes()
    rows = [
        {name: value for name, value in row.items() if not name.startswith("system/")}
        for row in read_metrics(str(folder / "run"))
    ]
    return hashlib.sha256(weights).hexdigest(), rows


def acknowledged(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Note which checkpoints have been stored, so that those before may be deleted."""
    upload = storage.upload_directory

    def noted(source: Path, path: str) -> None:
        upload(source, path)
        disk.reached = int(path.rpartition("_")[2])

    monkeypatch.setattr(storage, "upload_directory", noted)


@pytest.mark.slow
def test_a_run_goes_on_from_its_last_checkpoint(
    config: TrainConfig, disk: Disk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch, disk.watched():
        acknowledged(disk, patch)
        train(config, tmp_path / "disk")
    expected = outcome(tmp_path / "disk")
    assert disk.reached == config.num_steps
    assert len(disk.cuts) > 100
    monkeypatch.setattr(owners, "_machine", lambda: "started again")
    for name in ("STALE_SECONDS", "LOOK_SECONDS"):
        monkeypatch.setattr(owners, name, 0.001)
    for number, cut in enumerate(disk.cuts.values()):
        folder = tmp_path / f"cut_{number}"
        cut.restore(folder)
        fall_back(str(folder / "run"))
        assert last_step(str(folder / "run")) >= cut.reached
        if number % EVERY == 0:
            train(config, folder)
            assert outcome(folder) == expected
            assert not half_written(folder / "run")


def half_written(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.name.endswith((".tmp", ".old"))]


def convert(out: Path, read: list[str], disk: Disk | None = None) -> None:
    """Convert some recordings; those that need not be read again are passed over."""
    with ShardWriter(str(out), noise.header("motion/train")) as writer:
        for number in range(6):
            name = f"r{number}"
            if writer.is_finished(name):
                continue
            if disk is not None:
                disk.reached = number  # those before have been saved
            read.append(name)
            if number == 2:
                writer.skip(name, "it is odd")
            else:
                writer.write_recording(name, [noise.motion_sequence(name, 20, number)])


@pytest.mark.slow
def test_a_conversion_is_taken_up_and_ends_the_same(
    disk: Disk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal, "SAVE_S", 0.0)
    row_bytes = 20 * 4 * np.prod((72 + 3,))
    monkeypatch.setattr(shards, "FILE_BYTES", int(2.5 * row_bytes))
    with disk.watched():
        convert(tmp_path / "disk/out", [], disk)
    whole = contents(tmp_path / "disk/out")
    assert len([name for name in whole if name.endswith(".parquet")]) > 1
    assert len(disk.cuts) > 30
    for number, cut in enumerate(disk.cuts.values()):
        folder = tmp_path / f"cut_{number}"
        cut.restore(folder)
        read: list[str] = []
        is_over = (folder / "out/manifest.json").is_file()
        convert(folder / "out", read)
        assert contents(folder / "out") == whole
        assert not half_written(folder)
        assert is_over or not {f"r{n}" for n in range(cut.reached)} & {*read}


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and not path.name.startswith(".")
    }


def searched(config: TrainConfig, folder: Path) -> tuple[records.Subject, Search, list[Any]]:
    (folder / "space.py").write_text('SPACE = {"prior.hidden_dim": [6, 7, 8]}')
    space = load_space(str(folder / "space.py"))
    search = Search(name="search", num_seeds=1, workers_per_trial=0)
    candidates = first_candidates(config, space, search)
    subject = records.Subject(
        base=config, space=space, scheduler="none", search="grid", data_hashes={"a": "b"}
    )
    return subject, search, candidates


def test_a_search_knows_its_candidates_and_how_their_trials_ended(
    config: TrainConfig, disk: Disk, tmp_path: Path
) -> None:
    subject, search, candidates = searched(config, tmp_path)
    trials = plan_trials(config, candidates, search.num_seeds)[:3]
    directory = str(tmp_path / "disk/search")

    def told(folder: str) -> Iterator[str]:
        for trial in trials:
            yield records.read_outcome(folder, trial, trial.config(config)).state

    with disk.watched():
        assert records.check_directory(directory, subject, resume=False) == []
        records.write_search(directory, subject, candidates[:1])
        disk.reached = 1
        records.write_stopped(directory, trials[0], 1)
        disk.reached = 2
        records.write_search(directory, subject, candidates)
        disk.reached = 3
        records.write_lost(directory, trials[1], "killed")
        disk.reached = 4
    assert list(told(directory)) == ["stopped", "unfinished", "unfinished"]
    for number, cut in enumerate(disk.cuts.values()):
        folder = tmp_path / f"cut_{number}"
        cut.restore(folder)
        there = str(folder / "search")
        is_begun = storage.exists(storage.join(there, records.SEARCH_FILE))
        assert is_begun or cut.reached == 0
        known = records.check_directory(there, subject, resume=is_begun)
        assert len(known) >= (len(candidates) if cut.reached >= 3 else cut.reached > 0)
        states = list(told(there))
        assert cut.reached < 2 or states[0] == "stopped"


def test_the_disk_tells_what_was_not_synced(disk: Disk, tmp_path: Path) -> None:
    """As files were written here before: a rename, without a sync."""
    target = tmp_path / "disk/file"
    with disk.watched():
        (tmp_path / "disk/.new").write_bytes(b"content")
        (tmp_path / "disk/.new").replace(target)
        disk.reached = 1
    left = [dict(cut.files) for cut in disk.cuts.values()]
    assert {"file": b""} in left
    assert {} in left
    assert {"file": b"content"} not in left
    storage.write_json(str(target), json.loads("1"))
