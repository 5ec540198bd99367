import numpy as np
import pytest
import roma
import torch
from torch import Tensor

from vibe_ray.fitting.smoothing import (
    SPEED_CUTOFF_HZ,
    smooth_rotations,
    smooth_track,
)

AXIS = torch.tensor([1.0, -2.0, 3.0], dtype=torch.float64) / 14**0.5


def spun(times: Tensor, speed: float) -> Tensor:
    """One joint that turns about a fixed axis at a constant speed (N, 1, 3, 3)."""
    return roma.rotvec_to_rotmat(AXIS * times[:, None] * speed)[:, None]


def degrees(a: Tensor, b: Tensor) -> Tensor:
    return torch.rad2deg(roma.rotmat_geodesic_distance(a, b))


def even(num: int, fps: float = 30.0) -> Tensor:
    return torch.arange(num, dtype=torch.float64) / fps


def low_pass_by_hand(values: np.ndarray, cutoff: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Casiez's exponential smoothing of (N, C), frame by frame; cut-offs (N - 1,) of the gaps."""
    out = [values[0]]
    for value, hz, gap in zip(values[1:], cutoff, np.diff(times), strict=True):
        alpha = 1 / (1 + 1 / (2 * np.pi * hz) / gap)
        out.append(alpha * value + (1 - alpha) * out[-1])
    return np.array(out)


def zero_phase_by_hand(values: np.ndarray, cutoff: np.ndarray, times: np.ndarray) -> np.ndarray:
    def mean(values: np.ndarray) -> np.ndarray:
        there = low_pass_by_hand(values, cutoff, times)
        return (there + low_pass_by_hand(values[::-1], cutoff[::-1], -times[::-1])[::-1]) / 2

    return mean(values) + mean(values - mean(values))


def test_small_turns_are_filtered_as_a_loop_over_frames_does() -> None:
    """About a fixed axis, and small, so that quaternions are as straight as angles."""
    rng, small = np.random.default_rng(0), 1e-4
    times = np.cumsum(rng.uniform(0.02, 0.06, 300))
    angles = rng.normal(size=(300, 2)).cumsum(axis=0)
    # Beyond the ends the signal goes on, reflected in its end points.
    long = np.concatenate([2 * angles[0] - angles[:0:-1], angles, 2 * angles[-1] - angles[-2::-1]])
    at = np.concatenate([2 * times[0] - times[:0:-1], times, 2 * times[-1] - times[-2::-1]])
    expected = np.empty_like(angles)
    for joint in range(2):
        velocity = np.diff(long[:, joint, None], axis=0) / np.diff(at)[:, None]
        calm = zero_phase_by_hand(velocity, np.full(len(at) - 2, SPEED_CUTOFF_HZ), at[1:])
        cutoff = 0.8 + 0.3 * np.abs(calm[:, 0])
        expected[:, joint] = zero_phase_by_hand(long[:, joint, None], cutoff, at)[299:599, 0]

    rotmat = roma.rotvec_to_rotmat(small * torch.tensor(angles)[..., None] * AXIS)
    smooth = smooth_rotations(rotmat, torch.tensor(times), min_cutoff=0.8, beta=0.3 / small)
    found = (roma.rotmat_to_rotvec(smooth) @ AXIS).numpy() / small
    # The speed's recursion starts over one gap fewer; and where it starts is long forgotten.
    np.testing.assert_allclose(found, expected, atol=2e-3)


@pytest.mark.parametrize("min_cutoff", [0.1, 1.0, 5.0])
def test_a_steady_turn_comes_out_as_it_went_in(min_cutoff: float) -> None:
    turn = spun(even(200), speed=4.0)  # four times round: quaternions change their sign
    smooth = smooth_rotations(turn, even(200), min_cutoff=min_cutoff, beta=0.5)
    assert degrees(smooth, turn).max() < 1e-4


def test_a_steady_turn_survives_an_unsteady_frame_rate() -> None:
    times = torch.tensor(np.cumsum(np.random.default_rng(1).uniform(0.02, 0.05, 300)))
    turn = spun(times, speed=2.0)
    assert degrees(smooth_rotations(turn, times, min_cutoff=1.0, beta=0.3), turn).max() < 0.02


def test_noise_is_taken_out_and_nothing_lags() -> None:
    times, rng = even(600), torch.Generator().manual_seed(0)
    swing = 0.8 * torch.sin(2 * torch.pi * 0.7 * times)
    true = roma.rotvec_to_rotmat(AXIS * swing[:, None])[:, None]
    noise = 0.05 * torch.randn(600, 1, 3, generator=rng, dtype=torch.float64)
    noisy = true @ roma.rotvec_to_rotmat(noise)
    smooth = smooth_rotations(noisy, times, min_cutoff=1.0, beta=0.3)
    assert degrees(smooth, true).mean() < 0.6 * degrees(noisy, true).mean()
    errors = [degrees(smooth[10 + k : 590 + k], true[10:590]).mean() for k in (-2, -1, 0, 1, 2)]
    assert int(np.argmin(errors)) == 2

    still = noisy.new_tensor(np.eye(3)) @ roma.rotvec_to_rotmat(noise)
    calm = smooth_rotations(still, times, min_cutoff=0.5, beta=0.2)
    assert degrees(calm, torch.eye(3).double()).mean() < 0.4 * degrees(still, torch.eye(3)).mean()


def test_the_sign_of_quaternions_does_not_matter() -> None:
    """Half a turn about y and back: axis-angle jumps there, and a filter on it would smear."""
    times = even(90)
    angle = torch.pi + 0.2 * torch.sin(3 * times)
    turn = roma.rotvec_to_rotmat(torch.stack([0 * angle, angle, 0 * angle], dim=1))[:, None]
    smooth = smooth_rotations(turn, times, min_cutoff=3.0, beta=1.0)
    assert degrees(smooth, turn).max() < 2.0


def test_joints_are_filtered_each_by_itself() -> None:
    rotmat = roma.random_rotmat(50).double()[:, None].repeat(1, 3, 1, 1)
    rotmat[:, 1] = torch.eye(3)
    smooth = smooth_rotations(rotmat, even(50), min_cutoff=1.0, beta=0.1)
    alone = smooth_rotations(rotmat[:, :1], even(50), min_cutoff=1.0, beta=0.1)
    torch.testing.assert_close(smooth[:, 2:], alone)
    torch.testing.assert_close(smooth[:, 1], rotmat[:, 1])


@pytest.mark.parametrize("num", [0, 1, 2])
def test_a_track_too_short_to_be_smoothed_stays(num: int) -> None:
    rotmat = roma.random_rotmat(2 * num).reshape(num, 2, 3, 3)
    assert smooth_rotations(rotmat, even(num), min_cutoff=1.0, beta=0.0).equal(rotmat)


def test_what_cannot_be_smoothed_is_refused() -> None:
    rotmat = spun(even(5), 1.0)
    with pytest.raises(ValueError, match="do not rise"):
        smooth_rotations(rotmat, torch.zeros(5), min_cutoff=1.0, beta=0.0)
    with pytest.raises(ValueError, match="timestamps for 5 frames"):
        smooth_rotations(rotmat, even(4), min_cutoff=1.0, beta=0.0)
    with pytest.raises(ValueError, match="min_cutoff is 0"):
        smooth_rotations(rotmat, even(5), min_cutoff=0, beta=0.0)
    with pytest.raises(ValueError, match="NaN"):
        smooth_rotations(rotmat * torch.nan, even(5), min_cutoff=1.0, beta=0.0)


def test_the_calm_curve_is_the_least_of_its_integral() -> None:
    """Against the same quadratic form written out as dense matrices."""
    rng = np.random.default_rng(0)
    times, values = np.cumsum(rng.uniform(0.02, 0.06, 40)), rng.normal(size=(40, 2))
    weights = rng.uniform(0, 1, 40)
    gap = np.diff(times)
    second = np.zeros((38, 40))
    for i in range(38):
        slope = np.zeros((2, 40))
        slope[0, [i, i + 1]] = np.array([-1, 1]) / gap[i]
        slope[1, [i + 1, i + 2]] = np.array([-1, 1]) / gap[i + 1]
        second[i] = (slope[1] - slope[0]) / ((gap[i] + gap[i + 1]) / 2)
    integral = second.T @ np.diag((gap[1:] + gap[:-1]) / 2) @ second
    near = np.diag(weights * np.gradient(times))
    expected = np.linalg.solve(near + (0.7 / (2 * np.pi)) ** 4 * integral, near @ values)
    found = smooth_track(values, times, 0.7, weights, robust=False)
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_the_calm_curve_keeps_lines_halves_its_period_and_forgets_outliers() -> None:
    times = np.arange(3000) / 30
    line = np.stack([2 * times + 1, -times], axis=1)
    np.testing.assert_allclose(smooth_track(line, times, 2.0, robust=True), line, atol=1e-6)
    sine = np.sin(2 * np.pi * times / 1.5)[:, None]
    assert np.abs(smooth_track(sine, times, 1.5, robust=False)[1000:2000]).max() == pytest.approx(
        0.5, abs=0.01
    )
    spoiled = line + 0.01 * np.random.default_rng(0).normal(size=line.shape)
    spoiled[500:505] += 3.0
    off = np.abs(smooth_track(spoiled, times, 1.0, robust=True) - line)
    assert off.max() < 0.02
