"""What is exported: one person's motion over time, and the camera that saw it.

World axes are y up, meters; a camera's are x right, y down, z ahead. Rotations are matrices that
act on column vectors.

Shapes: N frames, J = 24 SMPL joints.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vibe_ray.body.skeletons import NUM_BETAS, SMPL_JOINTS

Array = NDArray[np.float64]

FRAMES_AT_A_TIME = 2048
"""That are checked together."""
NOT_RIGID = 1e-3
"""How far R^T R may be from the identity: what rounding in 16 bits leaves is let through."""


@dataclass(frozen=True)
class Animation:
    """One person's motion. Arrays may be of any type of numbers; they are kept in float64.

    Raises:
        ValueError: Shapes that do not fit, numbers that are not finite, rotations that are none,
            or times that do not rise; says what was found and where.
    """

    name: str
    """What the person is called in the file; characters that cannot be printed are replaced."""
    times_s: Array
    """Seconds at which the frames were taken (N,), strictly rising from zero or later."""
    rotmat: Array
    """Rotation of each joint relative to its parent, the root's in the world (N, J, 3, 3)."""
    transl: Array
    """Position of the pelvis joint in the world (N, 3), meters."""
    betas: Array
    """The person's one shape (10,), in standard deviations."""

    def __post_init__(self) -> None:
        for name in ("times_s", "rotmat", "transl", "betas"):
            object.__setattr__(self, name, _finite(name, getattr(self, name)))
        readable = "".join(c if c.isprintable() else "_" for c in self.name).strip()
        object.__setattr__(self, "name", readable or "person")
        num_frames = len(self.times_s) if self.times_s.ndim else 0
        expected = {
            "times_s": (num_frames,),
            "rotmat": (num_frames, len(SMPL_JOINTS), 3, 3),
            "transl": (num_frames, 3),
            "betas": (NUM_BETAS,),
        }
        _check_shapes({name: getattr(self, name) for name in expected}, expected)
        if num_frames == 0:
            raise ValueError("a motion of no frames: there is nothing to export")
        _check_times(self.times_s)
        for first in range(0, num_frames, FRAMES_AT_A_TIME):
            piece = self.rotmat[first : first + FRAMES_AT_A_TIME]
            _check_rotations("rotmat", piece, first)


@dataclass(frozen=True)
class ViewCamera:
    """A pinhole camera that stands still; its principal point is the image's center.

    A point X of the world is at rotmat @ X + transl before the camera, and appears at
    focal * (x / z, y / z) from the image's center, in pixels.

    Raises:
        ValueError: Numbers that make no camera; says which.
    """

    rotmat: Array
    """From world to camera (3, 3)."""
    transl: Array
    """Likewise (3,), meters."""
    width: int
    """Of the image, in pixels."""
    height: int
    """Of the image, in pixels."""
    focal: float
    """Focal length in pixels."""

    def __post_init__(self) -> None:
        for name in ("rotmat", "transl"):
            object.__setattr__(self, name, _finite(f"the camera's {name}", getattr(self, name)))
        expected = {"rotmat": (3, 3), "transl": (3,)}
        _check_shapes({name: getattr(self, name) for name in expected}, expected)
        _check_rotations("the camera's rotmat", self.rotmat)
        if not (self.width > 0 and self.height > 0 and 0 < self.focal < np.inf):
            raise ValueError(
                f"a camera of {self.width} x {self.height} pixels and a focal length of "
                f"{self.focal}: expected positive numbers"
            )

    def pose_in_world(self) -> tuple[Array, Array]:
        """Rotation (3, 3) and position (3,) of a camera that looks along -z with y up.

        That is how glTF and USD have their cameras.
        """
        to_world = self.rotmat.T
        return to_world * [1, -1, -1], -to_world @ self.transl


def _finite(name: str, values: Any) -> Array:
    try:
        array = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} is no array of numbers: {error}") from None
    if not np.isfinite(array).all():
        where = np.argwhere(~np.isfinite(array))[0].tolist()
        raise ValueError(
            f"{name} {array.shape} holds NaN or infinity, first at {where}: leave such frames out, "
            "or fill them, before the export"
        )
    return array


def _check_shapes(arrays: dict[str, Array], expected: dict[str, tuple[int, ...]]) -> None:
    shapes = {name: array.shape for name, array in arrays.items()}
    if shapes != expected:
        wrong = [name for name in expected if shapes[name] != expected[name]]
        raise ValueError(
            "; ".join(f"{name} is {shapes[name]}, expected {expected[name]}" for name in wrong)
        )


def _check_times(times_s: Array) -> None:
    if times_s[0] < 0:
        raise ValueError(f"times_s begins at {times_s[0]:g} s: expected 0 or later")
    if (late := np.flatnonzero(np.diff(times_s) <= 0)).size:
        frame = int(late[0])
        raise ValueError(
            f"times_s does not rise from frame {frame} ({times_s[frame]:.6f} s) to the next "
            f"({times_s[frame + 1]:.6f} s)"
        )


def _check_rotations(name: str, rotmat: Array, first_frame: int = 0) -> None:
    error = np.abs(np.swapaxes(rotmat, -1, -2) @ rotmat - np.eye(3)).max(axis=(-1, -2))
    wrong = (error > NOT_RIGID) | (np.linalg.det(rotmat) < 0)
    if wrong.any():
        where = np.argwhere(wrong)[0].tolist() if wrong.ndim else []
        found = np.round(rotmat[tuple(where)], 4).tolist()
        if where:
            where[0] += first_frame
        raise ValueError(
            f"{name} holds matrices that are no rotations{f', first at {where}' if where else ''}: "
            f"{found}"
        )
