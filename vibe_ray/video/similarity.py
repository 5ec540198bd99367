"""How much do two people of two frames look like one person?

Shapes: A and B people, D key-points.
"""

import numpy as np

from vibe_ray.geometry.arrays import Array
from vibe_ray.video.people import FramePeople

TOLERANCE = 0.15
"""How far key-points of one person may lie apart, over the longer side of the box."""
DUPLICATE_TOLERANCE = 0.05
MIN_DUPLICATE = 0.6
"""A detector that reports a person twice reports nearly the same key-points twice."""


def box_iou(a: Array, b: Array) -> Array:
    """Return intersection over union (A, B) of boxes (A, 4) and (B, 4)."""
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    shared = (high - low).clip(min=0).prod(axis=-1)
    total = _area(a)[:, None] + _area(b)[None] - shared
    return shared / np.maximum(total, 1e-9)


def _area(box: Array) -> Array:
    return (box[:, 2:] - box[:, :2]).clip(min=0).prod(axis=-1)


def keypoint_similarity(a: Array, a_conf: Array, b: Array, b_conf: Array, reach: Array) -> Array:
    """Return how near key-points lie (A, B), from 0 to 1: a mean over pairs that both have.

    It is the measure of COCO's key-point task with one spread for all joints, so that any joint set
    will do.

    Args:
        a: Pixels (A, D, 2).
        a_conf: (A, D); they weigh the mean.
        b: Pixels (B, D, 2).
        b_conf: (B, D).
        reach: Pixels (A,) at which the similarity has fallen to 0.61.
    """
    weight = np.sqrt(a_conf[:, None] * b_conf[None])  # (A, B, D)
    squared = ((a[:, None] - b[None]) ** 2).sum(axis=-1)
    near = np.exp(-squared / (2 * np.maximum(reach, 1e-6)[:, None, None] ** 2))
    return (near * weight).sum(axis=-1) / np.maximum(weight.sum(axis=-1), 1e-9)


def long_side(box: Array) -> Array:
    """Return the longer sides (A,) of boxes (A, 4)."""
    return (box[:, 2:] - box[:, :2]).max(axis=-1, initial=0)


def person_similarity(a: FramePeople, b: FramePeople, reach: Array) -> Array:
    """Return how much people look alike (A, B), from 0 to 1: boxes and key-points count alike.

    Args:
        a: The people to be like.
        b: The others.
        reach: Pixels (A,); see `keypoint_similarity`.
    """
    kp = keypoint_similarity(a.kp_2d, a.kp_2d_conf, b.kp_2d, b.kp_2d_conf, reach)
    return (box_iou(a.boxes, b.boxes) + kp) / 2


def without_duplicates(people: FramePeople) -> FramePeople:
    """Keep of people with nearly the same key-points the one with the best score."""
    order = np.argsort(-people.scores, kind="stable")
    ranked = people.pick(order)
    reach = DUPLICATE_TOLERANCE * long_side(ranked.boxes)
    alike = keypoint_similarity(
        ranked.kp_2d, ranked.kp_2d_conf, ranked.kp_2d, ranked.kp_2d_conf, reach
    )
    kept: list[int] = []
    for i in range(len(order)):  # at most a handful of people
        if not (alike[kept, i] > MIN_DUPLICATE).any():
            kept.append(i)
    return ranked.pick(kept)
