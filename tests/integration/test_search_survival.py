"""A search whose driver and whose trials are killed gives the answer of one left alone."""

from pathlib import Path

import pytest

from tests.integration.search_survival import Case, survive
from vibe_ray.distributed.launch import train
from vibe_ray.recipes import smoke
from vibe_ray.runs.log import SCORE
from vibe_ray.settings import override
from vibe_ray.training.launch import Launch


@pytest.mark.ray
@pytest.mark.long
@pytest.mark.timeout(1200)
def test_a_killed_search_repeats_nothing_and_finds_the_same(shards: str, tmp_path: Path) -> None:
    case = Case(data=Path(shards), folder=tmp_path, workers=0, seeds=1)
    result = survive(case)
    assert result["finished_when_killed"]
    assert result["finished_untouched"]
    ranking = {label: (median, failed) for label, median, _, failed in result["ranking"]}
    for label, weight in (("G", 0.0), ("G + D", 0.5)):
        changes = {
            **case.changes,
            "data.root": shards,
            "losses.adversarial": weight,
            "optim.generator_lr": 1e-3,
        }
        where = Launch(name=label, storage=str(tmp_path / "alone"), workers=0)
        run = train(override(smoke(), changes), where)
        assert ranking[label] == (pytest.approx(min(row[SCORE] for row in run.metrics)), 0)
    assert ranking["diverges"] == (None, 1)
