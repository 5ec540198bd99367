"""A prediction of many videos, killed again and again: nothing is done twice, results are equal."""

import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from tests.distributed.test_videos import clips
from tests.integration.processes import descendants

NUM_CLIPS = 20
KILLED_AFTER = ((3, 9, 14), (2, 5, 8), (1, 2, 3))
"""Finished videos at which the job is killed; a job that was over before is begun again, with the
next of these."""


def command(root: Path, out: Path, workers: int) -> list[str]:
    paths, config = clips(root, NUM_CLIPS) if not root.exists() else ([], None)
    names = sorted((path for path in root.glob("clip_*")), key=lambda path: path.name)
    assert len(names) == NUM_CLIPS
    assert config is None or len(paths) == NUM_CLIPS
    flags = ["--out", str(out), "--keypoints", str(root / "keypoints"), "--fps", "25"]
    flags += ["--files", "npz", "--set", "fit=false", "--workers", str(workers)]
    return [sys.executable, "-m", "vibe_ray.predict", *map(str, names), *flags]


def finished(out: Path) -> dict[str, int]:
    """When each video's results were completed, which the summary is the last of."""
    return {path.parent.name: path.stat().st_mtime_ns for path in out.glob("*/summary.json")}


def run_until(argv: list[str], out: Path, count: int) -> None:
    """Start the job, and kill all of it when so many videos are finished."""
    with subprocess.Popen(argv, start_new_session=True, stdout=subprocess.DEVNULL) as process:
        while len(finished(out)) < count and process.poll() is None:
            time.sleep(0.02)
        assert process.poll() in (None, 0), "the job failed before it was killed"
        family = descendants(process.pid)
        process.kill()  # which is nothing if the job was over before
        for one in family:
            one.end()


def killed(argv: list[str], out: Path, counts: Sequence[int]) -> dict[str, int]:
    """Kill the job again and again; return what is finished then, or all if it was over before."""
    times: dict[str, int] = {}
    for count in counts:
        run_until(argv, out, count)
        now = finished(out)
        assert {name: now[name] for name in times} == times
        times = now
        if len(times) == NUM_CLIPS:
            break
    return times


@pytest.mark.long
@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=pytest.mark.ray)])
def test_a_killed_job_repeats_no_finished_video(tmp_path: Path, workers: int) -> None:
    whole, out = tmp_path / "whole", tmp_path / "out"
    subprocess.run(command(tmp_path / "in", whole, workers), check=True)
    argv = command(tmp_path / "in", out, workers)
    for counts in KILLED_AFTER:
        shutil.rmtree(out, ignore_errors=True)
        times = killed(argv, out, counts)
        if len(times) < NUM_CLIPS:
            break
    else:
        pytest.fail("the job is over before it is killed: give it more videos")
    told = subprocess.run(argv, check=True, capture_output=True, text=True)
    now = finished(out)
    assert len(now) == NUM_CLIPS, told.stderr
    assert {name: now[name] for name in times} == times
    assert not list(out.rglob("*.tmp*"))
    for name in now:
        with np.load(whole / name / "people.npz") as a, np.load(out / name / "people.npz") as b:
            assert sorted(a) == sorted(b)
            assert len(a["pose"]) > 0
            for key in a:
                np.testing.assert_array_equal(b[key], a[key], err_msg=f"{name}: {key}")
