"""Where does each foot stand, and where must the body be for it to stand there?

A stance is the time that a foot stays on the floor. A foot in a stance has one place and heading;
the body's path is corrected, calmly, by as much as its stances ask for. Places and path are solved
for together, as one linear system that grows with the number of frames only.

A foot is taken as two rigid pieces, from ankle to ball and from ball to toes; in the body's rest
pose it stands flat. Shapes: N frames, F = 2 feet, S stances.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import roma
import torch
from scipy import sparse
from scipy.sparse.linalg import splu
from torch import Tensor

from vibe_ray.body.skeletons import KEYPOINTS, SMPL_JOINTS, indices
from vibe_ray.fitting.contacts import Mask, number_spans
from vibe_ray.fitting.motion import RestPose
from vibe_ray.fitting.smoothing import frame_seconds, smooth_track, stiffness_bands
from vibe_ray.geometry.arrays import Array

ANKLE, BALL = (
    indices((f"left_{joint}", f"right_{joint}"), SMPL_JOINTS) for joint in ("ankle", "foot")
)
_HEEL, _BIG, _SMALL = (
    indices((f"OP L{point}", f"OP R{point}"), KEYPOINTS) for point in ("Heel", "BigToe", "SmallToe")
)
HALF_SEEN = 0.3
"""Weight of a foot's heading while only its heel or its toes touch the floor."""


@dataclass(frozen=True)
class FootShape:
    """A rest pose's feet, in meters."""

    ball: Tensor
    """From the ankle (F, 3)."""
    heel: Tensor
    """From the ankle (F, 3)."""
    toes: Tensor
    """From the ball to the middle of the toes' tips (F, 3)."""
    ball_height: Tensor
    """Above the floor (F)."""

    @classmethod
    def of(cls, rest: RestPose) -> "FootShape":
        """Measure a rest pose."""
        ankle, ball, points = rest.joints[ANKLE], rest.joints[BALL], rest.keypoints
        toes = (points[_BIG] + points[_SMALL]) / 2
        return cls(ball - ankle, points[_HEEL] - ankle, toes - ball, ball[:, 1] - rest.sole)


@dataclass(frozen=True)
class Feet:
    """Feet in the world, float64."""

    rotation: Tensor
    """Of the ankle joint, global (N, F, 3, 3)."""
    ankle: Tensor
    """(N, F, 3)."""
    toes: Tensor
    """Rotation of the ball joint, global (N, F, 3, 3)."""


@dataclass(frozen=True)
class Stances:
    """What a foot in contact is to be like; of no meaning without contact."""

    shift: Tensor
    """By which the body is moved (N, 3)."""
    ball: Tensor
    """Where the ball is to be (N, F, 3)."""
    heading: Tensor
    """Radians about the vertical (N, F)."""


def heading_of(rotation: Tensor) -> Tensor:
    """Return where rotations (..., 3, 3) of a foot make it point: radians from z to x."""
    return torch.atan2(rotation[..., 0, 2], rotation[..., 2, 2])


def about_vertical(angle: Tensor) -> Tensor:
    """Rotations (..., 3, 3) by angles (...) about y."""
    zero = torch.zeros_like(angle)
    return roma.rotvec_to_rotmat(torch.stack([zero, angle, zero], dim=-1))


