"""Recordings as other programs write them, against joints from an independent forward kinematics.

A folder has a recording and, in `truth.npz`, its joints (N, 22, 3) in meters, y up, by the names of
Mixamo's rig. Heading and place are free: one turn about the vertical and one shift for the clip.
"""

from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from vibe_ray.body.model import BodyConfig, load_body
from vibe_ray.body.skeletons import MIXAMO_NAMES, SMPL_JOINTS, SMPL_PARENTS
from vibe_ray.data.schema import MotionSequence

CASES = (
    "amc_comment",
    "bvh_biped_names",
    "bvh_names_with_blanks",
    "bvh_rest_lies_world_yup",
    "bvh_rig_Character1_",
    "bvh_rig_mixamorig1_",
    "bvh_rig_rokoko",
    "bvh_rig_smpl",
    "bvh_rig_unreal",
    "bvh_word_motion_in_name",
    "bvh_zero_offsets",
)
BONES = [
    (f"{side}_{upper}", f"{side}_{lower}")
    for side in ("left", "right")
    for upper, lower in (
        *(("hip", "knee"), ("knee", "ankle"), ("shoulder", "elbow"), ("elbow", "wrist")),
    )
]


def naive_joints(motion: MotionSequence) -> np.ndarray:
    """SMPL's joints (N, 24, 3), joint by joint."""
    rest = load_body(BodyConfig()).rest_joints()[0]
    turns = Rotation.from_rotvec(motion.pose.reshape(-1, 3)).as_matrix().reshape(-1, 24, 3, 3)
    turns, joints = list(turns.swapaxes(0, 1)), [rest[0] + motion.trans]
    for joint, parent in list(enumerate(SMPL_PARENTS))[1:]:
        joints.append(joints[parent] + turns[parent] @ (rest[joint] - rest[parent]))
        turns[joint] = turns[parent] @ turns[joint]
    return np.stack(joints, axis=1)


def hips(joints: dict[str, np.ndarray]) -> np.ndarray:
    """Middle (N, 3) of the hip joints, which every rig has in the same place of the body."""
    return (joints["left_hip"] + joints["right_hip"]) / 2


def leg(joints: dict[str, np.ndarray]) -> float:
    """Length of the left leg."""
    parts = (("left_hip", "left_knee"), ("left_knee", "left_ankle"))
    return sum(float(np.linalg.norm(joints[a] - joints[b], axis=1).mean()) for a, b in parts)


def directions(joints: dict[str, np.ndarray]) -> np.ndarray:
    """Unit vectors (N, 8, 3) along the bones of the limbs."""
    bones = np.stack([joints[lower] - joints[upper] for upper, lower in BONES], axis=1)
    return bones / np.linalg.norm(bones, axis=-1, keepdims=True)


def heading(found: np.ndarray, true: np.ndarray) -> np.ndarray:
    """The turn about y (3, 3) that takes directions (..., 3) nearest to others."""
    x, z = found[..., 0], found[..., 2]
    sine = (true[..., 0] * z - true[..., 2] * x).sum()
    cosine = (true[..., 0] * x + true[..., 2] * z).sum()
    return Rotation.from_rotvec([0, np.arctan2(sine, cosine), 0]).as_matrix()


@pytest.mark.parametrize("case", CASES)
def test_limbs_and_path_are_those_of_the_truth(case: str, test_data: Path) -> None:
    folder = test_data / "cases" / case
    source = import_module(f"vibe_ray.data.sources.{case.partition('_')[0]}")
    (motion,) = source.read_sequences(str(folder))
    with np.load(folder / "truth.npz") as file:
        names, positions = list(file["names"]), file["joints_25fps_m"].astype(np.float64)
    assert (motion.fps, motion.num_frames) == (25, len(positions))
    true = {
        joint: positions[:, names.index(name)]
        for joint, name in MIXAMO_NAMES.items()
        if name in names
    }
    found = dict(zip(SMPL_JOINTS, naive_joints(motion).swapaxes(0, 1), strict=True))

    turn = heading(directions(found), directions(true))
    cosines = (directions(found) @ turn.T * directions(true)).sum(axis=-1)
    degrees = np.degrees(np.arccos(np.clip(cosines, -1, 1)))
    ratio = leg(found) / leg(true)
    shift = hips(found) @ turn.T - ratio * hips(true)
    off = np.linalg.norm(shift - shift.mean(axis=0), axis=1)
    assert degrees.max() < 0.5
    assert off.max() < 0.005
