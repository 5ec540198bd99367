from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.data import noise
from vibe_ray.body.model import BodyConfig
from vibe_ray.body.params import mirror_pose, pose_to_rotmat
from vibe_ray.body.skeletons import SMPL_JOINTS
from vibe_ray.data.batches import StepBatch, local_step_batches
from vibe_ray.data.mixing import DataConfig, StepPlan
from vibe_ray.data.reading import num_row_bytes, read_shares
from vibe_ray.data.schema import MotionSequence
from vibe_ray.data.shards import ShardWriter
from vibe_ray.data.synthetic.frames import (
    ARMS,
    LEGS,
    NOT_AUGMENTED,
    AugmentConfig,
    FramePool,
    FramesConfig,
    frame_plan,
    held_out_frames,
)

MakeMotion = Callable[..., MotionSequence]


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def distance_to_pool(pool: FramePool, rotmat: torch.Tensor) -> torch.Tensor:
    difference = (pool.rotmat[None] - rotmat[:, None]).flatten(2).abs().amax(dim=-1)
    return difference.amin(dim=1)


def test_pool_holds_every_frame_and_its_mirror_image(made_up_motion: MakeMotion) -> None:
    clip = made_up_motion("a", 30)
    pool = FramePool([clip], 25.0)
    pose = torch.from_numpy(clip.pose)
    expected = pose_to_rotmat(torch.cat([pose, mirror_pose(pose)]))
    torch.testing.assert_close(pool.rotmat, expected)


def test_without_variation_frames_come_from_the_pool(made_up_motion: MakeMotion) -> None:
    pool = FramePool([made_up_motion("a", 30), made_up_motion("b", 50, seed=1)], 25.0)
    drawn = pool.draw(200, NOT_AUGMENTED, seeded())
    assert distance_to_pool(pool, drawn).max() < 1e-5


def test_long_clips_count_as_the_root_of_their_length(made_up_motion: MakeMotion) -> None:
    short, long = made_up_motion("a", 25), made_up_motion("b", 400, seed=1)
    pool = FramePool([short, long], 25.0)
    drawn = pool.draw(3000, NOT_AUGMENTED, seeded())
    of_short = pool.rotmat[: 2 * len(short.pose)]
    difference = (of_short[None] - drawn[:, None]).flatten(2).abs().amax(dim=-1)
    from_short = difference.amin(dim=1) < 1e-5
    assert float(from_short.float().mean()) == pytest.approx(5 / (5 + 20), abs=0.03)


def test_limbs_are_mixed_with_other_frames(made_up_motion: MakeMotion) -> None:
    pool = FramePool([made_up_motion("a", 60)], 25.0)
    drawn = pool.draw(100, AugmentConfig(mix_arms=1.0, mix_legs=0.0, offset_rad=0.0), seeded())
    trunk = [i for i in range(len(SMPL_JOINTS)) if i not in ARMS]
    for joints in (trunk, ARMS):
        difference = (pool.rotmat[None][:, :, joints] - drawn[:, None][:, :, joints]).flatten(2)
        assert difference.abs().amax(dim=-1).amin(dim=1).max() < 1e-5
    assert distance_to_pool(pool, drawn).max() > 0.1
    assert not set(ARMS) & set(LEGS)


def test_offsets_are_small_rotations(made_up_motion: MakeMotion) -> None:
    pool = FramePool([made_up_motion("a", 60)], 25.0)
    drawn = pool.draw(100, AugmentConfig(mix_arms=0.0, mix_legs=0.0, offset_rad=0.05), seeded())
    identity = torch.eye(3).expand_as(drawn)
    torch.testing.assert_close(drawn @ drawn.mT, identity, atol=1e-5, rtol=0.0)
    assert 0 < distance_to_pool(pool, drawn).median() < 0.5


def test_no_motion_is_an_error() -> None:
    with pytest.raises(ValueError, match="no motion"):
        FramePool([], 25.0)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> DataConfig:
    """Motion, cut into several clips by the shards' writer, and held-out motion."""
    root = str(tmp_path_factory.mktemp("frames"))
    noise.write(root, "motion/train", (700, 30))
    noise.write(root, "motion/val", (40,))
    known = {"pose_2d": (), "pose_3d": (), "batch_size": 0, "motion_batch_size": 0}
    return DataConfig(root=root, validation="motion/val", **known)


FRAMES = FramesConfig(batch_size=13, validation_frames=9)


def plan_of(data: DataConfig, seed: int = 0, **changes: int) -> StepPlan:
    return frame_plan(data, replace(FRAMES, **changes), BodyConfig(), seed)


def numbers(batch: StepBatch) -> dict[str, torch.Tensor]:
    assert batch.detections is not None
    return vars(batch.pose) | vars(batch.detections)


