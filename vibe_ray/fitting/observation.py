"""What a picture shows of a person, and how far a motion is from it.

Shapes: N frames, D detected key-points, K of them that the body has.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from vibe_ray.body.detected import COMPUTED
from vibe_ray.body.skeletons import KEYPOINTS, indices
from vibe_ray.fitting.motion import Motion, Skeleton
from vibe_ray.geometry.cameras import project_perspective

MIN_CONF = 0.3
"""Below this a key-point is a guess and is not compared with."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Observation:
    """Key-points of one person in every frame, and the camera that saw them."""

    kp_2d: Tensor
    """Pixels (N, D, 2); may be anything where the confidence is 0."""
    conf: Tensor
    """(N, D) from 0 to 1; 0 for what was not seen."""
    names: Sequence[str]
    """Of the D key-points, as `body.skeletons` spells them; not looked at are unknown ones, and
    those that detectors compute of others (`body.detected.COMPUTED`)."""
    box_size: Tensor
    """Side of the person's box (N,) in pixels: errors are in its unit."""
    focal: float
    """Pixels."""
    center: tuple[float, float]
    """Principal point x, y in pixels."""

    def __post_init__(self) -> None:
        N, D = self.conf.shape
        if self.kp_2d.shape != (N, D, 2) or self.box_size.shape != (N,) or len(self.names) != D:
            raise ValueError(
                f"key-points {tuple(self.kp_2d.shape)}, confidences {(N, D)}, boxes "
                f"{tuple(self.box_size.shape)} and {len(self.names)} names do not fit together"
            )
        if not self.known_rows:
            raise ValueError(f"none of {list(self.names)} is a key-point of the body")

    @cached_property
    def _pairs(self) -> tuple[list[int], list[int]]:
        known = [name for name in KEYPOINTS if name not in COMPUTED]
        names = [name for name in known if name in self.names]
        return indices(names, KEYPOINTS), indices(names, self.names)

    @property
    def body_rows(self) -> list[int]:
        """Which of the body's 49 key-points are seen (K)."""
        return self._pairs[0]

    @property
    def known_rows(self) -> list[int]:
        """Which of the D key-points they are (K)."""
        return self._pairs[1]

    @cached_property
    def target(self) -> Tensor:
        """Where the body's key-points were seen (N, K, 2), float64; 0 where they were not."""
        kp = self.kp_2d[:, self.known_rows].double()
        return torch.where((self.weight > 0)[..., None], kp, 0.0)

    @cached_property
    def weight(self) -> Tensor:
        """How much each key-point counts (N, K), float64."""
        conf = self.conf[:, self.known_rows].double()
        return torch.where((conf >= MIN_CONF) & (self.box_size > 0)[:, None], conf, 0.0)

    def project(self, keypoints: Tensor) -> Tensor:
        """Project the body's key-points that are seen (..., K, 3), camera axes: (..., K, 2)."""
        center = torch.tensor(self.center, dtype=keypoints.dtype)
        return project_perspective(keypoints, self.focal, center)


def reprojection(motion: Motion, skeleton: Skeleton, seen: Observation) -> Tensor:
    """Distance of projected key-points from where they were seen.

    Args:
        motion: In camera axes.
        skeleton: Of the body.
        seen: As many frames.

    Returns:
        (N, K) in sides of the box; NaN where a key-point was not seen.

    Raises:
        ValueError: Motion and key-points have different numbers of frames.
    """
    if len(seen.conf) != motion.num_frames:
        raise ValueError(f"key-points of {len(seen.conf)} frames, motion of {motion.num_frames}")
    target, parts, first = seen.target, [], 0
    for points in skeleton.keypoints_in_pieces(motion):
        rows = slice(first, first + len(points))
        parts.append((seen.project(points[:, seen.body_rows]) - target[rows]).norm(dim=-1))
        first = rows.stop
    pixels = torch.cat(parts)
    size = seen.box_size.double().clamp(min=1e-9)[:, None]
    return torch.where(seen.weight > 0, pixels / size, torch.nan)
