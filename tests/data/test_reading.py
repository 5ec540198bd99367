import json
import tracemalloc
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from tests.data import noise
from vibe_ray.data import reading
from vibe_ray.data.mixing import DataConfig, StepPlan, make_plan
from vibe_ray.data.reading import ClipCache, num_row_bytes, read_shares
from vibe_ray.data.sequences import read_motion_sequences, read_pose_sequences
from vibe_ray.data.shards import ShardWriter, read_manifest


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch) -> ClipCache:
    fresh = ClipCache(reading.CACHE_BYTES)
    monkeypatch.setattr(reading, "CACHE", fresh)
    return fresh


def plan_of(root: str, **changes: int) -> StepPlan:
    known = {"batch_size": 10, "motion_batch_size": 7}
    return make_plan(DataConfig(root=root, **(known | changes)), seed=1)  # type: ignore[arg-type]


def test_windows_are_what_a_naive_reader_cuts_out_of_the_sequences(shards: str) -> None:
    plan = plan_of(shards, window_length=9, window_stride=5)
    sequences = [
        list(read_pose_sequences(f"{shards}/open_2d/train")),
        list(read_pose_sequences(f"{shards}/open_3d/train")),
    ]
    motion = list(read_motion_sequences(f"{shards}/motion/train"))
    shares = [plan.share(step, 1, 3) for step in range(4)]
    table = read_shares(plan, shares)
    assert table.schema == reading.SHARE_SCHEMA
    for share, row in zip(shares, table.to_pylist(), strict=True):
        assert (row["step"], row["rank"], row["window_length"]) == (share.step, 1, 9)
        windows = [(0, w) for w in share.pose_2d] + [(1, w) for w in share.pose_3d]
        assert row["num_windows"] == len(windows)
        for name, (dtype, _) in reading.WINDOW_ARRAYS.items():
            cuts = [
                getattr(sequences[kind][w.row], name)[w.start : w.start + 9] for kind, w in windows
            ]
            assert row[name] == np.stack(cuts).astype(dtype).tobytes(), name
        cuts = [motion[w.row].pose[w.start : w.start + 9] for w in share.motion]
        assert (row["num_motion"], row["motion_pose"]) == (len(cuts), np.stack(cuts).tobytes())


def test_rows_without_windows_of_a_kind_are_well_formed(shards: str) -> None:
    plan = make_plan(
        DataConfig(root=shards, batch_size=3, ratio_2d=0.0, motion_batch_size=3), seed=1
    )
    (row,) = read_shares(plan, [plan.share(0, 2, 3)]).to_pylist()
    assert (row["num_windows"], row["num_motion"]) == (1, 1)
    assert len(row["kp_2d"]) == 16 * 49 * 2 * 4


def test_the_size_of_a_row_is_known_beforehand(shards: str) -> None:
    plan = plan_of(shards)
    for num_workers in (1, 2, 3):
        table = read_shares(plan, [plan.share(0, 0, num_workers)])
        binary = [name for name in table.column_names if table[name].type == pa.large_binary()]
        size = sum(len(table[name][0].as_py()) for name in binary)
        assert num_row_bytes(plan, num_workers) == size


def test_a_clip_is_read_once_while_there_is_room(shards: str, cache: ClipCache) -> None:
    plan = plan_of(shards)
    for step in range(20):
        read_shares(plan, [plan.share(step, 0, 1)])
    with_windows = sum(n >= 16 for name in noise.LENGTHS for n in noise.LENGTHS[name])
    heldout = len(noise.LENGTHS["open_3d/val"]) + len(noise.LENGTHS["open_3d/test"])
    assert cache.num_reads == with_windows - heldout


def test_the_cache_stays_in_its_bounds_and_forgets_the_oldest(shards: str) -> None:
    path = f"{shards}/open_2d/train"
    (file,) = read_manifest(path).files
    sizes = [
        sum(array.nbytes for array in ClipCache(1).get(path, file, row).values())
        for row in range(5)
    ]
    cache = ClipCache(sizes[0] + sizes[2] + sizes[3])
    for row in (0, 2, 3, 0):
        cache.get(path, file, row)
    assert (cache.num_reads, cache.num_bytes) == (3, cache.max_bytes)
    cache.get(path, file, 1)  # the oldest is now 2
    assert cache.num_bytes == sizes[0] + sizes[3] + sizes[1]
    cache.get(path, file, 0)
    assert cache.num_reads == 4
    cache.get(path, file, 2)
    assert cache.num_reads == 5
    assert cache.num_bytes <= cache.max_bytes


