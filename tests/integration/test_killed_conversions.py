"""Conversions, killed at ten moments and run again: the same shards, nothing read twice."""

import json
import random
from pathlib import Path

import pytest

from tests.data import noise
from tests.integration.dying import Life, convert
from tests.integration.raw_sets import RAW_SETS
from vibe_ray.data.journal import PROGRESS_FILE
from vibe_ray.data.shards import read_manifest

NUM_MOMENTS = 10
KILLED = [name for name in RAW_SETS if name != "videos"]
"""Videos go the same way; but to look for people in them takes seconds, in each of twenty runs."""


def finished(out: Path) -> list[str]:
    """The recordings that a killed conversion has told to be done."""
    file = out / PROGRESS_FILE
    return json.loads(file.read_text())["recordings"] if file.exists() else []


@pytest.mark.long
@pytest.mark.parametrize("name", KILLED)
def test_killed_at_any_moment_and_run_again_it_ends_the_same_and_reads_nothing_twice(
    name: str, tmp_path: Path
) -> None:
    raw_set, raw, log = RAW_SETS[name], tmp_path / "raw", tmp_path / "log"
    raw_set.write(raw)

    def run(out: Path, fatal: int = -1) -> Life:
        return convert(raw_set.argv(name, raw, out), log, fatal)

    whole = run(tmp_path / "whole")
    expected = noise.contents(tmp_path / "whole")
    assert len(whole.decoded) == raw_set.num_recordings == len(set(whole.decoded))
    assert len(json.loads(expected.get("skipped.json", b"{}"))) == raw_set.num_bad
    assert len(read_manifest(str(tmp_path / "whole")).files) > 1
    for moment in random.Random(name).sample(range(len(whole.moments)), NUM_MOMENTS):
        out = tmp_path / f"killed_{moment}"
        first = run(out, moment)
        assert first.was_killed
        assert first.moments == whole.moments[:moment]
        done = finished(out)
        assert len(first.decoded) - len(done) in (0, 1)  # the one that was in hand
        again = run(out)
        assert again.decoded == whole.decoded[len(done) :]
        assert noise.contents(out) == expected
