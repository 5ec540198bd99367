"""Where does a detector see the joints of a body? Not quite where the body has them.

People who marked pictures for a detector put a shoulder on the seam of a sleeve and an ankle above
the foot; a body model's joints are where its bones turn. The offsets here lead from the body's
joints to where they are marked. They were measured with `tests/benchmarks/detected_joints.py`: the
open body is rendered in random poses, shapes and views, MoveNet looks at the pictures, and the
offsets are what brings the body's key-points onto what it says. Other detectors learned from the
same pictures (COCO).
"""

from dataclasses import dataclass

import numpy as np

from vibe_ray.body.skeletons import SMPL_JOINTS, mirrored_name


@dataclass(frozen=True)
class Offset:
    """From a key-point of the body to where it is detected."""

    bone: str
    """The joint of `SMPL_JOINTS` with which the offset turns; of left key-points `left_...`."""
    millimeters: tuple[float, float, float]
    """In the axes of the zero pose, x to the left, y up, z ahead; of the left side."""


OFFSETS = {
    "nose": Offset("head", (0.0, 8.8, -25.5)),
    "leye": Offset("head", (-4.1, -1.3, -20.0)),
    "lear": Offset("head", (-21.6, -1.0, 10.6)),
    "lshoulder": Offset("left_collar", (-14.2, 26.9, -10.7)),
    "lelbow": Offset("left_shoulder", (-10.2, 1.0, 5.3)),
    "lwrist": Offset("left_elbow", (-3.8, 1.9, 0.5)),
    "lhip": Offset("pelvis", (-17.5, -11.9, 6.0)),
    "OP LHip": Offset("pelvis", (9.1, 49.1, -11.4)),
    "lknee": Offset("left_hip", (-4.2, 7.4, 4.7)),
    "lankle": Offset("left_knee", (4.6, 19.9, -0.4)),
}
"""Of key-points of the left side; those of the right are their mirror images. Toes and heels, which
MoveNet does not report, have none, and neither have those of `COMPUTED`."""
COMPUTED = ("OP Neck", "OP MidHip")
"""Detectors take the middle of the shoulders and of the hips they see, where the body's own points
are not: these say nothing that those do not say."""


def offset_of(keypoint: str) -> tuple[int, np.ndarray]:
    """Return where a key-point of `KEYPOINTS` is detected.

    Returns:
        The bone's number among SMPL's 24, and the offset (3,) in meters in its axes: zeros where
        none was measured.
    """
    for name, side in ((keypoint, 1), (mirrored_name(keypoint), -1)):
        # But for the hips OpenPose's joints are the body's same ones as COCO's.
        offset = OFFSETS.get(name) or OFFSETS.get(name.removeprefix("OP ").lower())
        if offset is not None:
            bone = offset.bone if side == 1 else mirrored_name(offset.bone)
            x, y, z = offset.millimeters
            return SMPL_JOINTS.index(bone), np.array([side * x, y, z]) / 1000
    return SMPL_JOINTS.index("pelvis"), np.zeros(3)
