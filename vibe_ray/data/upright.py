"""Does a motion stand in its axes? Which way is up and ahead is asked of the motion itself.

Recordings come in other axes than they claim: y up where z is expected, camera axes with y down.
A body that lies or hangs through a whole clip in which it stands or walks shows it. But people do
lie, hang and walk backward: so what a body does with its feet, and where it is relative to the
floor, must speak for the other way up before it counts as clear.

Shapes: N frames, J = 24 joints.
"""

from dataclasses import dataclass, field

import numpy as np
import torch

from vibe_ray.body.kinematics import KinematicChain
from vibe_ray.body.skeletons import NUM_BETAS, SMPL_JOINTS
from vibe_ray.data.schema import MotionSequence
from vibe_ray.geometry.rotations import axis_angle_to_rotmat

_Y = np.array([0.0, 1.0, 0.0])
_SAMPLE_FPS = 10.0
_STRAIGHT = 0.7
"""Cosine between trunk and legs of somebody who stands: neither sits nor crawls."""
_MOSTLY, _NEARLY_ALL = 0.8, 0.9
"""Shares of a clip's frames."""
_STEADY = 0.85
"""Length that the mean of the body's direction keeps if it is the same all the time; and cosine
(32 degrees) to which it then lies along an axis."""
_STEPS = 0.08
"""Meters by which the feet of somebody who walks pass each other (standard deviation)."""
_STANDING_HIPS = (0.7, 1.2)
_LYING_HIPS = (-0.1, 0.45)
_FLOOR = (-0.25, 0.3)
"""Heights in meters: of the hips of who stands and lies, and of the joints nearest the floor."""
_WALKS = 0.4
"""Meters per second."""
_BACKWARD = -0.7
"""Cosine between the ways a body faces and goes."""


@dataclass(frozen=True)
class Posture:
    """How a body stands through a clip."""

    problem: str = ""
    """What is odd about it, in words; empty for nothing."""
    up: np.ndarray = field(default_factory=_Y.copy)
    """The axis along which it stands (3,), y if it does not say."""
    is_clear: bool = False
    """Whether it is clear that `up` is the way up, and not y."""


def find_posture(sequence: MotionSequence, rest_joints: np.ndarray) -> Posture:
    """Find which way is up for the body, if it stands, and whether that and its path make sense.

    Args:
        sequence: The motion, which claims that y is up.
        rest_joints: (J, 3) joints of the body at rest, in meters.
    """
    step = max(1, round(sequence.fps / _SAMPLE_FPS))
    places = _Places(sequence, rest_joints, step)
    spine, legs = places.neck - places.hips, places.hips - places.ankles.mean(axis=1)
    is_straight = _cosines(spine, legs) > _STRAIGHT
    if np.mean(is_straight) < _MOSTLY:
        return Posture()
    body = _unit(_unit(spine) + _unit(legs))[is_straight].mean(axis=0)  # (3,)
    axis = np.zeros(3)
    axis[np.abs(body).argmax()] = np.sign(body[np.abs(body).argmax()])
    if np.linalg.norm(body) < _STEADY:
        return Posture()
    if body @ axis < _STEADY * np.linalg.norm(body):
        lean = np.rad2deg(np.arccos(np.clip(body[1] / np.linalg.norm(body), -1, 1)))
        return Posture(f"its body leans by {lean:.0f} degrees through the whole clip")
    if axis[1] > 0:
        return Posture(_walks_backward(places, sequence.fps / step))
    is_meant = _is_meant(places, axis)
    evidence = _walks(places, axis) + _stands_on_floor(places, axis) - is_meant
    if evidence <= 0 and is_meant:
        return Posture()
    does = "hangs head down" if axis[1] < 0 else "lies"
    name = f"{'-' if axis.sum() < 0 else ''}{'xyz'[int(np.abs(axis).argmax())]}"
    way = "which is the way up" if evidence > 0 else "unless it is meant to, y is not up"
    return Posture(
        f"its body {does} through the whole clip, along {name}: {way}", axis, evidence > 0
    )