def find_stances(
    feet: Feet, shape: FootShape, touches: Mask, times: Array, period_s: float, pull: float
) -> Stances:
    """Find where feet stand and how the body is to move for it.

    Args:
        feet: As they are.
        shape: Of the feet.
        touches: Whether heel and toes are on the floor (N, F, 2).
        times: (N,).
        period_s: How calmly the body is moved.
        pull: Weight of leaving the body where it is, beside one foot in contact.
    """
    numbers, count = number_spans(np.any(touches, axis=2))
    heading = _mean_headings(heading_of(feet.rotation).numpy(), numbers, count, touches)
    place = _implied_ball(feet, shape, touches)
    shift = np.zeros((len(times), 3))
    level = place[..., [0, 2]].numpy()
    shift[:, [0, 2]], at = _solve(level, numbers, count, times, period_s, pull)
    drop = (shape.ball_height - place[..., 1]).numpy()  # (N, F)
    stands = (numbers > 0).astype(float)
    mean_drop = (drop * stands).sum(axis=1) / np.maximum(stands.sum(axis=1), 1)
    weights = stands.sum(axis=1) + pull
    shift[:, 1] = smooth_track(mean_drop[:, None], times, period_s, weights, robust=False)[:, 0]

    ball = np.zeros((*numbers.shape, 3))
    ball[..., [0, 2]] = at[numbers]
    ball[..., 1] = shape.ball_height.numpy()
    return Stances(
        torch.from_numpy(shift), torch.from_numpy(ball), torch.from_numpy(heading[numbers])
    )


def _mean_headings(heading: Array, numbers: Any, count: int, touches: Mask) -> Array:
    """Mean heading of each stance (S + 1), in radians; number 0 is no stance."""
    weight = np.where(touches.all(axis=2), 1.0, HALF_SEEN).ravel()
    sine, cosine = (
        np.bincount(numbers.ravel(), weight * part.ravel(), minlength=count + 1)
        for part in (np.sin(heading), np.cos(heading))
    )
    return np.arctan2(sine, cosine)


def _implied_ball(feet: Feet, shape: FootShape, touches: Mask) -> Tensor:
    """Where the ball of a foot would be if it stood flat on what touches the floor (N, F, 3)."""
    ball = feet.ankle + turned(feet.rotation, shape.ball)
    flat = about_vertical(heading_of(feet.rotation))
    by_heel = feet.ankle + turned(feet.rotation, shape.heel) + turned(flat, shape.ball - shape.heel)
    weight = torch.from_numpy(touches.astype(np.float64))[..., None]  # (N, F, 2, 1)
    both = weight[:, :, 0] * by_heel + weight[:, :, 1] * ball
    return both / weight.sum(dim=2).clamp(min=1)


def turned(rotation: Tensor, offset: Tensor) -> Tensor:
    """Turn offsets (..., 3) by rotations (..., 3, 3)."""
    return (rotation @ offset[..., None])[..., 0]


def _solve(
    place: Array, numbers: Any, count: int, times: Array, period_s: float, pull: float
) -> tuple[Array, Array]:
    """Solve for shifts of the body (N, 2) and places of the stances (S + 1, 2).

    Minimized is, over time, the squared distance of every foot in contact, moved by the shift, from
    its stance's place, and how much and how abruptly the body is shifted.
    """
    N = len(times)
    step = frame_seconds(times)
    bands = stiffness_bands(times, (period_s / (2 * np.pi)) ** 4)
    stiff = sparse.diags_array(
        [bands[0, 2:], bands[1, 1:], bands[2], bands[1, 1:], bands[0, 2:]],
        offsets=[2, 1, 0, -1, -2],
        shape=(N, N),
    )
    if not count:
        return np.zeros((N, 2)), np.zeros((1, 2))
    frame, foot = np.nonzero(numbers)
    stance, weight = numbers[frame, foot] - 1, step[frame]
    meets = sparse.csr_array((weight, (frame, stance)), shape=(N, count))
    of_frames = sparse.diags_array(np.bincount(frame, weight, minlength=N) + pull * step)
    of_stances = sparse.diags_array(np.bincount(stance, weight, minlength=count))
    matrix = sparse.block_array([[stiff + of_frames, -meets], [-meets.T, of_stances]])
    right = np.zeros((N + count, 2))
    np.add.at(right, frame, -weight[:, None] * place[frame, foot])
    np.add.at(right, N + stance, weight[:, None] * place[frame, foot])
    answer = splu(sparse.csc_array(matrix)).solve(right)
    return answer[:N], np.concatenate([np.zeros((1, 2)), answer[N:]])
