from dataclasses import replace

import numpy as np
import pytest
import roma
import torch

from tests.fitting.motions import before_camera, captured, jumps, skeleton, squats, up_of
from vibe_ray.body.skeletons import SMPL_JOINTS
from vibe_ray.fitting.motion import Motion
from vibe_ray.fitting.world import (
    LEVEL,
    WorldSettings,
    calm_depth,
    moved,
    to_world,
    up_of_motion,
    up_of_tilt,
)
from vibe_ray.geometry.cameras import project_perspective

UP = up_of(12.0, 5.0)
PLACE = torch.tensor([0.3, -0.2, 6.0], dtype=torch.float64)


def pelvis(motion: Motion) -> torch.Tensor:
    return skeleton().joints(motion)[:, 0]


def found_up(seen: Motion) -> tuple[torch.Tensor, float, str]:
    return up_of_motion(seen, skeleton(), WorldSettings())


def degrees(a: torch.Tensor, b: torch.Tensor) -> float:
    return float(torch.rad2deg((a @ b / a.norm() / b.norm()).clamp(-1, 1).arccos()))


def test_a_known_up_brings_back_the_motion_but_for_where_it_began() -> None:
    true = jumps()
    world = to_world(before_camera(true, UP, PLACE), skeleton(), UP)

    joints, expected = skeleton().joints(world.motion), skeleton().joints(true)
    turn = roma.rotmat_to_rotvec(
        (joints[0] - joints[0, 0]).T @ torch.linalg.pinv((expected[0] - expected[0, 0]).T)
    )
    assert turn[[0, 2]].abs().max() < 1e-5  # about the vertical alone
    back = (expected - expected[:1, :1]) @ roma.rotvec_to_rotmat(turn).T
    back = back + joints[0, 0]
    torch.testing.assert_close(joints, back, atol=2e-5, rtol=0)

    first = joints[0]
    assert first[0, [0, 2]].abs().max() < 1e-6
    left, right = (first[SMPL_JOINTS.index(f"{side}_hip")] for side in ("left", "right"))
    assert (left - right)[2].abs() < 1e-6
    assert left[0] > right[0]


def test_the_floor_is_where_the_soles_are() -> None:
    world = to_world(before_camera(squats(), UP, PLACE), skeleton(), UP)
    lowest = skeleton().feet(world.motion)[..., 1] - skeleton().rest(squats().betas).above_sole
    assert lowest.flatten(1).amin(dim=1).abs().max() < 5e-3  # skin of the toes moves a little


def test_the_world_lies_on_the_picture() -> None:
    seen = before_camera(jumps(), UP, PLACE)
    world = to_world(seen, skeleton(), 3 * UP)
    back = moved(world.motion, world.camera_rotation, world.camera_transl, skeleton())
    torch.testing.assert_close(
        skeleton().keypoints(back), skeleton().keypoints(seen), atol=1e-5, rtol=0
    )
    points = skeleton().joints(world.motion) @ world.camera_rotation.T + world.camera_transl
    torch.testing.assert_close(points, skeleton().joints(seen), atol=1e-5, rtol=0)


def test_up_is_found_in_how_somebody_stands() -> None:
    seen = before_camera(captured("01/01_01", 0, 684), UP, PLACE)
    up, _, up_from = found_up(seen)
    assert degrees(up, UP) < 2.5
    assert up_from.startswith("the person, who stands in")


def test_who_bends_down_now_and_then_does_not_tilt_the_world() -> None:
    seen = before_camera(squats(), UP, PLACE)
    upright = found_up(seen)[0]
    rotmat = seen.rotmat.clone()
    bow = roma.rotvec_to_rotmat(torch.tensor([1.2, 0.0, 0.0]))
    rotmat[::4, SMPL_JOINTS.index("spine1")] = bow
    bowing = found_up(replace(seen, rotmat=rotmat))[0]
    assert degrees(bowing, upright) < 0.5


def test_a_long_way_over_the_floor_corrects_who_leans() -> None:
    """Somebody leans ahead by 8 degrees; on the spot it is taken for up, on a way it shows."""
    N = 150
    rotmat = torch.eye(3).repeat(N, 24, 1, 1)
    rotmat[:, 0] = roma.rotvec_to_rotmat(torch.tensor([np.deg2rad(8.0), 0.0, 0.0]))
    turn = torch.linspace(0, 2 * torch.pi, N, dtype=torch.float64)
    ring = torch.stack([turn.cos(), 0 * turn, turn.sin()], dim=1)
    times = torch.arange(N, dtype=torch.float64) / 25
    errors = []
    for radius in (0.0, 0.5, 2.0):
        motion = Motion(
            rotmat=rotmat, transl=(radius * ring).float(), betas=torch.zeros(10), times_s=times
        )
        seen = before_camera(motion, UP, PLACE)
        errors.append(degrees(found_up(seen)[0], UP))
    assert errors[0] > 5.0
    assert errors[0] > errors[1] > errors[2]
    assert errors[2] < 1.0


