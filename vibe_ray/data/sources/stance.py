"""What a skeleton looks like when its body stands, where its zero pose does not show it.

Many files have a zero pose in which somebody stands, with arms out or down; then it is known how
each joint is turned in a stance. In others (every bone along its own x axis, bones lying in
position channels) all rotations zero is no posture at all. There the motion is asked: a joint's
axes in the stance are those that best explain, over all frames, where the bones point.

- The trunk: a frame laid through hips and shoulders; on average the trunk's joints follow it.
- A limb's bone gives a joint one axis, the hinge of knee or elbow the other: knees bend backward
  and elbows forward in everybody.
- A foot is level while it is planted. What is left follows what it hangs on.

Whether left and right are mirrored (a left-handed export) is asked of knees and toes.

Shapes: N frames, S joints of the source skeleton.
"""

from collections.abc import Mapping
from itertools import pairwise

import numpy as np

from vibe_ray.data.sources.rigs import ancestors
from vibe_ray.data.sources.skeleton import (
    SkeletonMotion,
    nearest_axis,
    standing_axes,
    upright_axes,
)

_SIDES = ("left", "right")
_TRUNK = ("pelvis", "spine1", "spine2", "spine3", "neck", "head", "left_collar", "right_collar")
_LIMBS = {"leg": ("hip", "knee", "ankle"), "arm": ("shoulder", "elbow", "wrist")}
_HINGES = {
    "left_leg": (1.0, 0.0, 0.0),
    "right_leg": (1.0, 0.0, 0.0),
    "left_arm": (0.0, -1.0, 0.0),
    "right_arm": (0.0, 1.0, 0.0),
}
"""Axis about which SMPL's knees and elbows bend at rest, arms out to the sides."""
_MAX_FRAMES = 2000
_UNBENT = 0.05
"""Weight of a limb's direction against that of its hinge, as the sine by which it is bent: decides
where a limb is straight all the time."""
_PLANTED = 40.0
"""Percentile of a foot's height and speed below which it is planted."""
_STEADY = 0.7
_MIRRORED = -0.5
"""What knees and toes say on average, 1 for yes and -1 for no, if left and right are mirrored."""
_BENT = 0.1
"""Mean sine of the knees from which they have a say."""


def stand(
    motion: SkeletonMotion, joints: Mapping[str, int], target: Mapping[str, np.ndarray]
) -> SkeletonMotion:
    """Tell a motion relative to a zero pose that stands, y up and facing +z, in a world of y up.

    Args:
        motion: The recording, in any axes.
        joints: Index of the source joint for each SMPL joint's name.
        target: (3,) SMPL's joints at rest.

    Raises:
        ValueError: The skeleton has no bones, or limbs of no length.
    """
    axes = standing_axes(motion.rest_positions(), joints)
    if axes is not None:
        zero = np.broadcast_to(axes, (len(motion.names), 3, 3))
        return motion.with_zero_pose(zero).in_world(upright_axes(axes[1]))
    stance = _Stance(motion, joints, target)
    return motion.with_zero_pose(stance.zero).in_world(upright_axes(stance.up))


def is_mirrored(motion: SkeletonMotion, joints: Mapping[str, int]) -> bool:
    """Whether knees and toes point backward, if left and right are what their names say."""
    at = _some_positions(motion, joints)
    left = _unit(at["left_hip"] - at["right_hip"])
    ahead = np.cross(left, _unit(at["head"] - (at["left_hip"] + at["right_hip"]) / 2))
    bends = [
        np.cross(_unit(at[f"{s}_knee"] - at[f"{s}_hip"]), _unit(at[f"{s}_ankle"] - at[f"{s}_knee"]))
        for s in _SIDES
    ]
    bent = np.linalg.norm(bends, axis=-1)  # (2, N)
    says = []
    if bent.mean() > _BENT:
        says.append((np.stack(bends) * left).sum() / bent.sum())
    feet = [s for s in _SIDES if f"{s}_foot" in at]
    if feet:
        toes = [_unit(at[f"{s}_foot"] - at[f"{s}_ankle"]) for s in feet]
        says.append(float(np.mean((np.stack(toes) * _unit(ahead)).sum(axis=-1))))
    return bool(says) and max(says) < _MIRRORED


