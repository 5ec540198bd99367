"""Where is the floor? Puts motions on the ground y = 0 by the soles of the feet.

Sources disagree about the height of the floor, and a retargeted body has other feet than the
source's, so the floor is found in the motion itself.

Shapes: N frames, K = 6 points of the feet.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from vibe_ray.body.joints import BodyJoints
from vibe_ray.body.model import BodyArrays
from vibe_ray.body.skeletons import KEYPOINTS, SMPL_JOINTS, indices
from vibe_ray.data.schema import MotionSequence
from vibe_ray.geometry.rotations import axis_angle_to_rotmat

FLOOR_PERCENTILE = 5.0
"""The lower foot is on the floor in at least this share of the frames, jumps included; the few
frames below it are noise, or feet that the body's own proportions push into the floor."""

_PELVIS = "OP MidHip"
_FOOT_POINTS = tuple(f"OP {s}{point}" for s in "LR" for point in ("BigToe", "SmallToe", "Heel"))


class Ground:
    """Finds the floor under a body's feet."""

    def __init__(self, arrays: BodyArrays) -> None:
        self._keypoints = BodyJoints.keypoints(arrays)
        self._rows = indices((_PELVIS, *_FOOT_POINTS), KEYPOINTS)
        points = self._points(np.zeros((1, 3 * len(SMPL_JOINTS))), np.zeros(10))[0]
        # The points are on the skin of the toes and heels, a bit above the sole.
        self._above_sole = points[1:, 1] - arrays.v_template[:, 1].min()

    def foot_heights(self, sequence: MotionSequence) -> np.ndarray:
        """Height (N,) of the sole of the lower foot in each frame, in meters."""
        points = self._points(sequence.pose, sequence.betas)
        above_pelvis = points[:, 1:, 1] - points[:, :1, 1]  # (N, K)
        return (above_pelvis - self._above_sole).min(axis=1) + sequence.trans[:, 1]

    def place(self, pieces: Sequence[MotionSequence]) -> list[MotionSequence]:
        """Lift or lower the pieces of one recording, all alike, until the feet are on y = 0."""
        heights = np.concatenate([self.foot_heights(piece) for piece in pieces])
        lift = np.array([0.0, -np.percentile(heights, FLOOR_PERCENTILE), 0.0])
        return [replace(piece, trans=(piece.trans + lift).astype(np.float32)) for piece in pieces]

    def _points(self, pose: np.ndarray, betas: np.ndarray) -> np.ndarray:
        """Pelvis and points of the feet (N, 1 + K, 3), the body's root where its model has it."""
        num_frames = len(pose)
        axis_angle = torch.from_numpy(pose.astype(np.float32)).reshape(num_frames, -1, 3)
        shape = torch.from_numpy(betas.astype(np.float32)).expand(num_frames, -1)
        with torch.no_grad():
            points = self._keypoints(shape, axis_angle_to_rotmat(axis_angle))
        return points[:, self._rows].numpy()
