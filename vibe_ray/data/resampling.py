"""How is motion recorded at one frame rate played at another? By timestamp, never by stride.

An integer stride cannot reach most rates (120 / 25 is 4.8; VIBE's own script lands on 30), and
"real" motion at mixed rates lets a discriminator tell real from fake by speed alone.

Shapes: N source frames, T frames at the rate asked for, J joints, P = 3 J pose numbers, C channels.
"""

import numpy as np
from scipy.spatial.transform import Rotation

_ROUNDING = 1e-3
"""The last frame is kept though it lies this fraction of a frame behind the recording's end: files
write a frame time such as 0.0083333 for 1/120."""


def frame_times(num_frames: int, fps: float) -> np.ndarray:
    """Seconds (N,) at which the frames of a recording of constant rate were taken."""
    _check_rate(fps)
    return np.arange(num_frames) / fps


def playback_times(duration: float, fps: float) -> np.ndarray:
    """Seconds (T,) of the frames that play `duration` seconds at `fps`, first and last included."""
    _check_rate(fps)
    times = np.arange(int(duration * fps + _ROUNDING) + 1) / fps
    return np.minimum(times, duration)


def nearest_frames(source_times: np.ndarray, fps: float) -> np.ndarray:
    """Number the frames (T,) that come nearest to playing at a rate; none is taken twice.

    Args:
        source_times: (N,) seconds, increasing, when the frames were taken.
        fps: The rate.
    """
    wanted = source_times[0] + playback_times(float(source_times[-1] - source_times[0]), fps)
    after = np.searchsorted(source_times, wanted).clip(1, max(len(source_times) - 1, 1))
    is_before = wanted - source_times[after - 1] <= source_times[after % len(source_times)] - wanted
    return np.unique(np.where(is_before, after - 1, after).clip(max=len(source_times) - 1))


def resample_rotations(
    axis_angle: np.ndarray, source_times: np.ndarray, times: np.ndarray
) -> np.ndarray:
    """Spherical linear interpolation of joint rotations.

    Args:
        axis_angle: (N, P) joints' rotations in radians, three numbers a joint.
        source_times: (N,) seconds, increasing, when they were taken.
        times: (T,) seconds at which they are wanted, within those of the source.

    Returns:
        (T, P) in the dtype of `axis_angle`, each joint's angle in [0, pi].

    Raises:
        ValueError: Times that do not fit the frames, do not increase or lie outside the recording.
    """
    before, after, fraction = _neighbors(len(axis_angle), source_times, times)
    num_frames, num_numbers = len(times), axis_angle.shape[1]
    joints = axis_angle.reshape(len(axis_angle), -1, 3)  # (N, J, 3)
    start = Rotation.from_rotvec(joints[before].reshape(-1, 3))
    end = Rotation.from_rotvec(joints[after].reshape(-1, 3))
    turn = (start.inv() * end).as_rotvec()  # the shortest way, angle in [0, pi]
    weight = np.repeat(fraction, joints.shape[1])[:, None]
    between = (start * Rotation.from_rotvec(weight * turn)).as_rotvec()
    return between.reshape(num_frames, num_numbers).astype(axis_angle.dtype)


def resample_positions(
    positions: np.ndarray, source_times: np.ndarray, times: np.ndarray
) -> np.ndarray:
    """Linear interpolation of (N, C) positions to (T, C); times as in `resample_rotations`."""
    before, after, fraction = _neighbors(len(positions), source_times, times)
    start, end = positions[before], positions[after]
    return (start + fraction[:, None] * (end - start)).astype(positions.dtype)


def resample_motion(
    pose: np.ndarray, trans: np.ndarray, source_fps: float, fps: float
) -> tuple[np.ndarray, np.ndarray]:
    """Play pose (N, P) and translation (N, 3) recorded at `source_fps` at `fps`.

    Returns:
        Pose (T, P) and translation (T, 3); the first frame stays the first, the duration is kept
        to within a frame.

    Raises:
        ValueError: No frames, or a rate that is not a positive number.
    """
    if source_fps == fps:
        return pose, trans
    source_times = frame_times(len(pose), source_fps)
    times = playback_times(source_times[-1] if len(pose) else 0.0, fps)
    return (
        resample_rotations(pose, source_times, times),
        resample_positions(trans, source_times, times),
    )


def _neighbors(
    num_frames: int, source_times: np.ndarray, times: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Frame before, frame after and the fraction in between (T,), for each wanted time."""
    if num_frames == 0 or len(source_times) != num_frames:
        raise ValueError(f"{num_frames} frames with {len(source_times)} times: expected as many")
    if not np.all(np.diff(source_times) > 0):
        raise ValueError("the times of the source's frames do not increase from frame to frame")
    if len(times) and (times[0] < source_times[0] or times[-1] > source_times[-1]):
        raise ValueError(
            f"times {times[0]:.3f} to {times[-1]:.3f} s wanted of a recording that has "
            f"{source_times[0]:.3f} to {source_times[-1]:.3f} s"
        )
    position = np.interp(times, source_times, np.arange(num_frames))  # in frames of the source
    before = np.minimum(position.astype(np.intp), max(num_frames - 2, 0))
    after = np.minimum(before + 1, num_frames - 1)
    return before, after, position - before


def _check_rate(fps: float) -> None:
    if not (np.isfinite(fps) and fps > 0):
        raise ValueError(f"frame rate {fps}: expected a positive number of frames per second")
