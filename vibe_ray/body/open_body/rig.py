"""Where are SMPL's 24 joints in MakeHuman's skeleton of 163 bones?

Shapes: J = 24 joints; any leading dimensions (...).
"""

import numpy as np

from vibe_ray.body.open_body.makehuman import Bones
from vibe_ray.body.skeletons import SMPL_JOINTS

SIDES = (("left", "L"), ("right", "R"))


def mix(start: np.ndarray, end: np.ndarray, share: float) -> np.ndarray:
    """The point a share of the way from start to end."""
    return (1 - share) * start + share * end


def joint_centers(bones: Bones) -> np.ndarray:
    """Place SMPL's joints (..., J, 3) in MakeHuman's A-pose.

    The shares along the bones are chosen so that a rotation means what it means in SMPL.
    """
    joints: dict[str, np.ndarray] = {}
    for side, letter in SIDES:
        joints |= {f"{side}_{name}": at for name, at in _limb_joints(bones, letter).items()}
    return np.stack([(joints | _trunk_joints(bones, joints))[name] for name in SMPL_JOINTS], -2)


def _limb_joints(bones: Bones, letter: str) -> dict[str, np.ndarray]:
    def head(bone: str) -> np.ndarray:
        return bones[f"{bone}.{letter}"][0]

    def along(bone: str, share: float) -> np.ndarray:
        return mix(*bones[f"{bone}.{letter}"], share)

    knuckles = (head("finger2-1") + head("finger3-1") + head("finger4-1")) / 3
    return {
        # SMPL's hips are lower and nearer the middle than the anatomical ones, which decides the
        # thigh's direction and so what a hip rotation means.
        "hip": along("upperleg01", 0.72) * np.array([0.72, 1, 1]),
        "knee": head("lowerleg01"),
        "ankle": head("foot"),
        "foot": (head("toe2-1") + head("toe3-1") + head("toe4-1")) / 3,
        "collar": along("clavicle", 0.6),
        "shoulder": head("upperarm01"),
        "elbow": head("lowerarm01"),
        "wrist": head("wrist"),
        "hand": mix(head("wrist"), knuckles, 0.9),
    }


def _trunk_joints(bones: Bones, limbs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    neck = bones["neck01"][0]
    hips = (limbs["left_hip"] + limbs["right_hip"]) / 2
    pelvis = hips + (neck - hips) * 0.145
    return {
        "pelvis": pelvis * [1, 1, 0] + hips * [0, 0, 1],
        "spine1": bones["spine03"][0],
        "spine2": mix(*bones["spine02"], 0.40),
        "spine3": mix(*bones["spine02"], 0.76) + np.array([0, 0, 0.02]),
        "neck": neck,
        "head": mix(*bones["neck03"], 0.5),
    }
