"""Motion -> BVH: a skeleton and how its joints turn, for retargeting in other programs.

The zero pose is a T-pose, joints' axes are the world's, lengths are centimeters. BVH knows neither
skin nor variable frame rates nor when a person enters: frames are played at one rate, from the
first one on.

Shapes: N frames, T frames at the rate asked for, J = 24 joints.
"""

import io
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from vibe_ray import storage
from vibe_ray.body.model import BodyArrays
from vibe_ray.body.skeletons import MIXAMO_NAMES, SMPL_JOINTS, SMPL_PARENTS
from vibe_ray.data.resampling import playback_times, resample_positions, resample_rotations
from vibe_ray.export.animation import Animation
from vibe_ray.export.curves import rotmat_to_euler
from vibe_ray.export.rest import RestBody, rest_body

Rig = Literal["smpl", "mixamo"]

RIGS: dict[Rig, Sequence[str]] = {
    "smpl": SMPL_JOINTS,
    "mixamo": tuple(f"mixamorig:{MIXAMO_NAMES[name]}" for name in SMPL_JOINTS),
}
"""Joint names in the order of SMPL's."""
ORDERS = ("XZY", "YXZ", "ZXY", "YZX", "ZYX", "XYZ")
"""Of the angles, outermost first. Which of them keeps away from gimbal lock, near which angles turn
fast though the joint hardly does, depends on the motion: arms that hang are in the way of one,
knees that bend of another. One order serves all joints of a file: there are readers that take the
first joint's for granted."""
CM_PER_M = 100
MAX_FRAMES = 10_000_000
"""A rate that asks for more is a mistake."""


def write_bvh(
    path: str, animation: Animation, body: BodyArrays, *, fps: float, names: Rig = "smpl"
) -> None:
    """Write a person's motion as BVH, resampled to frames of equal length.

    Args:
        path: File to write, local or of a store; complete or not there.
        animation: The motion.
        body: The body that it moves.
        fps: Frames per second of the file.
        names: Joint names: "smpl" or "mixamo".

    Raises:
        ValueError: A rate that is no positive number or gives too many frames, or unknown names.
    """
    if names not in RIGS:
        raise ValueError(f"no rig {names!r}: expected one of {', '.join(RIGS)}")
    rotmat, transl = _at_rate(animation, fps)
    rest = rest_body(body, animation.betas)
    order, angles = _steadiest_angles(rotmat)
    lines = ["HIERARCHY", *_joint_lines(0, rest, RIGS[names], order), "MOTION"]
    lines += [f"Frames: {len(transl)}", f"Frame Time: {1 / fps:.9g}"]
    text = io.StringIO()
    text.write("\n".join(lines) + "\n")
    angles = angles[:, _in_file_order()].reshape(len(angles), -1)
    channels = np.concatenate([transl * CM_PER_M, angles], axis=1)
    np.savetxt(text, channels, fmt="%.6f")
    storage.write_bytes_atomic(path, text.getvalue().encode())


def _at_rate(animation: Animation, fps: float) -> tuple[NDArray[Any], NDArray[Any]]:
    """Rotations (T, J, 3, 3) and pelvis positions (T, 3) at a constant rate."""
    since_start = animation.times_s - animation.times_s[0]
    if not 0 < fps < np.inf or since_start[-1] * fps >= MAX_FRAMES:
        raise ValueError(
            f"{since_start[-1]:g} s at {fps} frames per second: expected a positive rate that "
            f"gives fewer than {MAX_FRAMES} frames"
        )
    times = playback_times(since_start[-1], fps)
    pose = Rotation.from_matrix(animation.rotmat.reshape(-1, 3, 3)).as_rotvec()
    pose = resample_rotations(pose.reshape(len(since_start), -1), since_start, times)
    rotmat = Rotation.from_rotvec(pose.reshape(-1, 3)).as_matrix()
    transl = resample_positions(animation.transl, since_start, times)
    return rotmat.reshape(len(times), -1, 3, 3), transl


def _steadiest_angles(rotmat: NDArray[Any]) -> tuple[str, NDArray[Any]]:
    """Of all orders of axes the one whose largest step between frames is smallest, and its angles.

    Returns:
        The order, outermost first, and (T, J, 3) degrees.
    """
    found = ((order, rotmat_to_euler(rotmat, order)) for order in ORDERS)
    return min(found, key=lambda of: float(np.abs(np.diff(of[1], axis=0)).max(initial=0.0)))


def _children(joint: int) -> list[int]:
    return [child for child, parent in enumerate(SMPL_PARENTS) if parent == joint]


def _in_file_order(joint: int = 0) -> list[int]:
    """A joint and all that hang on it in the order of the file, which goes along the limbs."""
    return [joint, *(below for child in _children(joint) for below in _in_file_order(child))]


def _joint_lines(
    joint: int, rest: RestBody, names: Sequence[str], order: str, indent: str = ""
) -> Iterator[str]:
    """Describe a joint and all that hang on it."""
    turns = " ".join(f"{axis}rotation" for axis in order)
    if joint == 0:
        # Offsets of zero: the channels say where the root is, which some readers add to them.
        kind, offset = "ROOT", np.zeros(3)
        channels = f"6 Xposition Yposition Zposition {turns}"
    else:
        kind, offset = "JOINT", rest.offsets()[joint]
        channels = f"3 {turns}"
    yield f"{indent}{kind} {names[joint]}"
    yield indent + "{"
    inner = indent + "  "
    yield f"{inner}OFFSET {_centimeters(offset)}"
    yield f"{inner}CHANNELS {channels}"
    for child in _children(joint):
        yield from _joint_lines(child, rest, names, order, inner)
    if (tip := rest.tips.get(SMPL_JOINTS[joint])) is not None:
        yield f"{inner}End Site"
        yield inner + "{"
        yield f"{inner}  OFFSET {_centimeters(tip - rest.joints[joint])}"
        yield inner + "}"
    yield indent + "}"


def _centimeters(offset: NDArray[Any]) -> str:
    return " ".join(f"{value:.6f}" for value in offset * CM_PER_M)
