"""What do the syncs and hashes cost that survive power cuts and notice flipped bits?

Time is the wall's: who waits for a disk takes no processor's. Without syncs, `os.fsync` does
nothing; without hashes, the same files are read and not looked at. Files were read before, so that
hashing meets memory, not a disk, beside which it would cost less.
"""

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import pyarrow.parquet as pq

from tests.benchmarks.measuring import Options, Report, Work, take_turns, time_rows
from tests.benchmarks.setting import config_with, new_state, step_batch, write_shards
from vibe_ray.data import clips
from vibe_ray.data.shards import read_manifest
from vibe_ray.runs import integrity
from vibe_ray.runs.step_folders import last_checkpoint
from vibe_ray.training.recorder import Cadence, Checkpointer
from vibe_ray.training.state import TrainState
from vibe_ray.training.step import adversarial_step

STEPS = 3
"""While one checkpoint is stored."""


@dataclass(frozen=True, kw_only=True)
class WallClock(Options):
    """Waiting counts."""

    @property
    def time_unit(self) -> str:
        return "ms"

    def clock(self) -> float:
        """Seconds on the wall."""
        return time.perf_counter()


def promises(folder: Path, options: Options) -> Report:
    """Checkpoints and shards with and without what makes them sure."""
    report = Report(title="Cost of syncs and hashes, on the wall; `released` sizes")
    write_shards(folder / "data")
    wall = WallClock(repetitions=options.repetitions, device=options.device)
    config = config_with(folder)
    state, batch = new_state(config), step_batch(config)
    adversarial_step(state, batch)
    run_dir = str(folder / "run")
    checkpointer = Checkpointer(run_dir, Cadence(), {})

    def train(store: bool) -> None:
        if store:
            checkpointer.save(state)
        for _ in range(STEPS):
            adversarial_step(state, batch)
        checkpointer.wait()

    def store() -> None:
        checkpointer.save(state)
        checkpointer.wait()

    def compare(reference: str, work: dict[str, Work]) -> None:
        report.rows += time_rows(take_turns(work, wall), reference, wall)

    alone = f"{STEPS} steps"
    stored = f"{STEPS} steps, a checkpoint stored beside them"
    unsynced = f"{stored}, nothing synced"
    compare(
        alone,
        {
            alone: lambda: train(store=False),
            stored: lambda: train(store=True),
            unsynced: _without_syncs(lambda: train(store=True)),
        },
    )
    compare(
        "a checkpoint stored, nothing synced",
        {
            "a checkpoint stored": store,
            "a checkpoint stored, nothing synced": _without_syncs(store),
        },
    )
    compare("a checkpoint loaded, no hash checked", _loads(state, run_dir))
    compare("all clips of a file, nothing checked", _reads(str(folder / "data/open_2d/train")))
    return report


def _without_syncs(work: Work) -> Work:
    def unsynced() -> None:
        with mock.patch.object(os, "fsync"):
            work()

    return unsynced


def _loads(state: TrainState, run_dir: str) -> dict[str, Work]:
    path = last_checkpoint(run_dir)
    assert path is not None

    def load() -> None:
        with integrity.opened(path) as directory:
            state.load(directory)

    def unchecked() -> None:
        with mock.patch.object(integrity, "check_whole"):
            load()

    return {"a checkpoint loaded": load, "a checkpoint loaded, no hash checked": unchecked}


def _reads(path: str) -> dict[str, Work]:
    file = read_manifest(path).files[0]
    opened = pq.ParquetFile

    def opened_unchecked(source: object, **settings: Any) -> pq.ParquetFile:
        return opened(source, **{**settings, "page_checksum_verification": False})

    def read() -> None:
        clips._read_footer.cache_clear()
        for row in range(len(file.clip_frames)):
            clips.read_clip(path, file, row)

    def unchecked() -> None:
        with mock.patch.object(clips.pq, "ParquetFile", opened_unchecked):
            read()

    return {"all clips of a file": read, "all clips of a file, nothing checked": unchecked}
