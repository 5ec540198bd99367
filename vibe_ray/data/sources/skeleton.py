"""A recording on the skeleton it was captured with, before it is carried over to SMPL's.

Rotations are relative to the rest pose in the recording's own axes: all identities *is* the rest
pose. BVH, Acclaim and DeepMimic files all come down to this.

Shapes: N frames, S joints of the source skeleton.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

_CLEARLY_ALONG = 0.8
"""Cosine (37 degrees) to which up and left of a rest pose must agree with an axis."""


@dataclass(frozen=True, kw_only=True)
class SkeletonMotion:
    names: tuple[str, ...]
    """Joint names (S)."""
    parents: tuple[int, ...]
    """(S), -1 for the root; parents stand before their children."""
    offsets: np.ndarray
    """(S, 3) from the parent in rest pose, in the source's unit; the root's is not used."""
    rotmat: np.ndarray
    """(N, S, 3, 3) rotation of each joint relative to its parent."""
    root_position: np.ndarray
    """(N, 3) in the source's unit."""

    def rest_positions(self) -> np.ndarray:
        """Joints of the rest pose (S, 3), the root at the origin."""
        positions = np.zeros_like(self.offsets)
        for joint, parent in enumerate(self.parents):
            if parent >= 0:
                positions[joint] = positions[parent] + self.offsets[joint]
        return positions

    def world_rotmat(self) -> np.ndarray:
        """Rotation of each joint relative to its rest pose, in the world (N, S, 3, 3)."""
        world = self.rotmat.copy()
        for joint, parent in enumerate(self.parents):
            if parent >= 0:
                world[:, joint] = world[:, parent] @ self.rotmat[:, joint]
        return world

    def positions(self, world_rotmat: np.ndarray) -> np.ndarray:
        """Joints in the world (N, S, 3), given `world_rotmat()`."""
        positions = np.empty(world_rotmat.shape[:-1])
        for joint, parent in enumerate(self.parents):
            if parent < 0:
                positions[:, joint] = self.root_position
            else:
                step = world_rotmat[:, parent] @ self.offsets[joint]
                positions[:, joint] = positions[:, parent] + step
        return positions

    def in_axes(self, axes: np.ndarray) -> "SkeletonMotion":
        """The same motion in other world axes: rows of `axes` (3, 3) are theirs in the old ones."""
        return replace(
            self,
            offsets=self.offsets @ axes.T,
            rotmat=axes @ self.rotmat @ axes.T,
            root_position=self.root_position @ axes.T,
        )


def standing_axes(rest: np.ndarray, joints: Mapping[str, int]) -> np.ndarray:
    """World axes (3, 3) in which the rest pose stands upright (y up) and faces +z.

    Files do not say which axis is up, but a rest pose shows it: the head is above the hips, the
    left hip is left of the right one. Only whole quarter turns are considered, as in exporters.

    Args:
        rest: (S, 3) joints of the rest pose.
        joints: Index of the source joint for each SMPL joint's name.

    Raises:
        ValueError: The rest pose is not that of somebody standing.
    """
    middle = (rest[joints["left_hip"]] + rest[joints["right_hip"]]) / 2
    up = _nearest_axis(rest[joints["head"]] - middle)
    left = _nearest_axis(rest[joints["left_hip"]] - rest[joints["right_hip"]])
    feet = (rest[joints["left_ankle"]] + rest[joints["right_ankle"]]) / 2 - middle
    if up is None or left is None or abs(up @ left) > 0 or _cosine(-feet, up) < _CLEARLY_ALONG:
        raise ValueError(
            "the rest pose (all rotations zero) is not that of somebody standing upright: hips to "
            f"head is {_text(rest[joints['head']] - middle)}, hips to ankles {_text(feet)}, right "
            f"to left hip {_text(rest[joints['left_hip']] - rest[joints['right_hip']])}. "
            "Export the file with a T-pose or A-pose as the skeleton's rest pose"
        )
    return np.stack([left, up, np.cross(left, up)])


def _nearest_axis(direction: np.ndarray) -> np.ndarray | None:
    axis = int(np.abs(direction).argmax())
    unit = np.zeros(3)
    unit[axis] = np.sign(direction[axis])
    return unit if _cosine(direction, unit) >= _CLEARLY_ALONG else None


def _cosine(a: np.ndarray, b: np.ndarray) -> float:
    return float(a @ b / np.maximum(np.linalg.norm(a) * np.linalg.norm(b), 1e-12))


def _text(vector: np.ndarray) -> str:
    return "(" + ", ".join(f"{value:.3g}" for value in vector) + ")"
