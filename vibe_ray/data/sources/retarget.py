"""How does a motion of a foreign skeleton become SMPL's pose? Written once, for all formats.

Each bone's turn away from its pose in a stance is carried over in the world; `stance.py` finds that
stance. Where the two rest poses differ, a limb gets the smallest constant turn that makes the rest
directions agree: arms and legs of source and result then point the same way in every frame.

Shapes: N frames, S joints of the source, J = 24 SMPL joints.
"""

from collections.abc import Mapping
from itertools import pairwise

import numpy as np
from scipy.ndimage import gaussian_filter1d
from scipy.spatial.transform import Rotation

from vibe_ray.body.skeletons import SMPL_JOINTS, SMPL_PARENTS
from vibe_ray.data.sources.plausible import MAX_DISTANCE_M, twist_about
from vibe_ray.data.sources.skeleton import SkeletonMotion
from vibe_ray.data.sources.stance import stand

_SIDES = ("left", "right")
_LIMB_BONES = {"hip": "knee", "knee": "ankle", "shoulder": "elbow", "elbow": "wrist"}
"""Joint and the joint at the other end of its bone: bones whose directions are made to agree."""
_TRUNK = ("pelvis", "spine1", "spine2", "spine3", "neck", "head")

COLLAR_SHARE = 0.2
"""Share of the arm's swing that a shoulder girdle takes, where the source has no collars."""
TWIST_SHARE = 0.5
"""Share of the hand's turn about the forearm that SMPL's elbow takes: people pronate with the
forearm, but most rigs turn the hand."""
LOOSE = np.deg2rad(0.1)
"""Turn of a bone against the joint that bears it from which it is not rounding in a file."""
END_SMOOTHING = 0.025
"""Seconds: width (sigma) of the Gaussian that calms toes and hands, half power at 5 Hz."""


def retarget(
    motion: SkeletonMotion, joints: Mapping[str, int], rest_joints: np.ndarray, fps: float
) -> tuple[np.ndarray, np.ndarray]:
    """Carry a motion over to a body of SMPL's skeleton.

    Args:
        motion: The recording, in any unit and with any axis up.
        joints: Index of the source joint for each SMPL joint's name; those of `rigs.REQUIRED` at
            least.
        rest_joints: (J, 3) joints of the body in rest pose, in meters.
        fps: Frame rate of the recording.

    Returns:
        Pose (N, 72) axis-angle in the world (y up; facing as recorded) and the pelvis' position
        (N, 3) in meters, scaled by the length of the legs. float32.

    Raises:
        ValueError: Bones of no length, or a path longer than a person can go.
    """
    target = {name: rest_joints[index] for index, name in enumerate(SMPL_JOINTS)}
    motion = stand(motion, joints, target)
    source_rest, source_world = motion.rest_positions(), motion.world_rotmat()
    positions = motion.positions(source_world)

    turns = _rest_corrections(source_rest, joints, target)
    world = {
        name: source_world[:, joint] @ turns.get(name, np.eye(3)) for name, joint in joints.items()
    }
    _follow_loose_bones(world, positions, joints, target)
    _spread_over_trunk(world)
    _steady_ends(world, fps)
    for side in _SIDES:
        _complete_arm(world, target, side)
    source_leg = _leg_length({name: source_rest[joint] for name, joint in joints.items()})
    if source_leg == 0:
        raise ValueError("its legs have no length: the file has no bones")
    hips = positions[:, [joints["left_hip"], joints["right_hip"]]]
    middle = hips.mean(axis=1) * (_leg_length(target) / source_leg)
    if (distance := np.abs(middle).max(initial=0.0)) > MAX_DISTANCE_M:
        raise ValueError(
            f"it goes {distance:.3g} m from the origin, on the scale of its legs: farther than "
            "a person goes"
        )
    # Rigs put their root at various places of the pelvis, but hip joints are hip joints.
    offset = (target["left_hip"] + target["right_hip"]) / 2 - target["pelvis"]
    trans = middle - world["pelvis"] @ offset
    return _local_pose(world).astype(np.float32), trans.astype(np.float32)


