"""Whom a video shows: people seen in single frames, and the same person followed over frames.

Shapes: P people in a frame, N consecutive frames of a track, D key-points by name.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vibe_ray.geometry.arrays import Array


@dataclass(frozen=True, kw_only=True, eq=False)
class FramePeople:
    """The people seen in one frame, by a detector or as a file says."""

    frame: int
    """Number of the frame in the video, from 0."""
    boxes: Array
    """Pixels (P, 4) = (left, top, right, bottom)."""
    scores: Array
    """(P,) in [0, 1]."""
    kp_2d: Array
    """Pixels (P, D, 2)."""
    kp_2d_conf: Array
    """(P, D) in [0, 1]; 0 where a key-point is unknown."""
    identities: Array | None = None
    """(P,) integers where the source followed people itself."""

    def __post_init__(self) -> None:
        P, D = self.kp_2d.shape[:2]
        shapes = {"boxes": (P, 4), "scores": (P,), "kp_2d": (P, D, 2), "kp_2d_conf": (P, D)}
        for name, shape in shapes.items():
            if getattr(self, name).shape != shape:
                raise ValueError(
                    f"frame {self.frame}: {name} has shape {getattr(self, name).shape}, "
                    f"expected {shape}"
                )

    def pick(self, people: Sequence[int] | Array) -> "FramePeople":
        """Keep some of the people, by their places or by a mask (P,)."""
        identities = self.identities
        return FramePeople(
            frame=self.frame,
            boxes=self.boxes[people],
            scores=self.scores[people],
            kp_2d=self.kp_2d[people],
            kp_2d_conf=self.kp_2d_conf[people],
            identities=None if identities is None else identities[people],
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class Track:
    """One person in every frame from the first to the last in which they were seen."""

    person: int
    """Counted from 0 in the order of appearance."""
    names: tuple[str, ...]
    """Of the D key-points."""
    frames: Array
    """Numbers (N,) of the video's frames, without a gap."""
    times_s: Array
    """Seconds (N,) since the video's first frame."""
    boxes: Array
    """Squares (N, 3) = (center x, center y, side) in pixels, smoothed: `data.boxes`' rule."""
    kp_2d: Array
    """Pixels (N, D, 2)."""
    kp_2d_conf: Array
    """(N, D) in [0, 1]; 0 in filled frames."""
    filled: Array
    """(N,) bool: the person was not seen; place and key-points are drawn between neighbors."""

    @property
    def num_frames(self) -> int:
        """N."""
        return len(self.frames)

    @property
    def coverage(self) -> float:
        """Share of the frames in which the person was seen."""
        return float(1 - self.filled.mean())


def boxes_of_keypoints(kp_2d: Array, conf: Array, min_conf: float) -> Array:
    """Return the bounds (P, 4) of what is seen of key-points (P, D, 2), zeros if nothing is."""
    seen = (conf >= min_conf)[..., None]
    low = np.where(seen, kp_2d, np.inf).min(axis=1)
    high = np.where(seen, kp_2d, -np.inf).max(axis=1)
    return np.where(np.isfinite(low[:, :1]), np.concatenate([low, high], axis=-1), 0.0)
