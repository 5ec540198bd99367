"""People as a perfect detector would see them: a fixed figure that moves."""

from collections.abc import Sequence

import numpy as np

from vibe_ray.geometry.arrays import Array
from vibe_ray.video.people import FramePeople, boxes_of_keypoints

FIGURE = np.random.default_rng(7).uniform(-0.5, 0.5, (17, 2)) * [0.4, 1.0]


def figure(x: float, y: float = 100.0, size: float = 80.0) -> Array:
    """Key-points (17, 2) of a person whose middle is at x, y."""
    return FIGURE * size + [x, y]


def seen(
    frame: int, figures: Sequence[Array], scores: Sequence[float] | None = None
) -> FramePeople:
    kp_2d = np.array(figures).reshape(-1, 17, 2)
    conf = np.full(kp_2d.shape[:2], 0.8)
    return FramePeople(
        frame=frame,
        boxes=boxes_of_keypoints(kp_2d, conf, 0.1),
        scores=np.array([0.9] * len(kp_2d) if scores is None else scores),
        kp_2d=kp_2d,
        kp_2d_conf=conf,
    )
