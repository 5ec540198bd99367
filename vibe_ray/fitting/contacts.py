"""Which heels and toes are on the floor, and when?

A point of the foot touches the floor while it is low and slow. Two thresholds are used, as Canny's
edges have them: a contact must begin clearly, and then lasts while it is not clearly over. What
jitters is given more room by as much as it jitters.

Shapes: N frames, F = 2 feet, 4 = `CONTACTS`.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import label, percentile_filter
from torch import Tensor

from vibe_ray.fitting.motion import Motion, Skeleton
from vibe_ray.fitting.smoothing import smooth_track
from vibe_ray.geometry.arrays import Array

Mask = NDArray[np.bool_]

FLOOR_PERCENTILE = 10
CONTACTS = ("left_heel", "left_toes", "right_heel", "right_toes")


@dataclass(frozen=True, kw_only=True)
class ContactSettings:
    """When a point of the foot counts as on the floor."""

    max_height: float = 0.06
    """Meters above where it is when the foot stands flat."""
    max_speed: float = 0.3
    """Meters per second."""
    slack: float = 1.5
    """A contact lasts while height and speed are below so many times the above."""
    noise_room: float = 2.0
    """Both rise by so many times the point's own jitter, but at most to their double."""
    min_contact_s: float = 0.1
    """Shorter contacts are none."""
    max_gap_s: float = 0.08
    """Shorter interruptions are none."""
    floor_window_s: float = 2.0
    """The lower foot comes down to the floor about this often;"""
    max_floor_drift: float = 0.12
    """and by so many meters the floor may seem to rise or sink, as depth and tilt are not exact."""
    calm_period_s: float = 0.2
    """Faster movements of a point are its jitter."""


def contact_points(motion: Motion, skeleton: Skeleton) -> Tensor:
    """Return where heels and toes are (N, 4, 3), in height 0 when the foot stands flat.

    Args:
        motion: In the world, y up.
        skeleton: Of the body.
    """
    feet = skeleton.feet(motion)  # (N, F, 3, 3)
    feet[..., 1] -= skeleton.rest(motion.betas).above_sole
    return torch.stack([feet[:, :, 0], feet[:, :, 1:].mean(dim=2)], dim=2).flatten(1, 2)


def find_contacts(
    motion: Motion, skeleton: Skeleton, settings: ContactSettings | None = None
) -> Mask:
    """Find which of `CONTACTS` are on the floor in each frame (N, 4).

    Args:
        motion: In the world, y up, the floor at y = 0.
        skeleton: Of the body.
        settings: When a point counts as on the floor.
    """
    settings = settings or ContactSettings()
    points = contact_points(motion, skeleton).numpy()
    times = motion.times_s.numpy()
    if len(times) < 3:
        return np.asarray(points[..., 1] < settings.max_height)
    calm = smooth_track(
        points.reshape(len(times), -1), times, settings.calm_period_s, robust=False
    ).reshape(points.shape)
    speed = np.linalg.norm(np.gradient(calm, times, axis=0), axis=-1)
    jitter = np.median(np.linalg.norm(points - calm, axis=-1), axis=0)
    room = settings.noise_room * jitter
    height = settings.max_height + np.minimum(room, settings.max_height)
    fast = settings.max_speed + np.minimum(
        room * 2 * np.pi / settings.calm_period_s, settings.max_speed
    )
    above = calm[..., 1] - _seeming_floor(calm[..., 1], times, settings)
    clear = (above < height) & (speed < fast)
    possible = (above < settings.slack * height) & (speed < settings.slack * fast)
    contacts = _with_a_clear_frame(possible, clear)
    contacts = ~_lasting(~contacts, times, settings.max_gap_s)
    return _lasting(contacts, times, settings.min_contact_s)


def _seeming_floor(heights: Array, times: Array, settings: ContactSettings) -> Array:
    """Height (N, 1) at which the floor seems to be, from heights (N, 4) around each frame."""
    frames = round(settings.floor_window_s / float(np.median(np.diff(times))))
    size = max(1, min(frames, len(times)))
    lowest = percentile_filter(heights.min(axis=1), FLOOR_PERCENTILE, size, mode="nearest")
    drift = lowest.clip(-settings.max_floor_drift, settings.max_floor_drift)
    return np.asarray(drift[:, None])


def number_spans(mask: Mask) -> tuple[NDArray[np.intp], int]:
    """Number the spans of frames in which columns (N, any) are true.

    Returns:
        The number of the span from 1 on (N, any), 0 for none, and how many there are.
    """
    along_time = np.zeros((3, 3), int)
    along_time[:, 1] = 1
    numbers, count = label(mask, along_time)
    return numbers, int(count)


def _with_a_clear_frame(mask: Mask, clear: Mask) -> Mask:
    """Keep the spans that have at least one clear frame."""
    numbers, count = number_spans(mask)
    keep = np.zeros(count + 1, bool)
    keep[numbers[clear & mask]] = True
    return keep[numbers] & mask


def _lasting(mask: Mask, times: Array, least_s: float) -> Mask:
    """Keep the spans that last."""
    numbers, count = number_spans(mask)
    frame_s = np.broadcast_to(np.gradient(times)[:, None], mask.shape)
    lasts_s = np.bincount(numbers.ravel(), weights=frame_s.ravel(), minlength=count + 1)
    return (lasts_s >= least_s)[numbers] & mask