class _Places:
    """Where the joints are that tell how a body stands, (N, ...) in meters."""

    def __init__(self, sequence: MotionSequence, rest_joints: np.ndarray, step: int) -> None:
        pose = torch.from_numpy(sequence.pose[::step].astype(np.float32))
        no_dirs = np.zeros((*rest_joints.shape, NUM_BETAS))
        chain = KinematicChain(rest_joints, no_dirs, torch.float32)
        with torch.no_grad():
            rotmat = axis_angle_to_rotmat(pose.reshape(len(pose), -1, 3))
            _, joints = chain(torch.zeros(len(pose), NUM_BETAS), rotmat)
        at_pelvis = (joints - joints[:, :1]).numpy().astype(np.float64)
        self.all = at_pelvis + sequence.trans[::step, None].astype(np.float64)
        self.neck = self.all[:, SMPL_JOINTS.index("neck")]
        self.sides = self._both("hip")
        self.hips = self.sides.mean(axis=1)
        self.ankles, self.wrists = self._both("ankle"), self._both("wrist")
        self.have_path = bool(np.any(sequence.trans))

    def _both(self, joint: str) -> np.ndarray:
        return self.all[:, [SMPL_JOINTS.index(f"{side}_{joint}") for side in ("left", "right")]]


def _walks(places: _Places, up: np.ndarray) -> bool:
    """Whether the feet pass each other, at right angles to the body."""
    apart = places.ankles[:, 0] - places.ankles[:, 1]
    level = apart - (apart @ up)[:, None] * up
    return bool(np.linalg.norm(level - level.mean(axis=0), ord=2) > _STEPS * np.sqrt(len(level)))


def _stands_on_floor(places: _Places, up: np.ndarray) -> bool:
    """Whether along that axis the ankles are near zero and the hips where those of people are."""
    if not places.have_path:
        return False
    hips = np.median(places.hips @ up)
    low = np.percentile((places.ankles @ up).min(axis=1), 5)
    return _within(hips, _STANDING_HIPS) and _within(low, _FLOOR)


def _is_meant(places: _Places, up: np.ndarray) -> bool:
    """Whether a body that lies does so on the floor, y = 0, or one that hangs is on its hands."""
    if not places.have_path:
        return False
    lowest = places.all[..., 1].min(axis=1)
    if not _within(np.median(lowest), _FLOOR):
        return False
    if up[1] < 0:
        return bool(np.mean(places.wrists[..., 1].min(axis=1) <= lowest + 0.1) > _MOSTLY)
    low, high = np.percentile(places.hips[:, 1], (5, 95))
    return _within(low, _LYING_HIPS) and _within(high, _LYING_HIPS)


def _walks_backward(places: _Places, fps: float) -> str:
    """What is odd about the path of somebody upright; empty for nothing."""
    window = max(1, round(fps / 2))
    level = np.array([1.0, 0.0, 1.0])
    velocity = (places.hips[window:] - places.hips[:-window]) * level * (fps / window)
    is_moving = np.linalg.norm(velocity, axis=1) > _WALKS
    if np.sum(is_moving) < _MOSTLY * len(velocity) or len(velocity) < 2 * window:
        return ""
    ahead = np.cross(places.sides[:-window, 0] - places.sides[:-window, 1], _Y)
    backward = _cosines(ahead, velocity)[is_moving] < _BACKWARD
    if np.mean(backward) < _NEARLY_ALL:
        return ""
    return "its body goes backward through the whole clip: unless it is meant to, ahead is behind"


def _within(value: float, limits: tuple[float, float]) -> bool:
    return bool(limits[0] <= value <= limits[1])


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-9)


def _cosines(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return (_unit(a) * _unit(b)).sum(axis=-1)