def mirrored(motion: SkeletonMotion, joints: Mapping[str, int]) -> SkeletonMotion:
    """The mirror image in which the body, in its zero pose or on average, does not face backward.

    A file does not tell which axis was turned over to make it left-handed; one that leaves left on
    the side of a positive axis is taken to have turned over the one ahead.
    """
    axes = standing_axes(motion.rest_positions(), joints)
    if axes is not None:
        left, _, ahead = axes
    else:
        at = _some_positions(motion, joints)
        left = np.mean(at["left_hip"] - at["right_hip"], axis=0)
        ahead = np.cross(left, np.mean(at["head"] - at["left_hip"], axis=0))
    over = left if left[np.abs(left).argmax()] < 0 else ahead
    flip = np.eye(3)
    flip[np.abs(over).argmax(), np.abs(over).argmax()] = -1.0
    return motion.in_axes(flip)


def _some_positions(motion: SkeletonMotion, joints: Mapping[str, int]) -> dict[str, np.ndarray]:
    """Positions (N, 3) by SMPL joint, in some of the frames."""
    some = motion.thinned(_MAX_FRAMES)
    positions = some.positions(some.world_rotmat())
    return {name: positions[:, index] for name, index in joints.items()}


class _Stance:
    """The axes of each joint of a body that stands, found in its motion."""

    def __init__(
        self,
        motion: SkeletonMotion,
        joints: Mapping[str, int],
        target: Mapping[str, np.ndarray],
    ) -> None:
        motion = motion.thinned(_MAX_FRAMES)
        self._rotmat = motion.world_rotmat()
        self._positions = motion.positions(self._rotmat)
        self._speed = np.linalg.norm(np.gradient(self._positions, axis=0), axis=-1)
        self._joints, self._target = joints, target
        self._parents = motion.parents
        self._turned: dict[int, np.ndarray] = {}  # by joint, how its stance is turned in each frame
        self.zero = np.tile(np.eye(3), (len(motion.names), 1, 1))
        self._trunk = self._trunk_frames()
        self.up = self._way_up()
        self._find()

    def _find(self) -> None:
        for name in _TRUNK:
            if name in self._joints:
                self._follow(self._joints[name], self._trunk)
        for side in _SIDES:
            for limb, names in _LIMBS.items():
                self._find_limb(f"{side}_{limb}", [f"{side}_{name}" for name in names])
            self._find_foot(side)
        for joint in range(len(self._parents)):
            if joint not in self._turned:
                above = [j for j in ancestors(joint, self._parents)[1:] if j in self._turned]
                self._follow(joint, self._turned[above[0]] if above else self._trunk)

    def _at(self, joint: str) -> np.ndarray:
        return self._positions[:, self._joints[joint]]

    def _trunk_frames(self) -> np.ndarray:
        """How SMPL's resting trunk is turned in each frame (N, 3, 3), by hips and shoulders."""
        names = [f"{side}_{joint}" for joint in ("hip", "shoulder") for side in _SIDES]
        source = _frames(*(self._at(name) for name in names))
        return source @ _frames(*(self._target[name] for name in names)).T

    def _way_up(self) -> np.ndarray:
        """The world's axis along which the trunk is on average; y where it is along none."""
        mean = self._trunk[..., 1].mean(axis=0)
        axis = nearest_axis(mean, _STEADY) if np.linalg.norm(mean) > _STEADY else None
        return np.array([0.0, 1.0, 0.0]) if axis is None else axis

    def _settle(self, joint: int, zero: np.ndarray) -> None:
        self.zero[joint] = zero
        self._turned[joint] = self._rotmat[:, joint] @ zero.T

    def _follow(self, joint: int, frames: np.ndarray) -> None:
        """Let a joint on average be turned as `frames` (N, 3, 3)."""
        mean = (np.swapaxes(self._rotmat[:, joint], -1, -2) @ frames).mean(axis=0)
        left, _, right = np.linalg.svd(mean)
        left[:, 2] *= np.linalg.det(left @ right)
        self._settle(joint, (left @ right).T)

    def _find_limb(self, limb: str, names: list[str]) -> None:
        """Settle the joints at the start and in the middle of a limb by bones and hinge."""
        bones = [
            (start, _unit(self._at(end) - self._at(start)), self._target[end] - self._target[start])
            for start, end in pairwise(names)
            if end in self._joints
        ]
        hinge = np.cross(bones[0][1], bones[1][1]) if len(bones) == 2 else np.zeros(3)
        for start, points, rest in bones:
            axis = np.array(_HINGES[limb])
            swung = _smallest_turns(_unit(rest), np.einsum("nji,nj->ni", self._trunk, points))
            unbent = np.einsum("nij,njk,k->ni", self._trunk, swung, axis)
            inverse = np.swapaxes(self._rotmat[:, self._joints[start]], -1, -2)
            bone = (inverse @ points[..., None]).mean(axis=0)[:, 0]
            bend = (inverse @ (hinge + _UNBENT * unbent)[..., None]).mean(axis=0)[:, 0]
            self._settle(self._joints[start], _basis(rest, axis) @ _basis(bone, bend).T)
        for name in names:
            index = self._joints.get(name)
            if index is not None and index not in self._turned:
                self._follow(index, self._turned[self._joints[names[names.index(name) - 1]]])

    def _find_foot(self, side: str) -> None:
        """Settle ankle and toes: level while planted, pointing to the toes."""
        ankle, toes = self._joints[f"{side}_ankle"], self._joints.get(f"{side}_foot")
        if toes is None:
            return
        height, speed = self._positions[:, toes] @ self.up, self._speed[:, toes]
        planted = (height <= np.percentile(height, _PLANTED)) & (
            speed <= np.percentile(speed, _PLANTED)
        )
        if planted.any():
            inverse = np.swapaxes(self._rotmat[planted, ankle], -1, -2)
            points = self._positions[planted, toes] - self._positions[planted, ankle]
            up = (inverse @ self.up).mean(axis=0)
            ahead = (inverse @ points[..., None]).mean(axis=0)[:, 0]
            rest = self._target[f"{side}_foot"] - self._target[f"{side}_ankle"]
            level = _basis(np.array([0.0, 1.0, 0.0]), rest)
            self._settle(ankle, level @ _basis(up, ahead).T)
        self._follow(toes, self._turned[ankle])