def test_a_clip_larger_than_the_cache_is_read_all_the_same(shards: str) -> None:
    path = f"{shards}/open_2d/train"
    (file,) = read_manifest(path).files
    cache = ClipCache(1)
    for row in (0, 1, 0):
        assert len(cache.get(path, file, row)["pose"]) == file.clip_frames[row]
    assert cache.num_reads == 3


def test_memory_does_not_grow_with_the_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    num_clips = 30
    peaks = []
    for times in (1, 3):
        root = str(tmp_path / str(times))
        lengths = dict.fromkeys(("open_2d/train", "open_3d/train"), (64,) * (times * num_clips))
        noise.write_all(root, lengths | {"motion/train": (64,) * num_clips})
        one_clip = noise.pose_sequence("walk", 64)
        clip_bytes = sum(v.nbytes for v in vars(one_clip).values() if isinstance(v, np.ndarray))
        monkeypatch.setattr(reading, "CACHE", ClipCache(20 * clip_bytes))
        plan = plan_of(root)
        tracemalloc.start()
        arrow = pa.total_allocated_bytes()
        peak = 0
        for step in range(times * 4 * num_clips // 6):  # a whole pass
            read_shares(plan, [plan.share(step, 0, 1)])
            peak = max(peak, pa.total_allocated_bytes() - arrow)
        peaks.append(peak + tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert reading.CACHE.num_reads > times * num_clips
        assert peak < 25 * clip_bytes
    assert peaks[1] < 1.1 * peaks[0]


def test_numbers_that_are_none_are_told_with_their_sequence(tmp_path: Path) -> None:
    root = noise.write_all(str(tmp_path))
    features = np.ones((20, noise.F), np.float16)
    features[7, 3] = np.inf
    kp_3d = np.full((20, 49, 3), np.nan)
    with ShardWriter(f"{root}/open_3d/train", noise.header("open_3d/train")) as writer:
        writer.write(noise.pose_sequence("broken", 20, features=features, kp_3d=kp_3d))
    plan = plan_of(root)
    with pytest.raises(ValueError, match="open_3d/train: features, kp_3d of sequence 'broken'"):
        read_shares(plan, [plan.share(0, 0, 1)])


@pytest.mark.parametrize(
    ("lengths", "message"),
    [
        ((1,), r"row 0 has \(frames, feature width\) \(1, 16\), the manifest says \(40, 16\)"),
        ((39,), r"row 0 has \(frames, feature width\) \(39, 16\), the manifest says \(40, 16\)"),
    ],
)
def test_clips_that_are_not_what_their_manifest_says_are_told_with_their_file(
    tmp_path: Path, lengths: tuple[int, ...], message: str
) -> None:
    root = noise.write_all(str(tmp_path))
    folder = Path(noise.write(root, "open_3d/train", lengths))
    manifest = json.loads((folder / "manifest.json").read_text())
    (file,) = manifest["files"]
    file["clip_frames"] = [40]
    (folder / "manifest.json").write_text(json.dumps(manifest))
    plan = plan_of(root)
    with pytest.raises(ValueError, match=rf"^{folder}/{file['name']}: {message}"):
        read_shares(plan, [plan.share(0, 0, 1)])


def test_features_of_another_width_than_the_manifests_are_told(tmp_path: Path) -> None:
    root = noise.write_all(str(tmp_path))
    for name in ("open_2d/train", "open_3d/train"):
        path = Path(root, name, "manifest.json")
        path.write_text(path.read_text().replace('"feature_dim": 16', '"feature_dim": 1'))
    plan = plan_of(root)
    with pytest.raises(ValueError, match=r"open_2d/train/part.*\(\d+, 16\), the manif.*\(\d+, 1\)"):
        read_shares(plan, [plan.share(0, 0, 1)])


def test_a_row_that_is_not_there_is_told_with_its_file(tmp_path: Path) -> None:
    root = noise.write_all(str(tmp_path))
    folder = Path(noise.write(root, "open_3d/train", (7,)))
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"][0]["clip_frames"] = [7, 40]
    (folder / "manifest.json").write_text(json.dumps(manifest))
    plan = plan_of(root)
    with pytest.raises(ValueError, match=rf"^{folder}/part.*parquet: row 1 is no clip"):
        read_shares(plan, [plan.share(0, 0, 1)])


def test_half_precision_is_checked_as_numpy_does() -> None:
    every = np.arange(2**16, dtype=np.uint16).view(np.float16)
    found = [reading._is_finite(every[i : i + 1]) for i in range(2**16)]
    np.testing.assert_array_equal(found, np.isfinite(every))
