"""How good is a motion, when nobody knows the true one? What can be said without it, and in words.

Shapes: N frames.
"""

import math
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from vibe_ray.fitting.contacts import Mask, contact_points
from vibe_ray.fitting.motion import Motion, Skeleton
from vibe_ray.fitting.observation import Observation, reprojection

CM_PER_METER = 100.0


@dataclass(frozen=True, kw_only=True)
class Limits:
    """From where on a number is worth a warning."""

    min_coverage: float = 0.8
    max_filled: float = 0.2
    max_reprojection_percent: float = 6.0
    max_acceleration_m_s2: float = 20.0
    """Somebody who walks has 5 to 8, who jumps and dances 10 to 20, as a mean over joints."""
    max_slide_cm_s: float = 5.0
    max_depth_cm: float = 2.0


@dataclass(frozen=True, kw_only=True, eq=False)
class Grounded:
    """A motion in the world, y up and the floor at y = 0, with its contacts."""

    motion: Motion
    contacts: Mask
    """(N, 4), as of `contacts.find_contacts`."""


@dataclass(frozen=True, kw_only=True)
class Quality:
    """A person's report. NaN stands for what could not be measured."""

    coverage: float
    """Share of the video's frames in which the person was seen."""
    filled: float
    """Share of the track's frames in which nobody was seen and that were drawn in between."""
    reprojection_percent: float
    """Median distance of projected from seen key-points, in percent of the box's side."""
    acceleration_m_s2: float
    """Mean over joints and frames of the size of the joints' acceleration."""
    jerk_m_s3: float
    """Likewise of how fast the acceleration changes: what the eye calls jitter."""
    foot_slide_cm_s: float
    """Mean speed over the floor of heels and toes in contact."""
    deepest_cm: float
    """How far the lowest sole or joint is below the floor in the worst frame; 0 for never."""
    warnings: tuple[str, ...] = field(default=())


def report_quality(
    motion: Motion,
    skeleton: Skeleton,
    *,
    seen: Observation,
    num_video_frames: int,
    grounded: Grounded | None = None,
    limits: Limits | None = None,
) -> Quality:
    """Report on a person's motion.

    Args:
        motion: In camera axes.
        skeleton: Of the body.
        seen: Its key-points; a frame without any was filled in.
        num_video_frames: Of the whole video.
        grounded: The same in the world, if there is one; acceleration is then measured there.
        limits: From where on a number is worth a warning.
    """
    is_seen = (seen.conf > 0).any(dim=1)
    distances = reprojection(motion, skeleton, seen)
    percent = 100 * float(distances[~distances.isnan()].median()) if is_seen.any() else math.nan
    moves = grounded.motion if grounded else motion
    joints = skeleton.joints(moves)
    quality = Quality(
        coverage=float(is_seen.sum()) / num_video_frames,
        filled=float((~is_seen).double().mean()),
        reprojection_percent=percent,
        acceleration_m_s2=_mean_size(derivative(joints, moves.times_s, 2)),
        jerk_m_s3=_mean_size(derivative(joints, moves.times_s, 3)),
        foot_slide_cm_s=foot_slide_cm_s(grounded, skeleton) if grounded else math.nan,
        deepest_cm=deepest_cm(grounded.motion, skeleton) if grounded else math.nan,
    )
    return Quality(**{**vars(quality), "warnings": _warnings(quality, limits or Limits())})


def derivative(points: Tensor, times_s: Tensor, order: int) -> Tensor:
    """Divided differences (N - order, ...) of points (N, ...) at times (N,)."""
    times = times_s.double()
    for _ in range(order):
        gaps = times.diff().reshape(-1, *[1] * (points.ndim - 1))
        points, times = points.diff(dim=0) / gaps, (times[1:] + times[:-1]) / 2
    return points


def foot_slide_cm_s(grounded: Grounded, skeleton: Skeleton) -> float:
    """Mean speed over the floor, in cm/s, of what is in contact in two frames in a row."""
    motion, contacts = grounded.motion, grounded.contacts
    level = contact_points(motion, skeleton)[..., [0, 2]]
    speed = derivative(level, motion.times_s, 1).norm(dim=-1).numpy()
    stays = contacts[1:] & contacts[:-1]
    return CM_PER_METER * float(np.mean(speed[stays])) if stays.any() else math.nan


def deepest_cm(motion: Motion, skeleton: Skeleton) -> float:
    """How far the lowest sole or joint gets below the floor, y = 0, in centimeters."""
    soles = contact_points(motion, skeleton)[..., 1].min()
    lowest = torch.minimum(soles, skeleton.joints(motion)[..., 1].min())
    return max(0.0, -CM_PER_METER * float(lowest))


def _mean_size(vectors: Tensor) -> float:
    return float(vectors.norm(dim=-1).mean()) if len(vectors) else math.nan


def _warnings(quality: Quality, limits: Limits) -> tuple[str, ...]:
    """Say what is doubtful; comparisons with NaN are false, so what is unknown says nothing."""
    q = quality
    told = (
        (
            q.coverage < limits.min_coverage,
            f"seen in {100 * q.coverage:.0f} % of the video's frames only",
        ),
        (
            q.filled > limits.max_filled,
            f"{100 * q.filled:.0f} % of the frames were not seen and are drawn in between",
        ),
        (
            q.reprojection_percent > limits.max_reprojection_percent,
            f"the body lies {q.reprojection_percent:.1f} % of the box beside the key-points",
        ),
        (
            q.acceleration_m_s2 > limits.max_acceleration_m_s2,
            f"it jitters: joints accelerate by {q.acceleration_m_s2:.0f} m/s^2 on average",
        ),
        (
            q.foot_slide_cm_s > limits.max_slide_cm_s,
            f"feet slide by {q.foot_slide_cm_s:.0f} cm/s while they touch the floor",
        ),
        (
            q.deepest_cm > limits.max_depth_cm,
            f"it is {q.deepest_cm:.0f} cm below the floor in some frame",
        ),
    )
    return tuple(words for is_so, words in told if is_so)