def test_a_step_is_what_was_captured_of_all_frames_of_the_motion(data: DataConfig) -> None:
    clips = [noise.motion_sequence(f"motion/train/{i}", n, i) for i, n in enumerate((700, 30))]
    plan = plan_of(data)
    assert plan.captured is not None
    assert torch.equal(plan.captured.pool().rotmat, FramePool(clips, 25.0).rotmat)
    (batch,) = local_step_batches(plan, 4, 1)
    found, captured = numbers(batch), plan.captured.captured(4)
    for name in ("detected", "detected_conf", "box", "kp_2d", "kp_3d", "pose"):
        assert torch.equal(found[name], getattr(captured, name)), name
    assert torch.equal(found["image_size"], captured.image_size[:, None])
    assert torch.equal(found["betas"], captured.betas[:, None])
    assert torch.equal(found["has_smpl"].bool(), captured.has_box)
    assert torch.equal(found["has_kp_3d"].bool(), captured.has_box)
    assert torch.equal(found["kp_2d_conf"].amin(dim=-1), captured.kp_2d_conf)
    assert found["features"].shape == (13, 1, 0)
    assert len(batch.motion.pose) == 0


def test_frames_are_a_function_of_seed_and_step(data: DataConfig) -> None:
    def drawn(seed: int, step: int) -> torch.Tensor:
        (batch,) = local_step_batches(plan_of(data, seed), step, 1)
        return numbers(batch)["detected"]

    torch.rand(3)  # nothing that was drawn before matters
    assert torch.equal(drawn(0, 2), drawn(0, 2))
    assert not any(torch.equal(drawn(0, 2), drawn(*other)) for other in ((0, 3), (1, 2), (1, 3)))


@pytest.mark.parametrize("num_workers", [2, 3, 13])
def test_the_workers_frames_are_the_one_workers(data: DataConfig, num_workers: int) -> None:
    plan = plan_of(data)
    (alone,) = local_step_batches(plan, 1, 1)
    for rank in range(num_workers):
        (share,) = local_step_batches(plan, 1, 1, rank, num_workers)
        for name, values in numbers(share).items():
            assert torch.equal(values, numbers(alone)[name][rank::num_workers]), name


def test_rows_of_several_steps_and_their_size(data: DataConfig) -> None:
    plan = plan_of(data)
    table = read_shares(plan, [plan.share(step, 1, 2) for step in (5, 6)])
    assert table["num_windows"].to_pylist() == table["num_captured"].to_pylist() == [6, 6]
    binary = [name for name in table.column_names if str(table[name].type) == "large_binary"]
    size = sum(len(table[name][0].as_py()) for name in binary)
    whole = read_shares(plan, [plan.share(5, 0, 1)])
    assert num_row_bytes(plan, 1) == sum(len(whole[name][0].as_py()) for name in binary)
    assert 0 < size < num_row_bytes(plan, 1)


def test_more_workers_than_frames_are_refused(data: DataConfig) -> None:
    with pytest.raises(ValueError, match=r"^14 workers for frames\.batch_size 13: each worker ne"):
        plan_of(data).share(0, 0, 14)


def test_a_plan_of_frames_names_its_motion(data: DataConfig) -> None:
    plan = plan_of(data)
    assert list(plan.manifest_hashes) == ["motion[0]"]
    assert (plan.encoder_id, plan.feature_dim, plan.window_length) == ("", 0, 1)


def test_held_out_frames_are_always_the_same_and_not_varied(data: DataConfig) -> None:
    one, two = (held_out_frames(data, FRAMES, BodyConfig(), 0) for _ in range(2))
    assert all(torch.equal(value, vars(two)[name]) for name, value in vars(one).items())
    assert len(one.betas) == 9
    pool = FramePool([noise.motion_sequence("motion/val/0", 40)], 25.0)
    found = one.rotmat[:, 0, 1:]  # the camera turns the root
    difference = (pool.rotmat[None, :, 1:] - found[:, None]).flatten(2).abs().amax(dim=-1)
    assert difference.amin(dim=1).max() < 1e-5


def test_motion_that_is_not_finite_is_named(tmp_path: Path) -> None:
    bad = noise.motion_sequence("bad", 8)
    pose = bad.pose.copy()
    pose[3, 5] = np.nan
    with ShardWriter(f"{tmp_path}/motion/train", noise.header("motion/train")) as writer:
        writer.write(replace(bad, pose=pose))
    noise.write(str(tmp_path), "motion/val", (8,))
    known = {"batch_size": 0, "motion_batch_size": 0}
    plan = plan_of(DataConfig(root=str(tmp_path), validation="motion/val", **known))
    with pytest.raises(ValueError, match="pose of sequence 'bad' holds NaN or infinity"):
        read_shares(plan, [plan.share(0, 0, 1)])


@pytest.mark.parametrize("name", ["batch_size", "validation_frames", "fps"])
def test_senseless_settings_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match=rf"frames\.{name} is 0"):
        FramesConfig(**{name: 0})
