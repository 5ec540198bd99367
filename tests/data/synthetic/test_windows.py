"""Windows that are captured as a generator learns: of which motion, by whom, and when."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.data import noise
from vibe_ray.body.model import BodyConfig
from vibe_ray.body.params import pose_to_rotmat
from vibe_ray.body.skeletons import SMPL_JOINTS
from vibe_ray.data.batches import StepBatch, local_step_batches
from vibe_ray.data.mixing import DataConfig, StepPlan
from vibe_ray.data.motion_augment import MotionAugmentConfig
from vibe_ray.data.reading import num_row_bytes, read_shares
from vibe_ray.data.sequences import read_motion_sequences
from vibe_ray.data.synthetic.frames import ARMS
from vibe_ray.data.synthetic.windows import WindowsConfig, WindowSource, window_plan

T = 16
AS_RECORDED = WindowsConfig(
    motion=("motion/train",),
    augment=MotionAugmentConfig(mirror=0.0, speed=(1.0, 1.0), joint_offset_rad=0.0),
    mix_arms=0.0,
    mix_legs=0.0,
)


@pytest.fixture(scope="module")
def data(shards: str) -> DataConfig:
    return DataConfig(root=shards, pose_3d=(), batch_size=10, ratio_2d=0.4, motion_batch_size=7)


def plan_of(data: DataConfig, windows: WindowsConfig = AS_RECORDED, seed: int = 0) -> StepPlan:
    return window_plan(data, windows, BodyConfig(), "an-encoder", seed)


def source_of(plan: StepPlan) -> WindowSource:
    assert isinstance(plan.captured, WindowSource)
    return plan.captured


def numbers(batch: StepBatch) -> dict[str, torch.Tensor]:
    assert batch.detections is not None
    return vars(batch.pose) | {f"seen/{n}": value for n, value in vars(batch.detections).items()}


def recorded(data: DataConfig, plan: StepPlan, step: int) -> list[np.ndarray]:
    """The poses (T, 72) of a step's windows, read the slow way."""
    source = source_of(plan).source
    clips = {len(c.pose): c.pose for c in read_motion_sequences(f"{data.root}/motion/train")}
    found = []
    for window in source.windows(step):
        num_frames = source.manifests[0].files[window.file].clip_frames[window.row]
        found.append(clips[num_frames][window.start : window.start + T])
    return found


def test_a_step_shows_windows_of_the_motion_as_they_were_recorded(data: DataConfig) -> None:
    plan = plan_of(data)
    for step in (0, 5):
        (batch,) = local_step_batches(plan, step, 1)
        expected = torch.from_numpy(np.stack(recorded(data, plan, step)))
        found = batch.pose.pose[4:]
        assert found.shape == (6, T, 72)
        assert batch.pose.pose.shape == (10, T, 72)
        # The camera turns the root, and an angle beyond half a turn is told the other way around.
        joints = (pose_to_rotmat(found)[..., 1:, :, :], pose_to_rotmat(expected)[..., 1:, :, :])
        torch.testing.assert_close(*joints, atol=1e-5, rtol=0)


def test_stored_windows_with_2d_labels_come_first_and_keep_their_features(
    data: DataConfig,
) -> None:
    plan = plan_of(data)
    stored = replace(data, batch_size=4, ratio_2d=1.0)
    (batch,) = local_step_batches(plan, 3, 1)
    (alone,) = local_step_batches(replace(plan, captured=None), 3, 1)
    assert stored.num_2d == len(alone.pose.features) == 4
    for name, values in vars(alone.pose).items():
        assert torch.equal(vars(batch.pose)[name][:4], values), name
    assert batch.pose.features.shape == (10, T, noise.F)
    assert not batch.pose.features[4:].any()
    assert torch.equal(batch.motion.pose, alone.motion.pose)
    assert len(numbers(batch)["seen/detected"]) == 6


def test_windows_are_a_function_of_seed_and_step(data: DataConfig) -> None:
    def drawn(seed: int, step: int) -> torch.Tensor:
        varied = replace(AS_RECORDED, augment=MotionAugmentConfig(), mix_arms=0.5)
        (batch,) = local_step_batches(plan_of(data, varied, seed), step, 1)
        return numbers(batch)["seen/detected"]

    torch.rand(3)  # nothing that was drawn before matters
    assert torch.equal(drawn(0, 2), drawn(0, 2))
    assert not any(torch.equal(drawn(0, 2), drawn(*other)) for other in ((0, 3), (1, 2)))


@pytest.mark.parametrize("num_workers", [2, 3, 5])
def test_the_workers_windows_are_the_one_workers(data: DataConfig, num_workers: int) -> None:
    plan = plan_of(data)
    (alone,) = local_step_batches(plan, 1, 1)
    known = {name: list(values) for name, values in numbers(alone).items()}
    for rank in range(num_workers):
        (share,) = local_step_batches(plan, 1, 1, rank, num_workers)
        mine = [*range(rank, 10, num_workers)]  # dealt in turn, over both kinds
        captured = [index - 4 for index in mine if index >= 4]
        for name, values in numbers(share).items():
            of = captured if name.startswith("seen/") else mine
            assert len(values) == len(of)
            for index, value in zip(of, values, strict=True):
                assert torch.equal(value, known[name][index]), name