def _frames(
    left_hip: np.ndarray,
    right_hip: np.ndarray,
    left_shoulder: np.ndarray,
    right_shoulder: np.ndarray,
) -> np.ndarray:
    """Axes (..., 3, 3), as columns, of trunks whose hips and shoulders are given (..., 3)."""
    up = _unit(left_shoulder + right_shoulder - left_hip - right_hip)
    left = _unit(left_hip - right_hip) + _unit(left_shoulder - right_shoulder)
    left = _unit(left - (left * up).sum(axis=-1, keepdims=True) * up)
    return np.stack([left, up, np.cross(left, up)], axis=-1)


def _basis(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Axes (3, 3), as columns: along `first`, then as near to `second` as can be.

    Raises:
        ValueError: There are no such directions: bones of no length.
    """
    x = first / max(np.linalg.norm(first), 1e-12)
    y = second - (second @ x) * x
    if min(np.linalg.norm(first), np.linalg.norm(y)) < 1e-9:
        raise ValueError(
            "its zero pose is not that of somebody standing, and its motion does not show where "
            "the bones point: some have no length. Export it with a T-pose as the zero pose"
        )
    y = y / np.linalg.norm(y)
    return np.stack([x, y, np.cross(x, y)], axis=-1)


def _smallest_turns(start: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """Rotations (N, 3, 3) of the smallest angles that take a unit vector (3,) to others (N, 3)."""
    half = _unit(start + ends)  # half a turn about `start`, then one about the middle
    about_half = 2 * half[..., None] * half[..., None, :] - np.eye(3)
    return about_half @ (2 * start[:, None] * start - np.eye(3))


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12)
