"""What is MakeHuman's A-pose as a T-pose with SMPL's meaning of zero?

The T-pose surface is the one that linear blend skinning carries exactly onto the sculpted A-pose,
so that poses with arms down, which real video is full of, are the clean ones.

Shapes: V vertices, J = 24 joints.
"""

from dataclasses import dataclass

import numpy as np
import scipy.sparse

from vibe_ray.body.open_body.makehuman import Bones, MakeHuman
from vibe_ray.body.open_body.rig import SIDES
from vibe_ray.body.skeletons import SMPL_JOINTS, SMPL_MIRROR, SMPL_PARENTS

PELVIS = np.array([0.0, -0.24, 0.028])
"""Where the pelvis is for every shape: as in SMPL, the origin lies in the upper trunk."""

# Directions of the left limbs in the zero pose (x left, y up, z front): the convention that a pose
# refers to, rounded. The twist comes from the body itself: elbow hinge and palm face down.
_THIGH = np.array([0.09, -0.995, -0.014])
_SHANK = np.array([-0.034, -0.993, -0.110])
_UPPER_ARM = np.array([0.992, -0.05, -0.10])
_FOREARM = np.array([0.998, 0.02, -0.01])
_HAND = np.array([0.98, -0.08, -0.12])
_DOWN = np.array([0.0, -1.0, 0.0])
_LEFT = np.array([1.0, 0.0, 0.0])
_FOOT_YAW = np.radians(5.0)
_COLLAR_LIFT = np.radians(9.0)
_FLIP = np.diag([-1.0, 1.0, 1.0])


def unit(vectors: np.ndarray) -> np.ndarray:
    """Vectors (..., 3) made of length one."""
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def a_pose_transforms(bones: Bones, joints: np.ndarray) -> tuple[np.ndarray, ...]:
    """Find the T-pose of a body in A-pose.

    Args:
        bones: MakeHuman's bones of the shape.
        joints: SMPL's joints (J, 3) in A-pose.

    Returns:
        T-pose joints (J, 3), and what carries T-pose to A-pose: rotations (J, 3, 3) and
        translations (J, 3).
    """
    rotations = np.tile(np.eye(3), (len(SMPL_JOINTS), 1, 1))
    for side, letter in SIDES:
        for name, rotation in _limb_rotations(bones, joints, side, letter).items():
            rotations[SMPL_JOINTS.index(f"{side}_{name}")] = rotation
    rest = np.zeros_like(joints)
    rest[0] = joints[0]
    for joint, parent in enumerate(SMPL_PARENTS[1:], start=1):
        rest[joint] = rest[parent] + rotations[parent].T @ (joints[joint] - joints[parent])
    return rest, rotations, joints - np.einsum("jab,jb->ja", rotations, rest)


@dataclass(frozen=True, kw_only=True)
class TPoser:
    """Takes shapes of the base mesh from A-pose to T-pose."""

    makehuman: MakeHuman
    weights: np.ndarray
    """Skin weights (V, J)."""
    regressor: scipy.sparse.csr_matrix
    """SMPL's joints in A-pose as weighted sums of vertices (J, V)."""
    mirror: np.ndarray
    """Each vertex's mirror image (V,), -1 where it is of no use."""

    def pose(self, verts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Turn A-pose vertices (V, 3) into a T-pose with the pelvis at `PELVIS`.

        Returns:
            Vertices (V, 3), symmetric, NaN where of no use; and joints (J, 3), symmetric.
        """
        used = np.flatnonzero(self.mirror >= 0)
        joints, rotations, shifts = a_pose_transforms(
            self.makehuman.bones(verts), self.regressor @ verts
        )
        posed = np.full_like(verts, np.nan)
        posed[used] = _undo_skinning(verts[used], self.weights[used], rotations, shifts)
        offset = PELVIS - joints[0]
        posed, joints = posed + offset, joints + offset
        across = np.where(self.mirror[:, None] >= 0, posed[self.mirror] * [-1, 1, 1], np.nan)
        return 0.5 * (posed + across), 0.5 * (joints + joints[SMPL_MIRROR] * [-1, 1, 1])


def _undo_skinning(
    verts: np.ndarray, weights: np.ndarray, rotations: np.ndarray, shifts: np.ndarray
) -> np.ndarray:
    """Find the vertices (V, 3) that linear blend skinning moves exactly to `verts`."""
    blended = np.einsum("vj,jab->vab", weights, rotations)
    return np.linalg.solve(blended, (verts - weights @ shifts)[..., None])[..., 0]


def _limb_rotations(
    bones: Bones, joints: np.ndarray, side: str, letter: str
) -> dict[str, np.ndarray]:
    """Rotations of one side's joints; the right side is worked out as a mirrored left one."""
    flip = np.eye(3) if side == "left" else _FLIP

    def bone(start: str, end: str) -> np.ndarray:
        ends = [joints[SMPL_JOINTS.index(f"{side}_{name}")] for name in (start, end)]
        return flip @ ends[1] - flip @ ends[0]

    upper_arm, forearm = unit(bone("shoulder", "elbow")), unit(bone("elbow", "wrist"))
    hinge = unit(np.cross(upper_arm, forearm))
    hand = bone("wrist", "hand")
    across = flip @ (bones[f"finger2-1.{letter}"][0] - bones[f"finger5-1.{letter}"][0])
    palm = -np.cross(across, hand)
    rotations = {
        "hip": _turn(_THIGH, _LEFT, bone("hip", "knee"), _LEFT),
        "knee": _turn(_SHANK, _LEFT, bone("knee", "ankle"), _LEFT),
        "ankle": _about_y(-_FOOT_YAW),
        "foot": _about_y(-_FOOT_YAW),
        "collar": _about_z(-_COLLAR_LIFT),
        "shoulder": _turn(_UPPER_ARM, _DOWN, upper_arm, hinge),
        "elbow": _turn(_FOREARM, _DOWN, forearm, hinge),
        "wrist": _turn(_HAND, _DOWN, hand, palm),
        "hand": _turn(_HAND, _DOWN, hand, palm),
    }
    return {name: flip @ rotation @ flip for name, rotation in rotations.items()}


def _turn(
    from_axis: np.ndarray, from_side: np.ndarray, to_axis: np.ndarray, to_side: np.ndarray
) -> np.ndarray:
    """The rotation that takes one bone's axis and side direction to another's."""
    return _frame(to_axis, to_side) @ _frame(from_axis, from_side).T


def _frame(axis: np.ndarray, side: np.ndarray) -> np.ndarray:
    axis = unit(axis)
    side = unit(side - (side * axis).sum(-1, keepdims=True) * axis)
    return np.stack([axis, side, np.cross(axis, side)], -1)


def _about_y(angle: float) -> np.ndarray:
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])


def _about_z(angle: float) -> np.ndarray:
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, -s, 0], [s, c, 0], [0, 0, 1.0]])
