import roma
import torch
from torch import Tensor

from vibe_ray.fitting.leg_ik import LONGEST, Legs, reach, smallest_rotation

THIGH, SHANK = torch.tensor([0.03, -0.4, 0.01]).double(), torch.tensor([0.0, -0.43, -0.02]).double()


def legs(num: int = 500) -> Legs:
    """Random legs whose knees are bent by up to two radians, mostly as knees bend."""
    generator = torch.Generator().manual_seed(0)
    thigh = roma.rotvec_to_rotmat(torch.randn(num, 3, generator=generator).double())
    bend = torch.rand(num, 3, generator=generator).double() * torch.tensor([2.0, 0.2, 0.2])
    shank = thigh @ roma.rotvec_to_rotmat(bend)
    hip = torch.randn(num, 3, generator=generator).double()
    knee = hip + thigh @ THIGH
    return Legs(hip, knee, knee + shank @ SHANK, thigh, shank)


def ankles(hip: Tensor, thigh: Tensor, shank: Tensor) -> Tensor:
    """Forward kinematics, as the body does it."""
    return hip + thigh @ THIGH + shank @ SHANK


def test_a_leg_that_is_right_is_not_touched() -> None:
    given = legs()
    thigh, shank = reach(given, given.ankle)
    torch.testing.assert_close(thigh, given.thigh, atol=1e-6, rtol=0)
    torch.testing.assert_close(shank, given.shank, atol=1e-6, rtol=0)


def test_ankles_come_to_their_targets() -> None:
    given = legs()
    away = torch.randn(500, 3, generator=torch.Generator().manual_seed(1)).double()
    target = given.hip + (given.ankle - given.hip) * 0.9 + 0.1 * away
    longest = LONGEST * (THIGH.norm() + SHANK.norm())
    length = (target - given.hip).norm(dim=-1, keepdim=True)
    target = given.hip + (target - given.hip) * (longest / length).clamp(max=1)
    found = ankles(given.hip, *reach(given, target))
    within = (target - given.hip).norm(dim=-1) > 0.3  # no knee folds up flat
    torch.testing.assert_close(found[within], target[within], atol=1e-6, rtol=0)


def test_a_target_out_of_reach_is_pointed_at_with_a_leg_just_bent() -> None:
    given = legs()
    target = given.hip + 3 * torch.nn.functional.normalize(given.ankle - given.hip, dim=-1)
    found = ankles(given.hip, *reach(given, target)) - given.hip
    toward = target - given.hip
    assert torch.linalg.cross(found, toward).norm(dim=-1).max() < 1e-6
    length = THIGH.norm() + SHANK.norm()
    torch.testing.assert_close(found.norm(dim=-1), (LONGEST * length).expand(500))


def test_knees_go_on_pointing_where_they_pointed() -> None:
    """The foot is raised straight below the hip: the knee moves ahead, not aside or back."""
    thigh = roma.rotvec_to_rotmat(torch.tensor([[-0.2, 0.0, 0.0]]).double())
    shank = roma.rotvec_to_rotmat(torch.tensor([[0.2, 0.0, 0.0]]).double())
    hip = torch.zeros(1, 3).double()
    straight = torch.tensor([0.0, -0.4, 0.0]).double()
    knee = hip + thigh @ straight
    given = Legs(hip, knee, knee + shank @ straight, thigh, shank)
    raised = given.ankle + torch.tensor([0.0, 0.15, 0.0]).double()
    new_thigh, _ = reach(given, raised)
    new_knee = new_thigh @ straight
    assert new_knee[0, 2] > knee[0, 2] + 0.1
    assert new_knee[0, 0].abs() < 1e-9


def test_a_hip_that_comes_down_by_the_shortfall_just_reaches() -> None:
    given = legs()
    target = given.hip + torch.tensor([0.2, -1.1, 0.1]).double()
    short = given.shortfall(target)
    lowered = given.hip - short[:, None] * torch.tensor([0.0, 1.0, 0.0]).double()
    longest = LONGEST * (THIGH.norm() + SHANK.norm())
    torch.testing.assert_close((target - lowered).norm(dim=-1), longest.expand(500))


def test_the_smallest_rotation_turns_about_what_is_square_to_both() -> None:
    a, b = torch.randn(2, 100, 3, generator=torch.Generator().manual_seed(0)).double()
    turn = smallest_rotation(a, b)
    found = (turn @ a[..., None])[..., 0] / a.norm(dim=-1, keepdim=True)
    torch.testing.assert_close(found, b / b.norm(dim=-1, keepdim=True))
    angle = roma.rotmat_to_rotvec(turn).norm(dim=-1)
    cosine = torch.nn.functional.cosine_similarity(a, b)
    torch.testing.assert_close(angle.cos(), cosine)
    assert smallest_rotation(a, 2 * a).sub(torch.eye(3)).abs().max() < 1e-9
