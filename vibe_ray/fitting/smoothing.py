"""How is jitter taken out of a motion without making it late or small?

The one-euro filter (Casiez et al. 2012) is a low-pass whose cut-off rises with speed: calm where
somebody stands, loose where they move. It runs here in both directions, and the two answers are
averaged, so that nothing lags. `smooth_track` is for what is known to be slow but has outliers.
Time is in timestamps, so frame rates may vary.

Shapes: N frames, J joints, C channels.
"""

from typing import Any

import numpy as np
import roma
import torch
from scipy.linalg import solve_banded, solveh_banded
from torch import Tensor

from vibe_ray.geometry.arrays import Array

SPEED_CUTOFF_HZ = 1.0
"""Of the low-pass on the velocity from which a cut-off is made, as the filter's authors advise."""
ROTATIONS_AT_ONCE = 2**15
"""That are filtered together, as many joints as that; a filter holds ten copies of them."""
NUM_TIME_CONSTANTS = 12
"""By so many a signal is continued beyond its ends, where a recursion starts knowing nothing."""
OUTLIER_SPREADS = 2.0
ROBUST_ROUNDS = 5


def smooth_rotations(rotmat: Tensor, times_s: Tensor, *, min_cutoff: float, beta: float) -> Tensor:
    """Filter rotations (N, J, 3, 3) over time, joint by joint.

    Quaternions, turned to one hemisphere, are filtered and normalized. So a rotation of constant
    speed about a fixed axis comes out as it went in.

    Args:
        rotmat: Rotations.
        times_s: Timestamps (N,), rising.
        min_cutoff: Cut-off in Hz of a joint at rest.
        beta: Hz by which the cut-off rises for each radian per second.

    Raises:
        ValueError: Times do not rise, a setting is out of range, or a number is not finite.
    """
    times = _checked(rotmat, times_s, min_cutoff, beta)
    if len(times) < 3:
        return rotmat.clone()
    smooth = torch.empty_like(rotmat)
    at_once = max(1, ROTATIONS_AT_ONCE // len(times))
    for some, out in zip(rotmat.split(at_once, 1), smooth.split(at_once, 1), strict=True):
        out[:] = _smoothed(some, times, min_cutoff, beta)
    return smooth


def _smoothed(rotmat: Tensor, times: Array, min_cutoff: float, beta: float) -> Tensor:
    """Filter rotations (N, J, 3, 3) of some joints."""
    quat = roma.rotmat_to_unitquat(rotmat.double()).numpy()
    quat = _extended(_continuous(quat), times, min_cutoff, _reflected_quat)
    times = _extended_times(times, min_cutoff)
    ahead = _times_inverse(quat[1:], quat[:-1])  # what turns a frame into the next
    velocity = 2 * ahead[..., :3] / np.diff(times)[:, None, None]
    smooth = _one_euro(quat, velocity, times, min_cutoff, beta)
    smooth = _middle(smooth, len(rotmat))
    smooth /= np.linalg.norm(smooth, axis=-1, keepdims=True)
    return roma.unitquat_to_rotmat(torch.from_numpy(smooth)).to(rotmat)


def smooth_track(
    values: Array, times_s: Array, period_s: float, weights: Array | None = None, *, robust: bool
) -> Array:
    """Draw the calm curve through values (N, C): Whittaker's smoother.

    It minimizes the integral of weighted squared distances and of squared second derivatives. A
    sine of the given period keeps half its size, slower ones more; straight lines stay as they are.

    Args:
        values: What was measured.
        times_s: Timestamps (N,), rising.
        period_s: Sets how calm.
        weights: How much each frame counts (N,), 0 for what is to be filled in; None for all alike.
        robust: Believe less, in several rounds, what is far from the curve (Cauchy's weights).

    Returns:
        The curve (N, C), float64.
    """
    values, times = np.asarray(values, np.float64), np.asarray(times_s, np.float64)
    given = np.ones(len(values)) if weights is None else np.asarray(weights, np.float64)
    if len(values) < 3:
        return values.copy()
    stiffness = stiffness_bands(times, (period_s / (2 * np.pi)) ** 4)
    step = frame_seconds(times)
    curve, belief = values, given
    for _ in range(ROBUST_ROUNDS if robust else 1):
        banded = stiffness.copy()
        banded[2] += belief * step + 1e-12
        curve = solveh_banded(banded, (belief * step)[:, None] * values)
        missed = np.linalg.norm(values - curve, axis=1)
        spread = np.median(missed[given > 0]) if (given > 0).any() else 0.0
        belief = given / (1 + (missed / max(OUTLIER_SPREADS * spread, 1e-9)) ** 2)
    return np.asarray(curve)


def frame_seconds(times_s: Array) -> Array:
    """Return how long each frame stands for (N,): one alone for a second, as it has no neighbor."""
    return np.gradient(times_s) if len(times_s) > 1 else np.ones(len(times_s))


def check_times(times_s: Tensor, num_frames: int) -> Array:
    """Return timestamps (N,) as float64.

    Raises:
        ValueError: They are not as many as the frames, or do not rise.
    """
    times: Array = times_s.double().numpy()
    if times.shape != (num_frames,):
        raise ValueError(f"{times.shape} timestamps for {num_frames} frames")
    if not np.isfinite(times).all() or (np.diff(times) <= 0).any():
        raise ValueError("timestamps do not rise from frame to frame: sort them, drop doubles")
    return times


def _checked(values: Tensor, times_s: Tensor, min_cutoff: float, beta: float) -> Array:
    if not (0 < min_cutoff < float("inf") and 0 <= beta < float("inf")):
        raise ValueError(
            f"min_cutoff is {min_cutoff} Hz and beta {beta}: expected more than 0, and 0 or more"
        )
    if not values.isfinite().all():
        raise ValueError("values to be smoothed hold NaN or infinity")
    return check_times(times_s, len(values))


def _one_euro(
    values: Array, velocity: Array, times: Array, min_cutoff: float, beta: float
) -> Array:
    """Filter values (N, J, C) by the speed of their velocity (N - 1, J, any) between frames."""
    gaps = np.diff(times)[:, None]
    speed_cutoff = np.full((len(velocity) - 1, velocity.shape[1]), SPEED_CUTOFF_HZ)
    calm = _zero_phase(velocity, speed_cutoff, gaps[1:])
    cutoff = min_cutoff + beta * np.linalg.norm(calm, axis=-1)
    return _zero_phase(values, cutoff, gaps)


def _zero_phase(values: Array, cutoff: Array, gaps: Array) -> Array:
    """Low-pass forward and backward, twice; cut-offs (N - 1, J) belong to the gaps (N - 1, 1)."""
    keep = 1 / (1 + 2 * np.pi * cutoff * gaps)  # of the frame before
    once = _both_ways(values, keep)
    return once + _both_ways(values - once, keep)


def _both_ways(values: Array, keep: Array) -> Array:
    back = _low_pass(values[::-1], keep[::-1])[::-1]
    return (_low_pass(values, keep) + back) / 2


def _low_pass(values: Array, keep: Array) -> Array:
    """Run y[n] = keep[n] y[n-1] + (1 - keep[n]) x[n] over frames.

    It is a bidiagonal system of equations, so LAPACK runs it: all joints in one, end to end.
    """
    N, J, C = values.shape
    keep = np.concatenate([np.zeros((1, J)), keep]).T.flatten()  # nothing goes from joint to joint
    banded = np.stack([np.ones(N * J), -np.append(keep[1:], 0.0)])
    right = values.transpose(1, 0, 2).reshape(N * J, C) * (1 - keep)[:, None]
    answer = solve_banded((1, 0), banded, right, overwrite_b=True, check_finite=False)
    return np.asarray(answer).reshape(J, N, C).transpose(1, 0, 2)


def _num_beyond(times: Array, cutoff: float) -> int:
    """Frames by which a signal is continued at either end."""
    wanted = NUM_TIME_CONSTANTS / (2 * np.pi * min(cutoff, SPEED_CUTOFF_HZ))
    return int(min(len(times) - 1, np.ceil(wanted / np.median(np.diff(times)))))


def _extended_times(times: Array, cutoff: float) -> Array:
    return np.asarray(_extended(times, times, cutoff, _reflected_point))


def _extended(values: Array, times: Array, cutoff: float, reflected: Any) -> Array:
    """Continue beyond both ends by the signal itself, reflected in its end points."""
    num = _num_beyond(times, cutoff)
    before = reflected(values[num:0:-1], values[:1])
    after = reflected(values[-2 : -num - 2 : -1], values[-1:])
    return np.concatenate([before, values, after])


def _middle(values: Array, num: int) -> Array:
    beyond = (len(values) - num) // 2
    return values[beyond : beyond + num]


def _reflected_point(values: Array, at: Array) -> Array:
    return 2 * at - values


def _reflected_quat(quat: Array, at: Array) -> Array:
    """Reflect rotations in one: what was turned by an amount after it was turned so before it."""
    return _product(_times_inverse(at, quat), np.broadcast_to(at, quat.shape).copy())


def _continuous(quat: Array) -> Array:
    """Give quaternions (N, J, 4) the signs with which each is next to the one before."""
    sign = np.where((quat[1:] * quat[:-1]).sum(axis=-1, keepdims=True) < 0, -1.0, 1.0)
    return quat * np.concatenate([np.ones_like(quat[:1, :, :1]), np.cumprod(sign, axis=0)])


def _times_inverse(a: Array, b: Array) -> Array:
    """Hamilton product of a and the inverse of b, (..., 4) with the real part last."""
    return _product(a, b * np.array([-1.0, -1.0, -1.0, 1.0]))


def _product(a: Array, b: Array) -> Array:
    product = roma.quat_product(
        torch.from_numpy(np.ascontiguousarray(a)), torch.from_numpy(np.ascontiguousarray(b))
    )
    return np.asarray(product)


def stiffness_bands(times: Array, size: float) -> Array:
    """Upper bands (3, N) of the matrix whose form is `size` times the integral of x''^2."""
    gap = np.diff(times)
    width = (gap[1:] + gap[:-1]) / 2
    left, right = 1 / (gap[:-1] * width), 1 / (gap[1:] * width)
    middle = -(left + right)
    weight = size * width
    bands = np.zeros((3, len(times)))
    bands[2, :-2] += weight * left**2
    bands[2, 1:-1] += weight * middle**2
    bands[2, 2:] += weight * right**2
    bands[1, 1:-1] += weight * left * middle
    bands[1, 2:] += weight * middle * right
    bands[0, 2:] = weight * left * right
    return bands
