"""Which frames of a recording show a human, and which a glitch of the capture?

CMU's recordings begin with a T-pose out of which the body jumps, and where markers were lost limbs
flip over, or the whole body is elsewhere in the next frame. A discriminator that is shown such
frames as real motion learns to accept them, so a recording is cut there into clean pieces.

Shapes: N frames, J = 24 joints.
"""

import numpy as np
from scipy.spatial.transform import Rotation

from vibe_ray.body.skeletons import SMPL_JOINTS, indices

MAX_SPEED = 40.0
"""Radians per second; the fastest turns in sound recordings of kicks and flips are below 30."""
MAX_ROOT_SPEED = 15.0
"""Meters per second; the fastest sprinter reaches 12.4. A root that is faster has jumped."""
MAX_TWIST = np.deg2rad(110.0)
"""About the bone of a thigh, a forearm or a hand, away from the T-pose. Dancers reach 70 degrees;
a limb that is turned further has been flipped over."""
MAX_DISTANCE_M = 1e4
"""From the origin. No recording goes over more than a few kilometers."""
MARGIN = 0.1
"""Seconds left out before and after a glitch: its neighbors are smeared by the same fault."""

_SIDES = ("left", "right")
_TWISTING = (("hip", "knee"), ("elbow", "wrist"), ("wrist", "hand"))
_UNJUDGED = indices(
    [f"{side}_{joint}" for side in _SIDES for joint in ("foot", "hand")], SMPL_JOINTS
)
"""Toes and hands are noise in most recordings, too small to matter."""


def clean_pieces(
    pose: np.ndarray, trans: np.ndarray, fps: float, rest_joints: np.ndarray
) -> list[slice]:
    """Longest runs of frames in which nothing is beyond what people do.

    Args:
        pose: (N, 72) axis-angle.
        trans: (N, 3) of the root, meters.
        fps: Their frame rate; speeds are best judged at the rate of the recording.
        rest_joints: (J, 3) joints of the body at rest.

    Returns:
        Slices of frames, in order; one of all frames for a clean recording.
    """
    rotations = Rotation.from_rotvec(pose.reshape(-1, 3))
    bad = _is_twisted(rotations.as_quat().reshape(len(pose), -1, 4), rest_joints)
    jumps = _speeds(rotations.as_matrix().reshape(len(pose), -1, 3, 3), fps) > MAX_SPEED
    jumps |= np.linalg.norm(np.diff(trans, axis=0), axis=1) * fps > MAX_ROOT_SPEED
    bad[:-1] |= jumps
    bad[1:] |= jumps
    around = int(np.ceil(MARGIN * fps))
    near = np.convolve(bad, np.ones(2 * around + 1), mode="same")[: len(bad)] > 0
    # Where a run of good frames begins and ends, read off the changes of the mask.
    edges = np.flatnonzero(np.diff(np.concatenate([[0], ~near, [0]]).astype(np.int8)))
    return [slice(int(start), int(end)) for start, end in edges.reshape(-1, 2)]


def _speeds(rotmat: np.ndarray, fps: float) -> np.ndarray:
    """Fastest turn of any judged joint from each frame to the next (N - 1), radians per second."""
    judged = np.delete(rotmat, _UNJUDGED, axis=1)
    turns = np.swapaxes(judged[:-1], -1, -2) @ judged[1:]
    angles = Rotation.from_matrix(turns.reshape(-1, 3, 3)).magnitude().reshape(turns.shape[:2])
    return angles.max(axis=1, initial=0.0) * fps


def _is_twisted(quaternion: np.ndarray, rest_joints: np.ndarray) -> np.ndarray:
    """Frames (N,) in which a limb is turned too far about its own bone; quaternions (N, J, 4)."""
    twisted = np.zeros(len(quaternion), dtype=bool)
    for start, end in _TWISTING:
        for side in _SIDES:
            joint, far_end = indices([f"{side}_{start}", f"{side}_{end}"], SMPL_JOINTS)
            twist = twist_about(quaternion[:, joint], rest_joints[far_end] - rest_joints[joint])
            twisted |= np.abs(twist) > MAX_TWIST
    return twisted


def twist_about(quaternion: np.ndarray, bone: np.ndarray) -> np.ndarray:
    """The part of rotations (N, 4: x, y, z, w) that turns about a bone's axis (3,): angles (N,)."""
    axis = bone / np.linalg.norm(bone)
    half = np.arctan2(quaternion[:, :3] @ axis, quaternion[:, 3])
    return (2 * half + np.pi) % (2 * np.pi) - np.pi
