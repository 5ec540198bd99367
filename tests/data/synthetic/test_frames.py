from collections.abc import Callable

import pytest
import torch

from vibe_ray.body.params import mirror_pose, pose_to_rotmat
from vibe_ray.body.skeletons import SMPL_JOINTS
from vibe_ray.data.schema import MotionSequence
from vibe_ray.data.synthetic.frames import ARMS, LEGS, NOT_AUGMENTED, AugmentConfig, FramePool

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
