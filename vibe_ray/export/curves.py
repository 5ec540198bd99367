"""How are rotations told over time without jumps? As quaternions, and as Euler angles.

Both have several ways to say one rotation, and what interpolates between two frames must not run
from one way to another.

Shapes: N frames, J joints.
"""

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from vibe_ray.export.animation import Array

GIMBAL = 1e-6
"""Cosine of the middle angle below which the outer two turn about one axis, as far as float64 can
tell them apart."""


def rotmat_to_quaternions(rotmat: Array) -> Array:
    """Turn matrices (N, J, 3, 3) into quaternions (N, J, 4), x y z w, neighbors of one sign."""
    quaternion = Rotation.from_matrix(rotmat.reshape(-1, 3, 3)).as_quat()
    quaternion = quaternion.reshape(*rotmat.shape[:2], 4)
    agree = (quaternion[1:] * quaternion[:-1]).sum(axis=-1)
    quaternion[1:] *= np.cumprod(np.where(agree < 0, -1, 1), axis=0)[..., None]
    return quaternion


def rotmat_to_euler(rotmat: Array, order: str) -> Array:
    """Turn matrices into Euler angles that go on from frame to frame, however far they turn.

    Of all angles that say a rotation, those nearest to the frame before: whole turns are added,
    and beyond a middle angle of 90 degrees the second solution is taken. Where the outer axes
    coincide (gimbal lock), the innermost angle stays as it was.

    Args:
        rotmat: (N, J, 3, 3).
        order: Three different axes such as "XZY", outermost first; each turns those after it.

    Returns:
        (N, J, 3) degrees, in the order of the axes. They may exceed 360.
    """
    num_frames, num_joints = rotmat.shape[:2]
    turns = Rotation.from_matrix(rotmat.reshape(-1, 3, 3))
    angles = _euler(turns, order).reshape(num_frames, num_joints, 3)
    locked = np.abs(np.cos(angles[..., 1])) < GIMBAL
    if locked.any():
        angles[..., 2] = _held(angles[..., 2], locked)
        inner = Rotation.from_euler(order[2], angles[..., 2].reshape(-1, 1))
        outer = _euler(turns * inner.inv(), order).reshape(angles.shape)
        angles[..., 0] = np.where(locked, outer[..., 0], angles[..., 0])
    # Both solutions' distances between two frames are alike, so that whether to change from one to
    # the other does not depend on which of them it was: what is taken is how often it changed.
    second = angles * [1, -1, 1] + np.pi
    changes = _distance(angles[:-1], second[1:]) < _distance(angles[:-1], angles[1:])
    is_second = np.zeros((num_frames, num_joints, 1), bool)
    is_second[1:, :, 0] = np.cumsum(changes, axis=0) % 2
    return np.rad2deg(np.unwrap(np.where(is_second, second, angles), axis=0))


def _euler(turns: Rotation, order: str) -> NDArray[Any]:
    with warnings.catch_warnings():  # of gimbal lock, which is dealt with
        warnings.simplefilter("ignore", UserWarning)
        return np.asarray(turns.as_euler(order))


def _held(angle: Array, locked: NDArray[np.bool_]) -> Array:
    """Angles (N, J) in which those of locked frames are the last one before that was not."""
    frames = np.where(locked, 0, np.arange(len(angle))[:, None])
    return np.take_along_axis(angle, np.maximum.accumulate(frames, axis=0), axis=0)


def _distance(a: Array, b: Array) -> Array:
    """Squared distance of angles (..., 3) on their circles."""
    difference = np.remainder(b - a + np.pi, 2 * np.pi) - np.pi
    return np.asarray((difference**2).sum(axis=-1))
