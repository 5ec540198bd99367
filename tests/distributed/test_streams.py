from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import ray.data
import torch

from tests.data import noise
from tests.distributed.streaming import Rows, assert_same
from tests.training.tiny import tiny_frames, tiny_prior
from vibe_ray.config import TrainConfig
from vibe_ray.data.batches import local_step_batches
from vibe_ray.data.mixing import DataConfig, StepPlan, make_plan
from vibe_ray.data.reading import read_shares
from vibe_ray.distributed import pacing, streams
from vibe_ray.distributed.streams import StepStream, step_batches
from vibe_ray.training.tasks import make_step_plan

CALLBACKS = "custom_execution_callback_classes"


@pytest.fixture
def config(shards: str) -> DataConfig:
    return DataConfig(root=shards, batch_size=10, motion_batch_size=7)


def test_a_stream_taken_up_at_a_step_is_the_rest_of_the_whole(plan: StepPlan) -> None:
    whole = list(local_step_batches(plan, 0, 12, rank=1, num_workers=2))
    assert len(whole) == 12
    assert_same(local_step_batches(plan, 7, 5, rank=1, num_workers=2), iter(whole[7:]))


@pytest.mark.parametrize("num_workers", [2, 3])
def test_the_workers_batches_are_the_one_workers_batch(plan: StepPlan, num_workers: int) -> None:
    alone = local_step_batches(plan, 0, 6)
    ranks = [local_step_batches(plan, 0, 6, rank, num_workers) for rank in range(num_workers)]
    for whole, *shares in zip(alone, *ranks, strict=True):
        for kind in ("pose", "motion"):
            merged: torch.Tensor = torch.cat([getattr(share, kind).pose for share in shares])
            expected: torch.Tensor = getattr(whole, kind).pose
            assert sorted(merged.tolist()) == sorted(expected.tolist())


def test_a_batch_has_2d_windows_first_and_exactly_as_many_as_asked_for(plan: StepPlan) -> None:
    lengths = {n for name in ("open_2d/train", "open_3d/train") for n in noise.LENGTHS[name]}
    assert 64 in lengths
    sources = [set(range(5)), set(range(3))]
    for batch in local_step_batches(plan, 0, 5):
        clips = batch.pose.features[:, 0, 0].tolist()
        assert len(clips) == 10
        assert set(clips[:6]) <= sources[0]
        assert set(clips[6:]) <= sources[1]
        frames = batch.pose.features[:, :, 1]
        assert torch.equal(frames - frames[:, :1], torch.arange(16.0).half().expand(10, 16))


def test_what_arrives_must_be_the_next_step_of_ones_own_rank(plan: StepPlan) -> None:
    shares = [plan.share(step, rank, 2) for step, rank in ((4, 0), (5, 0), (6, 1), (6, 0))]
    stream: Any = Rows(read_shares(plan, shares))
    batches = step_batches(stream, 4, 0)
    assert_same(iter([next(batches), next(batches)]), local_step_batches(plan, 4, 2, 0, 2))
    with pytest.raises(RuntimeError, match=r"step and rank \(6, 1\), expected \(6, 0\)"):
        next(batches)
    with pytest.raises(RuntimeError, match=r"step and rank \(4, 0\), expected \(5, 0\)"):
        next(step_batches(stream, 5, 0))


def test_an_object_store_gives_the_same_batches(plan: StepPlan, shards: str, s3: str) -> None:
    noise.write_all(f"{s3}/root")
    remote = make_plan(DataConfig(root=f"{s3}/root", batch_size=10, motion_batch_size=7), seed=1)
    assert remote.data_hash == plan.data_hash
    assert_same(local_step_batches(remote, 3, 4), local_step_batches(plan, 3, 4))


def test_more_workers_than_windows_are_refused_before_anything_is_read(plan: StepPlan) -> None:
    with pytest.raises(ValueError, match="8 workers"):
        StepStream(plan, 8)


@pytest.mark.ray
@pytest.mark.parametrize(
    ("num_workers", "item_steps"),
    [(1, 4), pytest.param(2, 4, marks=pytest.mark.long), (2, 1), (3, 5)],
)
def test_ray_brings_every_rank_its_own_batches(
    ray_cluster: None,
    config: DataConfig,
    monkeypatch: pytest.MonkeyPatch,
    num_workers: int,
    item_steps: int,
) -> None:
    """10 windows and 7 of motion for 2 and 3 workers: ranks' blocks differ in size."""
    import ray

    @ray.remote(num_cpus=0.25)
    def consume(stream: ray.data.DataIterator, rank: int) -> int:
        expected = local_step_batches(make_plan(config, seed=1), 5, 23, rank, num_workers)
        assert_same(step_batches(stream, 5, rank), expected)
        return rank

    monkeypatch.setattr(streams, "MAX_ITEM_STEPS", item_steps)
    dataset = StepStream(make_plan(config, seed=1), num_workers).dataset(5, 23)
    dataset.context.execution_options.preserve_order = True
    splits = dataset.streaming_split(num_workers, equal=True)
    found = ray.get([consume.remote(split, rank) for rank, split in enumerate(splits)])
    assert found == list(range(num_workers))


@pytest.mark.ray
def test_a_ray_without_callbacks_brings_the_same_batches(
    ray_cluster: None, plan: StepPlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pacing, "IS_KNOWN", False)
    monkeypatch.setattr(ray.data.DataContext.get_current(), CALLBACKS, [])
    dataset = StepStream(plan, 1).dataset(5, 6)
    assert not getattr(dataset.context, CALLBACKS)
    (split,) = dataset.streaming_split(1, equal=True)
    assert_same(step_batches(split, 5, 0), local_step_batches(plan, 5, 6))


@pytest.mark.ray
@pytest.mark.parametrize("make_config", [tiny_frames, tiny_prior])
def test_ray_brings_what_other_tasks_train_on(
    ray_cluster: None, make_config: Callable[..., TrainConfig], tmp_path: Path
) -> None:
    """Detections of frames, and motion without windows of people."""
    for split in ("train", "val"):
        noise.write(str(tmp_path), f"motion/{split}", (30, 17, 8))
    plan = make_step_plan(make_config(data__root=str(tmp_path)))
    dataset = StepStream(plan, 2).dataset(2, 4)
    dataset.context.execution_options.preserve_order = True
    splits = dataset.streaming_split(2, equal=True)
    with ThreadPoolExecutor(2) as ranks:  # which Ray feeds in step with each other
        found = list(ranks.map(lambda rank: list(step_batches(splits[rank], 2, rank)), range(2)))
    for rank, batches in enumerate(found):
        assert_same(iter(batches), local_step_batches(plan, 2, 4, rank, 2))
