from dataclasses import replace

import numpy as np
import pytest
import roma
import torch

from tests.fitting.motions import FPS, captured, jumps, skeleton, squats
from vibe_ray.body.mesh import BodyModel
from vibe_ray.fitting.contacts import contact_points, find_contacts
from vibe_ray.fitting.foot_lock import lock_feet
from vibe_ray.fitting.motion import Motion
from vibe_ray.fitting.smoothing import smooth_rotations, smooth_track


def estimated(motion: Motion) -> Motion:
    """A motion as a network might give it: noise of two degrees and a centimeter, then smoothed."""
    generator = torch.Generator().manual_seed(0)
    turn = 0.03 * torch.randn(motion.num_frames, 24, 3, generator=generator)
    shift = 0.01 * torch.randn(motion.num_frames, 3, generator=generator)
    rotmat = motion.rotmat @ roma.rotvec_to_rotmat(turn)
    drift = 0.15 * torch.sin(2 * motion.times_s.float())  # of a depth that is not quite known
    transl = motion.transl + shift + torch.stack([0 * drift, 0 * drift, drift], dim=1)
    calm = smooth_track(transl.numpy(), motion.times_s.numpy(), 0.4, robust=False)
    return replace(
        motion,
        rotmat=smooth_rotations(rotmat, motion.times_s, min_cutoff=1.5, beta=0.5),
        transl=torch.from_numpy(calm).float(),
    )


def slide_cm_s(motion: Motion, contacts: np.ndarray) -> np.ndarray:
    """Speeds over the floor of heels and toes that are in contact in two frames in a row."""
    level = contact_points(motion, skeleton()).numpy()[..., [0, 2]]
    speed = 100 * FPS * np.linalg.norm(np.diff(level, axis=0), axis=-1)
    return np.asarray(speed[contacts[1:] & contacts[:-1]])


def deepest_cm(motion: Motion) -> float:
    """How far the skin, all of it, is below the floor."""
    mesh = BodyModel(skeleton().arrays)
    with torch.no_grad():
        verts = mesh(motion.betas.expand(motion.num_frames, -1), motion.rotmat).verts
    return float(-100 * (verts + motion.transl[:, None])[..., 1].min())


def acceleration(motion: Motion) -> float:
    return float(skeleton().joints(motion).diff(n=2, dim=0).norm(dim=-1).mean())


def test_feet_that_stand_still_already_are_left_alone() -> None:
    motion = squats()
    locked = lock_feet(motion, find_contacts(motion, skeleton()), skeleton())
    moved = (skeleton().keypoints(locked) - skeleton().keypoints(motion)).norm(dim=-1)
    assert moved.max() < 1e-3


def test_without_contact_high_in_the_air_nothing_changes() -> None:
    motion = jumps()
    motion = replace(motion, transl=motion.transl + torch.tensor([0.0, 1.0, 0.0]))
    locked = lock_feet(motion, np.zeros((120, 4), bool), skeleton())
    torch.testing.assert_close(locked.rotmat, motion.rotmat, atol=2e-5, rtol=0)
    torch.testing.assert_close(locked.transl, motion.transl)


@pytest.mark.parametrize("name", ["01/01_01", "01/01_03_part06"])
def test_slide_and_depth_stay_within_bounds(name: str) -> None:
    seen = estimated(captured(name, 0, 290))
    contacts = find_contacts(seen, skeleton())
    assert slide_cm_s(seen, contacts).mean() > 10
    locked = lock_feet(seen, contacts, skeleton())
    assert slide_cm_s(locked, contacts).max() < 1.0
    assert deepest_cm(locked) < 2.0
    assert acceleration(locked) < 1.02 * acceleration(seen)


def test_a_planted_slide_is_taken_out_of_the_path() -> None:
    """The camera let somebody who stands drift: the whole body comes back, and no leg bends."""
    true = squats(180)
    drift = 0.3 * torch.sin(true.times_s.float())
    seen = replace(true, transl=true.transl + torch.stack([drift, 0 * drift, -drift], dim=1))
    locked = lock_feet(seen, np.ones((180, 4), bool), skeleton())
    joints, expected = skeleton().joints(locked), skeleton().joints(true)
    offset = (joints - expected).mean(dim=(0, 1))
    assert (joints - expected - offset).norm(dim=-1).max() < 0.01


def test_the_body_above_the_legs_keeps_its_pose() -> None:
    seen = estimated(jumps())
    locked = lock_feet(seen, find_contacts(seen, skeleton()), skeleton())
    legs = [1, 2, 4, 5, 7, 8, 10, 11]
    rest = [joint for joint in range(24) if joint not in legs]
    assert locked.rotmat[:, rest].equal(seen.rotmat[:, rest])
    identity = locked.rotmat @ locked.rotmat.mT
    torch.testing.assert_close(identity, torch.eye(3).expand_as(identity), atol=1e-5, rtol=0)


def test_a_foot_pushed_into_the_floor_comes_up() -> None:
    motion = squats()
    sunk = replace(motion, transl=motion.transl - torch.tensor([0.0, 0.1, 0.0]))
    assert deepest_cm(sunk) > 9
    for contacts in (np.zeros((90, 4), bool), np.ones((90, 4), bool)):
        assert deepest_cm(lock_feet(sunk, contacts, skeleton())) < 0.5


def test_contacts_of_other_frames_are_refused() -> None:
    with pytest.raises(ValueError, match=r"shape \(3, 4\) for 90 frames"):
        lock_feet(squats(), np.zeros((3, 4), bool), skeleton())
