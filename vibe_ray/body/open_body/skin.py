"""Which of SMPL's 24 joints moves which piece of skin? From the weights of MakeHuman's 163 bones.

Shapes: V vertices of the base mesh, J = 24 joints.
"""

import numpy as np

from vibe_ray.body.open_body.makehuman import MakeHuman
from vibe_ray.body.skeletons import SMPL_JOINTS, SMPL_MIRROR, indices

NUM_JOINTS = len(SMPL_JOINTS)
MAX_INFLUENCES = 4
MIDLINE = 1e-6

_SIDES = {".L": "left_", ".R": "right_"}
# The joint that a bone's share goes to, by how the bone's name begins; first match counts.
_LIMB_JOINTS = {
    "upperleg": "hip", "lowerleg": "knee", "foot": "ankle", "toe": "foot",
    "clavicle": "collar", "shoulder01": "collar", "upperarm": "shoulder", "lowerarm": "elbow",
    "wrist": "wrist", "metacarpal": "wrist", "finger": "hand",
}  # fmt: skip
_TRUNK_BONES = ("root", "pelvis", "breast", "spine")


def skin_weights(
    makehuman: MakeHuman, verts: np.ndarray, joints: np.ndarray, mirror: np.ndarray
) -> np.ndarray:
    """Weight the skin.

    Args:
        makehuman: The data.
        verts: The neutral shape (V, 3), which tells the height of the trunk's vertices.
        joints: Its joints (J, 3).
        mirror: Each vertex's mirror image (V,), -1 where it is of no use.

    Returns:
        Weights (V, J): symmetric, at most four a vertex, rows sum to one (zeros where of no use).
    """
    used = np.flatnonzero(mirror >= 0)
    weights = _collect(makehuman, verts, joints)
    weights[used] = 0.5 * (weights[used] + weights[mirror[used]][:, SMPL_MIRROR])
    weights[used] /= weights[used].sum(axis=1, keepdims=True)

    side = makehuman.verts[used, 0]
    right, middle = used[side < -MIDLINE], used[np.abs(side) <= MIDLINE]
    pruned = np.zeros_like(weights)
    pruned[used] = _prune(weights[used])
    pruned[right] = pruned[mirror[right]][:, SMPL_MIRROR]
    pruned[middle] = _drop_below(weights[middle], 0.03)
    return pruned


def _collect(makehuman: MakeHuman, verts: np.ndarray, joints: np.ndarray) -> np.ndarray:
    """Add the bones' weights up, joint by joint: (V, J)."""
    weights = np.zeros((len(makehuman.verts), NUM_JOINTS))
    trunk = np.zeros(len(makehuman.verts))
    for bone, pairs in makehuman.weights().items():
        if not pairs:
            continue
        moved = np.array([vertex for vertex, _ in pairs], int)
        amount = np.array([weight for _, weight in pairs])
        if bone.startswith(_TRUNK_BONES):
            trunk[moved] += amount
            continue
        owners = _owners(bone)
        for joint in owners:
            weights[moved, joint] += amount / len(owners)
    return weights + trunk[:, None] * _trunk_shares(verts[:, 1], joints[:, 1])


def _owners(bone: str) -> list[int]:
    """The joints that share a bone, evenly."""
    if bone in ("neck01", "neck02"):
        return indices(["neck"], SMPL_JOINTS)
    if bone == "neck03":
        return indices(["neck", "head"], SMPL_JOINTS)
    for start, joint in _LIMB_JOINTS.items():
        if bone.startswith(start):
            return indices([_SIDES[bone[-2:]] + joint], SMPL_JOINTS)
    return indices(["head"], SMPL_JOINTS)  # the skull and every bone of the face


def _trunk_shares(height: np.ndarray, joint_height: np.ndarray) -> np.ndarray:
    """Split the trunk by height between pelvis and spine, with smooth steps at the joints."""
    order = indices(["pelvis", "spine1", "spine2", "spine3"], SMPL_JOINTS)
    above_1 = _smooth_step(height, joint_height[order[1]], 0.07)
    above_2 = _smooth_step(height, joint_height[order[2]], 0.055)
    above_3 = _smooth_step(height, joint_height[order[3]] + 0.01, 0.05)
    shares = np.zeros((len(height), NUM_JOINTS))
    shares[:, order] = np.stack(
        [
            1 - above_1,
            above_1 * (1 - above_2),
            above_1 * above_2 * (1 - above_3),
            above_1 * above_2 * above_3,
        ],
        axis=1,
    )
    return shares


def _smooth_step(value: np.ndarray, center: float, half_width: float) -> np.ndarray:
    share = np.clip((value - center + half_width) / (2 * half_width), 0, 1)
    return share * share * (3 - 2 * share)


def _prune(weights: np.ndarray) -> np.ndarray:
    """Keep each vertex's strongest joints."""
    kept = weights.copy()
    weakest = np.argsort(kept, axis=1)[:, :-MAX_INFLUENCES]
    np.put_along_axis(kept, weakest, 0, axis=1)
    return _drop_below(kept, 5e-3)


def _drop_below(weights: np.ndarray, threshold: float) -> np.ndarray:
    kept = np.where(weights < threshold, 0, weights)
    return kept / kept.sum(axis=1, keepdims=True)