def _rest_corrections(
    source: np.ndarray, joints: Mapping[str, int], target: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """Constant rotation (3, 3) of each limb joint: from the body's rest pose to the source's."""
    corrections = {}
    for side in _SIDES:
        for start, end in _LIMB_BONES.items():
            bone = f"{side}_{start}", f"{side}_{end}"
            if bone[1] in joints:
                corrections[bone[0]] = _smallest_turn(
                    target[bone[1]] - target[bone[0]],
                    source[joints[bone[1]]] - source[joints[bone[0]]],
                )
        # A hand follows its forearm from rest pose to rest pose. A foot keeps its sole level and
        # only points where the source's does, because rigs put the ankle at different heights.
        corrections[f"{side}_wrist"] = corrections.get(f"{side}_elbow", np.eye(3))
        ankle, foot = f"{side}_ankle", f"{side}_foot"
        if foot in joints:
            level = np.array([1.0, 0.0, 1.0])
            yaw = _smallest_turn(
                (target[foot] - target[ankle]) * level,
                (source[joints[foot]] - source[joints[ankle]]) * level,
            )
            corrections[ankle] = corrections[foot] = yaw
    return corrections


def _follow_loose_bones(
    world: dict[str, np.ndarray],
    positions: np.ndarray,
    joints: Mapping[str, int],
    target: Mapping[str, np.ndarray],
) -> None:
    """Turn limbs on to where the source's point, where other joints or channels bend them.

    Between two joints of SMPL's a rig may have more that turn (`LeftUpLegRoll`), and a joint may
    have position channels that move: then no constant turn makes the directions agree.
    """
    for side in _SIDES:
        for start, end in _LIMB_BONES.items():
            start, end = f"{side}_{start}", f"{side}_{end}"
            if end not in joints:
                continue
            wanted = positions[:, joints[end]] - positions[:, joints[start]]
            found = world[start] @ (target[end] - target[start])
            axis = np.cross(found, wanted)
            sine = np.linalg.norm(axis, axis=-1, keepdims=True)
            angle = np.arctan2(sine, (found * wanted).sum(axis=-1, keepdims=True))
            if angle.max(initial=0.0) > LOOSE:
                turn = _matrix(axis / np.maximum(sine, 1e-12) * angle)
                world[start] = turn @ world[start]


def _spread_over_trunk(world: dict[str, np.ndarray]) -> None:
    """Give trunk joints that the source lacks equal shares of the turn between their neighbors."""
    known = [name for name in _TRUNK if name in world]
    for below, above in pairwise(known):
        between = _TRUNK[_TRUNK.index(below) + 1 : _TRUNK.index(above)]
        if between:
            turn = _rotvec(np.swapaxes(world[below], -1, -2) @ world[above])
        for step, name in enumerate(between, start=1):
            world[name] = world[below] @ _matrix(turn * step / (len(between) + 1))


def _complete_arm(
    world: dict[str, np.ndarray], target: Mapping[str, np.ndarray], side: str
) -> None:
    """Add a collar where the source has none, and let the forearm turn with the hand."""
    collar, shoulder, elbow, wrist = (
        f"{side}_{joint}" for joint in ("collar", "shoulder", "elbow", "wrist")
    )
    if collar not in world:
        rest = _unit(target[elbow] - target[shoulder])
        arm = np.swapaxes(world["spine3"], -1, -2) @ world[shoulder] @ rest  # (N, 3)
        axis = np.cross(rest, arm)
        sine = np.linalg.norm(axis, axis=-1, keepdims=True)
        swing = axis / np.maximum(sine, 1e-9) * np.arctan2(sine, (arm @ rest)[:, None])
        world[collar] = world["spine3"] @ _matrix(COLLAR_SHARE * swing)
    if wrist in world:
        axis = _unit(target[wrist] - target[elbow])
        hand = np.swapaxes(world[elbow], -1, -2) @ world[wrist]
        twist = twist_about(Rotation.from_matrix(hand).as_quat(), axis)
        world[elbow] = world[elbow] @ _matrix(TWIST_SHARE * twist[:, None] * axis)


def _steady_ends(world: dict[str, np.ndarray], fps: float) -> None:
    """Calm toes and hands, which few markers hold: they flap by 90 degrees and more in a frame."""
    for side in _SIDES:
        for inner, end in (("ankle", "foot"), ("elbow", "wrist")):
            hinge, tip = f"{side}_{inner}", f"{side}_{end}"
            if tip in world:
                local = np.swapaxes(world[hinge], -1, -2) @ world[tip]
                quaternion = Rotation.from_matrix(local).as_quat()  # (N, 4)
                # q and -q are the same rotation: let neighbors agree before they are averaged.
                agree = np.sign((quaternion[1:] * quaternion[:-1]).sum(axis=1))
                quaternion[1:] *= np.cumprod(np.where(agree < 0, -1, 1))[:, None]
                smooth = gaussian_filter1d(quaternion, END_SMOOTHING * fps, axis=0, mode="nearest")
                world[tip] = world[hinge] @ Rotation.from_quat(smooth).as_matrix()


def _leg_length(rest: Mapping[str, np.ndarray]) -> float:
    """Mean length of the two legs, hip to knee to ankle."""
    bones = [
        rest[f"{side}_{end}"] - rest[f"{side}_{start}"]
        for side in _SIDES
        for start, end in (("hip", "knee"), ("knee", "ankle"))
    ]
    return float(np.linalg.norm(bones, axis=1).sum() / 2)


def _local_pose(world: Mapping[str, np.ndarray]) -> np.ndarray:
    """Pose (N, 72) from world rotations by name; a joint without one follows its parent."""
    rotmat = np.empty((len(world["pelvis"]), len(SMPL_JOINTS), 3, 3))
    for index, (name, parent) in enumerate(zip(SMPL_JOINTS, SMPL_PARENTS, strict=True)):
        rotmat[:, index] = world[name] if name in world else rotmat[:, parent]
    local = rotmat.copy()
    local[:, 1:] = np.swapaxes(rotmat[:, list(SMPL_PARENTS[1:])], -1, -2) @ rotmat[:, 1:]
    return _rotvec(local).reshape(len(local), -1)


def _smallest_turn(start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """Rotation (3, 3) of the smallest angle that takes direction `start` to `end`.

    The identity where there is no direction: a rig may put a hand at its elbow.
    """
    axis = np.cross(start, end)
    sine, cosine = np.linalg.norm(axis), start @ end
    return _matrix(axis / np.maximum(sine, 1e-12) * np.arctan2(sine, cosine))


def _unit(vector: np.ndarray) -> np.ndarray:
    return vector / np.linalg.norm(vector)


def _matrix(axis_angle: np.ndarray) -> np.ndarray:
    matrix = Rotation.from_rotvec(axis_angle.reshape(-1, 3)).as_matrix()
    return matrix.reshape(*axis_angle.shape[:-1], 3, 3)


def _rotvec(rotmat: np.ndarray) -> np.ndarray:
    axis_angle = Rotation.from_matrix(rotmat.reshape(-1, 3, 3)).as_rotvec()
    return axis_angle.reshape(rotmat.shape[:-1])
