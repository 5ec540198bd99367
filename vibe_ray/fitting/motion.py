"""One person's motion as this room passes it around, and the points by which it touches the ground.

Shapes: N frames, J = 24 joints, V vertices.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from vibe_ray.body.joints import BodyJoints
from vibe_ray.body.model import BodyArrays
from vibe_ray.body.skeletons import KEYPOINTS, NUM_BETAS, SMPL_JOINTS, indices
from vibe_ray.fitting.smoothing import check_times

FRAMES_AT_A_TIME = 2048
"""So that memory does not grow with the length of a video."""
_FEET_49 = tuple(f"OP {s}{point}" for s in "LR" for point in ("Heel", "BigToe", "SmallToe"))


@dataclass(frozen=True, kw_only=True, eq=False)
class Motion:
    """A body that moves. In which axes is said where one is made."""

    rotmat: Tensor
    """Rotation of each joint relative to its parent, root first (N, J, 3, 3)."""
    transl: Tensor
    """(N, 3) meters: a mesh `body(betas, rotmat) + transl` is where the person is."""
    betas: Tensor
    """Shape (10,), one for all frames."""
    times_s: Tensor
    """Timestamps (N,), float64, rising."""

    def __post_init__(self) -> None:
        N = len(self.rotmat)
        shapes = tuple(self.rotmat.shape), tuple(self.transl.shape), tuple(self.betas.shape)
        expected = (N, len(SMPL_JOINTS), 3, 3), (N, 3), (NUM_BETAS,)
        if shapes != expected or not N:
            raise ValueError(
                f"rotmat, transl and betas have shapes {shapes}, expected {expected} with N > 0"
            )
        check_times(self.times_s, N)
        if not (self.rotmat.isfinite().all() and self.transl.isfinite().all()):
            raise ValueError("a motion holds NaN or infinity: fill gaps before it is worked on")

    @property
    def num_frames(self) -> int:
        """N."""
        return len(self.rotmat)


class Skeleton:
    """A body's joints and the landmarks of its feet, in float64: no mesh is built."""

    def __init__(self, arrays: BodyArrays) -> None:
        self.joints_24 = BodyJoints.skeleton(arrays, torch.float64)
        self.keypoints_49 = BodyJoints.keypoints(arrays, torch.float64)
        self.detected_49 = BodyJoints.keypoints(arrays, torch.float64, as_detected=True)
        self.arrays = arrays

    def joints(self, motion: Motion) -> Tensor:
        """Where the joints are (N, J, 3), float64 meters."""
        return torch.cat(list(self._placed(self.joints_24, motion)))

    def keypoints(self, motion: Motion) -> Tensor:
        """Where a detector sees the 49 key-points (N, 49, 3), float64 meters."""
        return torch.cat(list(self.keypoints_in_pieces(motion)))

    def keypoints_in_pieces(self, motion: Motion) -> Iterator[Tensor]:
        """Yield them for `FRAMES_AT_A_TIME` frames (n, 49, 3) each."""
        return self._placed(self.detected_49, motion)

    def feet(self, motion: Motion) -> Tensor:
        """Heel, big toe and small toe (N, 2, 3, 3) of the left and of the right foot.

        They are points of the skin; `above_sole` says how high above the ground they are when a
        foot stands flat.
        """
        rows = indices(_FEET_49, KEYPOINTS)
        points = self._placed(lambda b, r: self.keypoints_49(b, r)[:, rows], motion)
        return torch.cat(list(points)).unflatten(1, (2, 3))

    def rest(self, betas: Tensor) -> "RestPose":
        """The body of a shape (10,) in the zero pose, in which it stands with flat feet."""
        identity = torch.eye(3, dtype=torch.float64).expand(1, len(SMPL_JOINTS), 3, 3)
        shape = betas.double()[None]
        verts = self.arrays.v_template + self.arrays.shapedirs @ betas.float().cpu().numpy()
        return RestPose(
            joints=self.joints_24(shape, identity)[0],
            keypoints=self.keypoints_49(shape, identity)[0],
            sole=float(np.min(verts[:, 1])),
        )

    @torch.no_grad()
    def _placed(
        self, joints: Callable[[Tensor, Tensor], Tensor], motion: Motion
    ) -> Iterator[Tensor]:
        shape = motion.betas.double()
        pieces = (x.split(FRAMES_AT_A_TIME) for x in (motion.rotmat, motion.transl))
        for rotmat, transl in zip(*pieces, strict=True):
            points = joints(shape.expand(len(rotmat), -1), rotmat.double())
            yield points + transl.double()[:, None]


@dataclass(frozen=True)
class RestPose:
    joints: Tensor
    """(J, 3) meters."""
    keypoints: Tensor
    """(49, 3)."""
    sole: float
    """Height of the lowest vertex."""

    @property
    def above_sole(self) -> Tensor:
        """Heights (2, 3) of heel, big toe and small toe of either foot above the ground."""
        feet = self.keypoints[indices(_FEET_49, KEYPOINTS), 1] - self.sole
        return feet.reshape(2, 3)
