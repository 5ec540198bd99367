import pickle
import tracemalloc
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.data import noise
from vibe_ray.data.manifest import Manifest, ShardFile
from vibe_ray.data.mixing import DataConfig, Share, StepPlan, make_plan
from vibe_ray.data.windows import Window


def config(root: str, **changes: Any) -> DataConfig:
    known: dict[str, Any] = {"root": root, "batch_size": 10, "motion_batch_size": 7}
    return DataConfig(**(known | changes))


@pytest.fixture
def plan(shards: str) -> StepPlan:
    return make_plan(config(shards), seed=1)


def kinds(share: Share) -> tuple[tuple[Window, ...], ...]:
    return share.pose_2d, share.pose_3d, share.motion


@pytest.mark.parametrize(
    ("batch_size", "ratio", "num_2d"),
    [(32, 0.6, 19), (10, 0.6, 6), (10, 0.7, 7), (100, 0.29, 29), (8, 0.0, 0), (8, 1.0, 8)],
)
def test_the_share_of_2d_windows_is_rounded_down(
    batch_size: int, ratio: float, num_2d: int
) -> None:
    found = DataConfig(batch_size=batch_size, ratio_2d=ratio)
    assert (found.num_2d, found.num_3d) == (num_2d, batch_size - num_2d)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"window_length": 2}, "data.window_length is 2, must be >= 3"),
        ({"window_stride": 0}, "data.window_stride is 0"),
        ({"batch_size": -1}, "data.batch_size is -1"),
        ({"motion_batch_size": -1}, "data.motion_batch_size is -1, must be >= 0"),
        ({"readers": 0}, "data.readers is 0, must be >= 1"),
        ({"ratio_2d": 1.1}, "data.ratio_2d is 1.1, expected 0 to 1"),
    ],
)
def test_a_config_that_makes_no_sense_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DataConfig(**changes)


@pytest.mark.parametrize("num_workers", [1, 2, 3, 7])
@pytest.mark.parametrize("step", [0, 1, 23])
def test_a_step_has_the_same_windows_whatever_the_number_of_workers(
    plan: StepPlan, step: int, num_workers: int
) -> None:
    alone = kinds(plan.share(step, 0, 1))
    assert [len(windows) for windows in alone] == [6, 4, 7]
    shares = [kinds(plan.share(step, rank, num_workers)) for rank in range(num_workers)]
    for kind, expected in enumerate(alone):
        dealt = [share[kind] for share in shares]
        assert sorted(sum(dealt, ())) == sorted(expected)
        sizes = [len(windows) for windows in dealt]
        assert max(sizes) - min(sizes) <= 1
    sizes = [len(share[0]) + len(share[1]) for share in shares]
    assert max(sizes) - min(sizes) <= 1


def test_the_steps_follow_each_other_in_the_streams(plan: StepPlan) -> None:
    for kind, source in enumerate((plan.pose_2d, plan.pose_3d, plan.motion)):
        steps = [kinds(plan.share(step, 0, 1))[kind] for step in range(9)]
        assert list(sum(steps, ())) == source.stream.at(range(9 * source.per_step))


def test_every_window_comes_once_per_pass(plan: StepPlan) -> None:
    num_windows = plan.pose_2d.stream.num_windows  # 2 + 4 + 2 + 5 of noise.LENGTHS
    assert num_windows == 13
    steps = [plan.share(step, rank, 2).pose_2d for step in range(13) for rank in range(2)]
    windows: list[Window] = list(sum(steps, ()))
    assert len(windows) == 6 * num_windows
    clips = [window[:3] for window in windows]
    assert {clip: clips.count(clip) // 6 for clip in clips} == {
        (0, 0, 0): 2,
        (0, 0, 2): 4,
        (0, 0, 3): 2,
        (0, 0, 4): 5,
    }


def test_the_order_depends_on_the_seed_alone(shards: str, plan: StepPlan) -> None:
    again = make_plan(config(shards, readers=7), seed=1)
    elsewhere = pickle.loads(pickle.dumps(plan))
    other = make_plan(config(shards), seed=2)
    shares = [[kinds(p.share(s, 0, 1)) for s in range(5)] for p in (plan, again, elsewhere, other)]
    assert shares[0] == shares[1] == shares[2] != shares[3]


def test_more_workers_than_windows_are_refused(plan: StepPlan) -> None:
    with pytest.raises(ValueError, match=r"8 workers for data\.batch_size 10 and .* 7"):
        plan.share(0, 0, 8)


