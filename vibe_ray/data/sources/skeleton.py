"""A recording on the skeleton it was captured with, before it is carried over to SMPL's.

Rotations are relative to the file's zero pose, in the recording's own axes: all identities *is*
the zero pose, whatever it looks like. BVH, Acclaim and DeepMimic files all come down to this.

Shapes: N frames, S joints of the source skeleton.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

_CLEARLY_ALONG = 0.8
"""Cosine (37 degrees) to which up and left of a rest pose must agree with an axis."""
_NOT_ACROSS = -0.5
"""Cosine to the outside that an arm at rest has at least: arms may hang, but not cross the body."""
MAX_NUMBER = 1e8
"""Beyond this, positions and angles are a fault in whatever unit: 100 km in millimeters."""


@dataclass(frozen=True, kw_only=True)
class SkeletonMotion:
    names: tuple[str, ...]
    """Joint names (S)."""
    parents: tuple[int, ...]
    """(S), -1 for the root; parents stand before their children."""
    offsets: np.ndarray
    """(S, 3) from the parent in the zero pose, in the source's unit; the root's is not used."""
    rotmat: np.ndarray
    """(N, S, 3, 3) rotation of each joint relative to its parent."""
    root_position: np.ndarray
    """(N, 3) in the source's unit."""
    shifts: Mapping[int, np.ndarray] = field(default_factory=dict)
    """(N, 3) by joint: from the parent in each frame, where a joint other than the root moves;
    `offsets` has the medians."""

    def rest_positions(self) -> np.ndarray:
        """Joints of the zero pose (S, 3), the root at the origin."""
        positions = np.zeros_like(self.offsets)
        for joint, parent in enumerate(self.parents):
            if parent >= 0:
                positions[joint] = positions[parent] + self.offsets[joint]
        return positions

    def world_rotmat(self) -> np.ndarray:
        """Rotation of each joint relative to the zero pose, in the world (N, S, 3, 3)."""
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
            elif joint in self.shifts:
                step = world_rotmat[:, parent] @ self.shifts[joint][..., None]
                positions[:, joint] = positions[:, parent] + step[..., 0]
            else:
                step = world_rotmat[:, parent] @ self.offsets[joint]
                positions[:, joint] = positions[:, parent] + step
        return positions

    def in_axes(self, axes: np.ndarray) -> "SkeletonMotion":
        """The same motion in other axes: rows of `axes` (3, 3) are theirs in the old ones.

        Axes of the other handedness give the mirror image, of which left and right keep their
        names.
        """
        return replace(
            self,
            offsets=self.offsets @ axes.T,
            rotmat=axes @ self.rotmat @ axes.T,
            root_position=self.root_position @ axes.T,
            shifts={joint: shift @ axes.T for joint, shift in self.shifts.items()},
        )

    def in_world(self, axes: np.ndarray) -> "SkeletonMotion":
        """The same motion and zero pose, but the world has other axes (3, 3), of one handedness."""
        rotmat = self.rotmat.copy()
        root = self.parents.index(-1)
        rotmat[:, root] = axes @ rotmat[:, root]
        return replace(self, rotmat=rotmat, root_position=self.root_position @ axes.T)

    def with_zero_pose(self, zero: np.ndarray) -> "SkeletonMotion":
        """The same motion, told relative to another zero pose: positions in the world stay.

        Args:
            zero: (S, 3, 3) what a joint's axes of the old zero pose are in the new one.
        """
        parents = np.array(self.parents)
        above = np.where((parents < 0)[:, None, None], np.eye(3), zero[parents])
        return replace(
            self,
            offsets=(above @ self.offsets[..., None])[..., 0],
            rotmat=above @ self.rotmat @ np.swapaxes(zero, -1, -2),
            shifts={joint: shift @ above[joint].T for joint, shift in self.shifts.items()},
        )

    def thinned(self, most: int) -> "SkeletonMotion":
        """Frames at equal distances, about as many as `most` or all."""
        step = max(1, len(self.rotmat) // most)
        return replace(
            self,
            rotmat=self.rotmat[::step],
            root_position=self.root_position[::step],
            shifts={joint: shift[::step] for joint, shift in self.shifts.items()},
        )

    def check_numbers(self) -> None:
        """Refuse numbers that are none, or none of a person's.

        Raises:
            ValueError: Numbers that are not finite, or beyond `MAX_NUMBER`.
        """
        numbers = {
            "rotations": self.rotmat,
            "bones": self.offsets,
            "positions": self.root_position,
            **{f"positions of {self.names[joint]}": s for joint, s in self.shifts.items()},
        }
        for name, array in numbers.items():
            largest = np.abs(array).max(initial=0.0)
            if not np.isfinite(largest):
                raise ValueError(f"some of its numbers are not finite, among its {name}")
            if largest > MAX_NUMBER:
                raise ValueError(
                    f"its {name} reach {largest:.3g}: more than a recording of a person can have"
                )


def standing_axes(rest: np.ndarray, joints: Mapping[str, int]) -> np.ndarray | None:
    """Axes (3, 3) in which the rest pose stands upright (y up) and faces +z; None if it does not.

    The head is above the hips, the ankles are below, the left hip is left of the right one, and
    the arms are anywhere but across the body. Only whole quarter turns are considered, as in
    exporters.

    Args:
        rest: (S, 3) joints of the rest pose.
        joints: Index of the source joint for each SMPL joint's name.
    """
    middle = (rest[joints["left_hip"]] + rest[joints["right_hip"]]) / 2
    up = nearest_axis(rest[joints["head"]] - middle, _CLEARLY_ALONG)
    left = nearest_axis(rest[joints["left_hip"]] - rest[joints["right_hip"]], _CLEARLY_ALONG)
    feet = (rest[joints["left_ankle"]] + rest[joints["right_ankle"]]) / 2 - middle
    if up is None or left is None or abs(up @ left) > 0 or cosine(-feet, up) < _CLEARLY_ALONG:
        return None
    for side, outside in (("left", left), ("right", -left)):
        arm = rest[joints[f"{side}_elbow"]] - rest[joints[f"{side}_shoulder"]]
        if cosine(arm, outside) < _NOT_ACROSS:
            return None
    return np.stack([left, up, np.cross(left, up)])


def upright_axes(up: np.ndarray) -> np.ndarray:
    """Axes (3, 3) of the smallest turn that lays the axis `up`, a unit vector along one, on y.

    y up stays as it is; z up (x, y, z) becomes (x, z, -y); y down, as in camera axes,
    (x, -y, -z).
    """
    axis = int(np.abs(up).argmax())
    if axis == 1:
        return np.eye(3) if up[1] > 0 else np.diag([1.0, -1.0, -1.0])
    rows = {1: up, 2 - axis: np.eye(3)[2 - axis]}  # the other horizontal axis stays where it is
    rows[axis] = np.cross(rows[(axis + 1) % 3], rows[(axis + 2) % 3])
    return np.stack([rows[0], rows[1], rows[2]])


def nearest_axis(direction: np.ndarray, least_cosine: float) -> np.ndarray | None:
    """Return the signed axis (3,) nearest to a direction, or None if it is not that near."""
    axis = int(np.abs(direction).argmax())
    unit = np.zeros(3)
    unit[axis] = np.sign(direction[axis])
    return unit if cosine(direction, unit) >= least_cosine else None


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    """Cosine of the angle between two vectors (3,); 0 where one has no length."""
    return float(a @ b / np.maximum(np.linalg.norm(a) * np.linalg.norm(b), 1e-12))
