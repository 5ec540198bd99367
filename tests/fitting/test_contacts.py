from dataclasses import replace

import numpy as np
import pytest
import roma
import torch

from tests.fitting.motions import FPS, captured, skeleton, squats
from vibe_ray.body.skeletons import SMPL_JOINTS
from vibe_ray.fitting.contacts import (
    CONTACTS,
    ContactSettings,
    contact_points,
    find_contacts,
    number_spans,
)
from vibe_ray.fitting.motion import Motion


def hops(num: int = 120) -> tuple[Motion, np.ndarray]:
    """Stands for half a second, hops for half a second, and so on; with when it is in the air."""
    motion = squats(num)
    phase = (np.arange(num) / FPS) % 1.0
    height = np.where(phase < 0.5, 0.0, 0.25 * np.sin(2 * np.pi * (phase - 0.5)))
    transl = motion.transl.clone()
    transl[:, 1] += torch.from_numpy(height).float()
    return replace(motion, transl=transl), height > 0


def shaken(motion: Motion, meters: float) -> Motion:
    noise = torch.randn(motion.num_frames, 3, generator=torch.Generator().manual_seed(0))
    return replace(motion, transl=motion.transl + meters * noise)


def test_feet_that_stand_are_in_contact_and_flat_ones_have_height_zero() -> None:
    assert find_contacts(squats(), skeleton()).all()
    assert contact_points(squats(), skeleton())[..., 1].abs().max() < 1e-4


@pytest.mark.parametrize("noise", [0.0, 0.005])
def test_hops_are_found_to_a_few_frames(noise: float) -> None:
    motion, in_air = hops()
    contacts = find_contacts(shaken(motion, noise), skeleton())
    for column, name in enumerate(CONTACTS):
        wrong = np.mean(contacts[:, column] == in_air)
        assert wrong < 0.12, name
    _, count = number_spans(contacts)
    assert count == 4 * 4


def test_a_lifted_foot_is_not_in_contact_and_a_lifted_heel_leaves_the_toes() -> None:
    motion = squats()
    rotmat = motion.rotmat.clone()
    bend = roma.rotvec_to_rotmat(torch.tensor([1.5, 0.0, 0.0]))
    rotmat[40:60, SMPL_JOINTS.index("left_knee")] = bend
    rotmat[:, SMPL_JOINTS.index("right_ankle")] @= roma.rotvec_to_rotmat(torch.tensor([0.4, 0, 0]))
    lifted = replace(motion, rotmat=rotmat)
    lowest = contact_points(lifted, skeleton())[0, 3, 1]
    lifted = replace(lifted, transl=lifted.transl - lowest * torch.tensor([0.0, 1.0, 0.0]))
    contacts = find_contacts(lifted, skeleton())
    assert not contacts[43:57, :2].any()
    assert contacts[:, 3].all()
    assert not contacts[:, 2].any()


def test_a_foot_that_slides_low_over_the_floor_is_not_in_contact() -> None:
    motion = squats()
    transl = motion.transl.clone()
    transl[:, 2] += 0.8 * motion.times_s.float()
    assert not find_contacts(replace(motion, transl=transl), skeleton()).any()
    slow = motion.transl.clone()
    slow[:, 2] += 0.05 * motion.times_s.float()
    assert find_contacts(replace(motion, transl=slow), skeleton()).all()


def test_between_the_thresholds_a_contact_goes_on_but_does_not_begin() -> None:
    motion = squats()
    settings = ContactSettings(max_height=0.04, slack=2.0, max_floor_drift=0.0)
    raised = motion.transl.clone()
    raised[:, 1] += 0.06
    assert not find_contacts(replace(motion, transl=raised), skeleton(), settings).any()
    raised[:30] = motion.transl[:30]
    raised[30:45] = motion.transl[30:45] + torch.linspace(0, 1, 15)[:, None] * torch.tensor(
        [0.0, 0.06, 0.0]
    )
    assert find_contacts(replace(motion, transl=raised), skeleton(), settings).all()


def test_who_jumps_is_on_the_floor_with_both_feet_or_none() -> None:
    motion = captured("01/01_01", 0, 684)
    on_floor = find_contacts(motion, skeleton()).any(axis=1)
    height = contact_points(motion, skeleton())[..., 1].amin(dim=1).numpy()
    assert not on_floor[height > 0.07].any()
    assert on_floor[height < 0.03].mean() > 0.9
    _, num_landings = number_spans(on_floor[:, None])
    assert num_landings == number_spans(height[:, None] < 0.05)[1] > 5


def test_a_floor_that_seems_to_rise_is_followed_so_far() -> None:
    """Depth and tilt are not exact: somebody who walks away climbs a slope that is not there."""
    motion = squats(120)
    transl = motion.transl.clone()
    transl[:, 1] += torch.linspace(0.0, 0.1, 120)
    climbing = replace(motion, transl=transl)
    assert find_contacts(climbing, skeleton()).mean() > 0.95
    rigid = find_contacts(climbing, skeleton(), ContactSettings(max_floor_drift=0.0))
    assert rigid[-10:].mean() == 0.0
    transl[:, 1] += 0.5
    assert not find_contacts(replace(motion, transl=transl), skeleton()).any()


def test_spans_are_numbered_column_by_column() -> None:
    mask = np.array([[1, 0], [1, 1], [0, 1], [1, 0]], bool)
    numbers, count = number_spans(mask)
    assert count == 3
    assert numbers.tolist() == [[1, 0], [1, 2], [0, 2], [3, 0]]


def test_two_frames_are_judged_by_height() -> None:
    motion = squats(2)
    assert find_contacts(motion, skeleton()).all()
    raised = replace(motion, transl=motion.transl + torch.tensor([0.0, 1.0, 0.0]))
    assert not find_contacts(raised, skeleton()).any()