def test_several_data_sets_make_one_stream(tmp_path_factory: pytest.TempPathFactory) -> None:
    root = noise.write_all(str(tmp_path_factory.mktemp("root")))
    noise.write(root, "more_2d/train", (64, 64))
    plan = make_plan(config(root, pose_2d=("open_2d/train", "more_2d/train")), seed=1)
    assert plan.pose_2d.stream.num_windows == 13 + 8
    assert {w.dataset for w in plan.pose_2d.stream.at(range(21))} == {0, 1}
    assert plan.feature_dim == noise.F


@pytest.mark.parametrize(("ratio", "unused"), [(0.0, "pose_2d"), (1.0, "pose_3d")])
def test_a_stream_of_which_nothing_is_taken_needs_no_data_set(
    shards: str, ratio: float, unused: str
) -> None:
    changes: dict[str, Any] = {"ratio_2d": ratio, unused: ("absent/train",)}
    plan = make_plan(config(shards, **changes), seed=1)
    assert len(sum(kinds(plan.share(0, 0, 1))[:2], ())) == 10
    assert plan.feature_dim == noise.F


def test_the_hash_names_the_data_and_not_the_seed(shards: str, plan: StepPlan) -> None:
    assert make_plan(config(shards), seed=2).data_hash == plan.data_hash
    other = make_plan(config(shards, pose_3d=("open_3d/val",)), seed=1)
    assert other.data_hash != plan.data_hash


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"pose_3d": ("absent/train",)}, FileNotFoundError, "no data set at .*/absent/train"),
        ({"motion": ("open_3d/val",)}, ValueError, "holds pose shards, expected motion shards"),
        ({"window_length": 71}, ValueError, "71 frames, the longest clip 70; set data.window_len"),
        ({"pose_2d": ()}, ValueError, "no usable window in no data set"),
    ],
)
def test_data_that_cannot_be_used_is_named(
    shards: str, changes: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        make_plan(replace(config(shards), **changes), seed=1)


def test_a_plan_may_be_of_motion_alone(shards: str, plan: StepPlan) -> None:
    alone = make_plan(config(shards, batch_size=0), seed=1)
    assert kinds(alone.share(3, 1, 2)) == ((), (), plan.share(3, 1, 2).motion)
    assert list(alone.manifest_hashes) == ["motion[0]"]
    assert (alone.encoder_id, alone.feature_dim) == ("", 0)
    message = r"8 workers for data\.motion_batch_size 7: each worker needs a window$"
    with pytest.raises(ValueError, match=message):
        alone.share(0, 0, 8)


def test_a_plan_may_do_without_motion(shards: str, plan: StepPlan) -> None:
    settings = config(shards, motion_batch_size=0, motion=("absent/train",))
    alone = make_plan(settings, seed=1)
    assert kinds(alone.share(3, 1, 2)) == (*kinds(plan.share(3, 1, 2))[:2], ())
    assert list(alone.manifest_hashes) == ["pose_2d[0]", "pose_3d[0]"]
    message = r"11 workers for data\.batch_size 10: each worker needs a window$"
    with pytest.raises(ValueError, match=message):
        alone.share(0, 0, 11)


def test_a_plan_takes_some_bytes_of_a_clip_here_and_in_each_reader(tmp_path: Path) -> None:
    """Ten million clips are a matter of half a gigabyte, not of gigabytes: no object is a clip's.

    Files are as ours are: a manifest says of each its name and hashes, and the lengths of 22 clips.
    """
    num_files, clips_per_file = 2000, 22
    num_clips = num_files * clips_per_file
    files = [
        ShardFile(
            name=f"part-{number:05d}-{number:012x}.parquet",
            num_bytes=64 * 2**20 + number,
            sha256=f"{number:064x}",
            clip_frames=[512 - number % 200] * clips_per_file,
            footer_bytes=10_000 + number,
            footer_sha256=f"{number + 1:064x}",
        )
        for number in range(num_files)
    ]
    (tmp_path / "open_3d/train").mkdir(parents=True)
    manifest: Manifest = noise.header("open_3d/train", files=files)
    (tmp_path / "open_3d/train/manifest.json").write_text(manifest.text())
    one_set = config(str(tmp_path), ratio_2d=0.0, motion_batch_size=0)
    make_plan(one_set, 0)  # what is made once, such as validators
    tracemalloc.start()
    plan = make_plan(one_set, 0)
    here = tracemalloc.get_traced_memory()[0]
    told = pickle.dumps(plan)
    before = tracemalloc.get_traced_memory()[0]
    again = pickle.loads(told)
    there = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert again.share(3, 0, 1) == plan.share(3, 0, 1)
    assert plan.pose_3d.manifests[0].num_clips == num_clips
    assert max(here, there, len(told)) < 64 * num_clips