def test_nobody_stands_and_the_camera_is_taken_as_level() -> None:
    sitting = squats()
    rotmat = sitting.rotmat.clone()
    for side in ("left", "right"):
        for joint, angle in (("hip", -1.5), ("knee", 1.5)):
            turn = roma.rotvec_to_rotmat(torch.tensor([angle, 0.0, 0.0]))
            rotmat[:, SMPL_JOINTS.index(f"{side}_{joint}")] = turn
    seen = before_camera(replace(sitting, rotmat=rotmat), UP, PLACE)
    up, spread_deg, up_from = found_up(seen)
    assert degrees(up, torch.tensor(LEVEL, dtype=torch.float64)) < 0.5
    assert "nobody stands" in up_from
    assert np.isnan(spread_deg)


def test_tilt_is_the_cameras() -> None:
    """A camera that looks down sees up before it, nearer than level."""
    torch.testing.assert_close(up_of_tilt(0.0), torch.tensor(LEVEL, dtype=torch.float64))
    torch.testing.assert_close(up_of_tilt(90.0), torch.tensor([0.0, 0.0, -1.0]).double())
    pitch = roma.rotvec_to_rotmat(torch.tensor([np.deg2rad(20.0), 0.0, 0.0]))
    torch.testing.assert_close(up_of_tilt(-20.0), pitch.T @ torch.tensor(LEVEL).double())


def test_depth_jitter_goes_and_the_picture_stays() -> None:
    true = before_camera(jumps(), UP, PLACE)
    rng = np.random.default_rng(0)
    noise = 1 + 0.02 * torch.from_numpy(rng.normal(size=true.num_frames))
    noise[40:43] = 1.4  # a few frames in which half a person was taken for a whole one
    rest = skeleton().rest(true.betas).joints[0]
    shaken = replace(true, transl=((true.transl.double() + rest) * noise[:, None] - rest).float())
    calm = calm_depth(shaken, skeleton(), WorldSettings(sideways_period_s=0.0))

    off, was = (pelvis(m)[:, 2] - pelvis(true)[:, 2] for m in (calm, shaken))
    assert off.square().mean() < 0.05 * was.square().mean()
    assert off.abs().max() < 0.15
    assert (
        pelvis(calm)[:, 2].diff(n=2).abs().mean()
        < 0.05 * pelvis(shaken)[:, 2].diff(n=2).abs().mean()
    )
    center = torch.tensor([640.0, 360.0], dtype=torch.float64)
    torch.testing.assert_close(
        project_perspective(pelvis(calm)[:, None], 1000.0, center),
        project_perspective(pelvis(true)[:, None], 1000.0, center),
        atol=1e-3,
        rtol=0,
    )


def test_jitter_across_the_picture_goes_too() -> None:
    true = before_camera(jumps(), UP, PLACE)
    noise = 0.01 * torch.randn(true.num_frames, 2, generator=torch.Generator().manual_seed(0))
    transl = true.transl.clone()
    transl[:, :2] += noise
    settings = WorldSettings(depth_period_s=0.0)
    calm = calm_depth(replace(true, transl=transl), skeleton(), settings)
    off = (calm.transl - true.transl)[:, :2]
    assert off.square().mean() < 0.5 * noise.square().mean()
    assert off.diff(n=2, dim=0).square().mean() < 0.05 * noise.diff(n=2, dim=0).square().mean()


def test_steady_motion_in_depth_is_not_touched() -> None:
    N = 60
    times = torch.arange(N, dtype=torch.float64) / 25
    rest = skeleton().rest(torch.zeros(10)).joints[0]
    away = torch.stack([0 * times, 0 * times, 4 * torch.exp(0.2 * times)], dim=1) - rest
    motion = Motion(
        rotmat=torch.eye(3).expand(N, 24, 3, 3),
        transl=away.float(),
        betas=torch.zeros(10),
        times_s=times,
    )
    calm = calm_depth(motion, skeleton(), WorldSettings())
    torch.testing.assert_close(calm.transl, motion.transl, atol=1e-4, rtol=0)


def test_moving_a_motion_moves_every_point() -> None:
    motion = squats()
    turn, shift = roma.random_rotmat(1)[0].double(), torch.tensor([1.0, 2.0, 3.0]).double()
    torch.testing.assert_close(
        skeleton().keypoints(moved(motion, turn, shift, skeleton())),
        skeleton().keypoints(motion) @ turn.T + shift,
        atol=1e-5,
        rtol=0,
    )


def test_a_person_behind_the_camera_is_an_error() -> None:
    with pytest.raises(ValueError, match="behind the camera"):
        calm_depth(jumps(), skeleton(), WorldSettings())
    with pytest.raises(ValueError, match="behind the camera"):
        to_world(jumps(), skeleton(), UP)


def test_a_motion_with_holes_is_refused() -> None:
    motion = squats()
    with pytest.raises(ValueError, match="NaN"):
        replace(motion, transl=torch.full_like(motion.transl, torch.nan))
    with pytest.raises(ValueError, match="shapes"):
        replace(motion, betas=torch.zeros(90, 10))