def test_variation_leaves_windows_their_length(data: DataConfig) -> None:
    """Faster play needs frames behind the window, of which the end of a clip has none."""
    fast = MotionAugmentConfig(mirror=0.5, speed=(1.3, 1.4), joint_offset_rad=0.1)
    plan = plan_of(data, replace(AS_RECORDED, augment=fast, mix_arms=1.0, mix_legs=1.0))
    for batch in local_step_batches(plan, 0, 6):
        assert batch.pose.pose.shape == (10, T, 72)
        assert all(bool(value.isfinite().all()) for value in numbers(batch).values())


def test_windows_are_played_faster(data: DataConfig) -> None:
    speed = replace(AS_RECORDED, augment=replace(AS_RECORDED.augment, speed=(1.25, 1.25)))
    (fast,) = local_step_batches(plan_of(data, speed), 0, 1)
    (usual,) = local_step_batches(plan_of(data), 0, 1)
    fast, usual = (pose_to_rotmat(b.pose.pose[4:])[:, :, 1:] for b in (fast, usual))  # type: ignore[assignment]
    same = [torch.allclose(f[4], u[5], atol=1e-4) for f, u in zip(fast, usual, strict=True)]
    assert sum(same) >= 4  # 4 frames at 5/4 of the speed are 5; not so at a clip's very end


def test_arms_move_as_in_another_window_of_the_step(data: DataConfig) -> None:
    mixed = plan_of(data, replace(AS_RECORDED, mix_arms=1.0))
    (batch,), (usual,) = (local_step_batches(plan, 2, 1) for plan in (mixed, plan_of(data)))
    found, known = (pose_to_rotmat(b.pose.pose[4:]) for b in (batch, usual))
    trunk = [i for i in range(1, len(SMPL_JOINTS)) if i not in ARMS]
    torch.testing.assert_close(found[:, :, trunk], known[:, :, trunk], atol=1e-5, rtol=0)
    taken = (
        (found[:, 0, None, ARMS] - known[:, :, ARMS].flatten(0, 1)[None]).abs().amax((-3, -2, -1))
    )
    assert not torch.allclose(found[:, :, ARMS], known[:, :, ARMS], atol=1e-3)
    assert taken.amin(dim=1).median() < 1e-4  # some reach behind the windows, for faster play


def test_what_a_plan_of_windows_says_of_its_data(data: DataConfig) -> None:
    plan = plan_of(data)
    assert list(plan.manifest_hashes) == ["pose_2d[0]", "motion[0]", "windows.motion[0]"]
    assert (plan.encoder_id, plan.feature_dim, plan.window_length) == ("an-encoder", noise.F, T)
    table = read_shares(plan, [plan.share(5, 0, 1)])
    binary = [name for name in table.column_names if str(table[name].type) == "large_binary"]
    assert num_row_bytes(plan, 1) == sum(len(table[name][0].as_py()) for name in binary)
    alone = plan_of(replace(data, ratio_2d=0.0, pose_2d=()))
    assert alone.feature_dim == 0
    (batch,) = local_step_batches(alone, 0, 1)
    assert batch.pose.features.shape == (10, T, 0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pose_3d": ("open_3d/train",)}, "data.pose_3d names open_3d/train and windows.motion mo"),
        ({"window_length": 101}, "the longest clip 100; set data.window_length lower"),
    ],
)
def test_what_cannot_be_captured_is_refused(
    data: DataConfig, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        plan_of(replace(data, ratio_2d=0.0, **changes))


def test_motion_of_several_rates_is_refused(tmp_path: Path) -> None:
    root = noise.write_all(str(tmp_path))
    noise.write(root, "motion/fast", (50,), fps=30.0)
    config = DataConfig(root=root, pose_3d=(), pose_2d=(), ratio_2d=0.0)
    both = replace(AS_RECORDED, motion=("motion/train", "motion/fast"))
    with pytest.raises(ValueError, match="plays at 25, 30 frames per second: a step's windows"):
        plan_of(config, both)


def test_a_batch_without_a_3d_share_is_refused(data: DataConfig) -> None:
    with pytest.raises(
        ValueError, match=r"data\.ratio_2d is 1\.0 .*: no window is left for windows"
    ):
        plan_of(replace(data, ratio_2d=1.0))


def test_motion_that_is_not_there(data: DataConfig) -> None:
    with pytest.raises(FileNotFoundError, match=r"motion/absent .*python -m vibe_ray\.prepare"):
        plan_of(data, replace(AS_RECORDED, motion=("motion/absent",)))


def test_more_workers_than_windows_are_refused(data: DataConfig) -> None:
    with pytest.raises(ValueError, match=r"^11 workers for data\.batch_size 10 and data\.motion_b"):
        plan_of(data).share(0, 0, 11)
