"""A run's steps come horizon by horizon, and no start waits for the steps that are far ahead."""

from types import SimpleNamespace
from typing import Any

import pytest
import ray
import ray.data

from tests.distributed.streaming import Rows, assert_same
from vibe_ray.data.batches import local_step_batches
from vibe_ray.data.mixing import DataConfig, StepPlan, make_plan
from vibe_ray.data.reading import read_shares
from vibe_ray.distributed import feed, streams
from vibe_ray.distributed.feed import HORIZON_ITEMS, Feeder, Horizon, fed_batches, make_feeder


@pytest.fixture
def config(shards: str) -> DataConfig:
    return DataConfig(root=shards, batch_size=16, motion_batch_size=16)


def feeder(plan: StepPlan, num_steps: int, num_workers: int) -> Feeder:
    """In this process."""
    return Feeder(plan, num_steps, num_workers, ray.data.DataContext.get_current())


@pytest.mark.ray
@pytest.mark.parametrize(
    ("num_workers", "items"), [(2, 6), pytest.param(3, 15, marks=pytest.mark.long)]
)
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
        assert_same(batches, expected)
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
            feeder(plan, num_steps, num_workers).horizon(start, 0)
    short, short_end, long, long_end, longer, longer_end = made
    assert short <= long == longer == HORIZON_ITEMS
    assert short_end == long_end == longer_end == num_workers


@pytest.mark.ray
def test_the_plan_is_stored_once_however_many_horizons(
    ray_cluster: None, plan: StepPlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored: list[object] = []
    put = ray.put
    monkeypatch.setattr(ray, "put", lambda value: stored.append(value) or put(value))
    monkeypatch.setattr(feed, "HORIZON_ITEMS", 2)
    fed = feeder(plan, 1_000, 2)
    first = fed.horizon(0, 0).steps
    assert fed.horizon(first.stop, 0).steps.start == first.stop < 1_000
    assert sum(isinstance(value, StepPlan) for value in stored) == 1


@pytest.mark.ray
@pytest.mark.parametrize("item_steps", [1, 3])
@pytest.mark.parametrize(("items", "lead"), [(256, 32), (16, 4)])
def test_the_next_horizon_is_begun_some_items_and_a_part_of_one_ahead(
    ray_cluster: None,
    plan: StepPlan,
    monkeypatch: pytest.MonkeyPatch,
    item_steps: int,
    items: int,
    lead: int,
) -> None:
    """Where batches are so large that an item is one step, four items would be four steps."""
    monkeypatch.setattr(ray.data.Dataset, "streaming_split", lambda *_, **__: [None] * 2)
    monkeypatch.setattr(streams, "MAX_ITEM_STEPS", item_steps)
    monkeypatch.setattr(feed, "HORIZON_ITEMS", 2 * items)
    horizon = feeder(plan, 1_000_000, 2).horizon(0, 0)
    assert horizon.steps == range(items * item_steps)
    assert horizon.begin_next == (items - lead) * item_steps


@pytest.mark.ray
@pytest.mark.parametrize("has_bars", [True, False])
def test_datasets_have_the_settings_of_whoever_starts_the_feeder(
    ray_cluster: None, plan: StepPlan, monkeypatch: pytest.MonkeyPatch, has_bars: bool
) -> None:
    class Telling(Feeder):
        """In a process of its own, which has defaults."""

        def horizon(self, start: int, rank: int) -> Any:
            def split(dataset: ray.data.Dataset, *_: Any, **__: Any) -> list[bool]:
                return [dataset.context.enable_progress_bars]

            ray.data.Dataset.streaming_split = split
            return super().horizon(start, rank).split

    monkeypatch.setattr(feed, "Feeder", Telling)
    monkeypatch.setattr(ray.data.DataContext.get_current(), "enable_progress_bars", has_bars)
    assert ray.get(make_feeder(plan, 8, 1).horizon.remote(0, 0)) is has_bars


@pytest.mark.ray
def test_a_run_without_steps_left_has_no_batches(ray_cluster: None, plan: StepPlan) -> None:
    assert list(fed_batches(make_feeder(plan, 8, 1), 8, 0)) == []


@pytest.mark.ray
def test_a_horizon_that_lacks_its_last_steps_is_noticed(ray_cluster: None, plan: StepPlan) -> None:
    rows: Any = Rows(read_shares(plan, [plan.share(step, 0, 1) for step in (4, 5)]))
    horizon = Horizon(range(4, 7), 6, rows)
    feeder = SimpleNamespace(horizon=SimpleNamespace(remote=lambda *_: ray.put(horizon)))
    batches = fed_batches(feeder, 4, 0)
    assert len([next(batches), next(batches)]) == 2
    with pytest.raises(RuntimeError, match="ended at step 6, before 7"):
        next(batches)
