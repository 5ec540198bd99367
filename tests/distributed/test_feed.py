"""A run's steps come horizon by horizon, and no start waits for the steps that are far ahead."""

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest
import ray
import ray.data
import torch

from vibe_ray.data.batches import StepBatch, local_step_batches
from vibe_ray.data.mixing import DataConfig, StepPlan, make_plan
from vibe_ray.data.reading import read_shares
from vibe_ray.distributed import feed, streams
from vibe_ray.distributed.feed import HORIZON_ITEMS, Feeder, Horizon, fed_batches, make_feeder


@pytest.fixture
def config(shards: str) -> DataConfig:
    return DataConfig(root=shards, batch_size=16, motion_batch_size=16)


@pytest.fixture
def plan(config: DataConfig) -> StepPlan:
    return make_plan(config, seed=1)


def numbers(batch: StepBatch) -> list[torch.Tensor]:
    return [*vars(batch.pose).values(), batch.motion.pose]


@pytest.mark.ray
@pytest.mark.parametrize(("num_workers", "items"), [(2, 6), (3, 15)])
def test_batches_of_many_horizons_are_those_without_ray(
    ray_cluster: None,
    config: DataConfig,
    monkeypatch: pytest.MonkeyPatch,
    num_workers: int,
    items: int,
) -> None:
    """18 steps by horizons of 6 and of 10; the last of these ends with the run."""

    @ray.remote(num_cpus=0.25)
    def consume(feeder: Any, rank: int) -> int:
        batches = fed_batches(feeder, 5, rank)
        expected = local_step_batches(make_plan(config, seed=1), 5, 18, rank, num_workers)
        for one, other in zip(batches, expected, strict=True):
            for a, b in zip(numbers(one), numbers(other), strict=True):
                assert torch.equal(a, b)
        return rank

    class Short(Feeder):
        """In a process of its own, whose modules it may change."""

        def __init__(self, *args: Any) -> None:
            streams.MAX_ITEM_STEPS, feed.HORIZON_ITEMS, feed.LEAD_ITEMS = 2, items, 1
            super().__init__(*args)

    monkeypatch.setattr(feed, "Feeder", Short)
    feeder = make_feeder(make_plan(config, seed=1), 23, num_workers)
    found = ray.get([consume.remote(feeder, rank) for rank in range(num_workers)])
    assert found == list(range(num_workers))


@pytest.mark.ray
@pytest.mark.parametrize("num_workers", [1, 2, 16])
def test_a_start_makes_as_many_items_however_long_the_run(
    ray_cluster: None, plan: StepPlan, monkeypatch: pytest.MonkeyPatch, num_workers: int
) -> None:
    """Counted, not timed: of ten million steps no more is made than of a hundred thousand."""
    made: list[int] = []
    from_items = ray.data.from_items

    def counted(items: list[Any], **kwargs: Any) -> ray.data.Dataset:
        made.append(len(items))
        return from_items(items, **kwargs)

    monkeypatch.setattr(ray.data, "from_items", counted)

    def split(dataset: ray.data.Dataset, num: int, **_: Any) -> list[None]:
        assert dataset.context.execution_no_progress_timeout_s == -1  # a long validation is none
        return [None] * num

    monkeypatch.setattr(ray.data.Dataset, "streaming_split", split)
    for num_steps in (1_000, 100_000, 10_000_000):
        for start in (0, num_steps - 10):
            Feeder(plan, num_steps, num_workers).horizon(start, 0)
    short, short_end, long, long_end, longer, longer_end = made
    assert short <= long == longer == HORIZON_ITEMS
    assert short_end == long_end == longer_end == num_workers


@pytest.mark.ray
def test_a_run_without_steps_left_has_no_batches(ray_cluster: None, plan: StepPlan) -> None:
    assert list(fed_batches(make_feeder(plan, 8, 1), 8, 0)) == []


class Rows:
    """Stands in for Ray's iterator."""

    def __init__(self, rows: pa.Table) -> None:
        self.rows = rows

    def iter_batches(self, **_: Any) -> Iterator[pa.Table]:
        for index in range(len(self.rows)):
            yield self.rows.slice(index, 1)


@pytest.mark.ray
def test_a_horizon_that_lacks_its_last_steps_is_noticed(ray_cluster: None, plan: StepPlan) -> None:
    rows: Any = Rows(read_shares(plan, [plan.share(step, 0, 1) for step in (4, 5)]))
    horizon = Horizon(range(4, 7), 6, rows)
    feeder = SimpleNamespace(horizon=SimpleNamespace(remote=lambda *_: ray.put(horizon)))
    batches = fed_batches(feeder, 4, 0)
    assert len([next(batches), next(batches)]) == 2
    with pytest.raises(RuntimeError, match="ended at step 6, before 7"):
        next(batches)
