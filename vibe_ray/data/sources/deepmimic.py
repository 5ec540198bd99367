"""DeepMimic's reference motions -> motion sequences: short clips of very different actions.

They come with PyPI's `pybullet` (`pip install 'vibe_ray[motion]'`) and are read from the installed
package; nothing of it is run. Walks, runs, jumps, kicks, rolls, a cartwheel, getting up.

Shapes: N frames, S joints of DeepMimic's humanoid.
"""

import importlib.util
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from vibe_ray import storage
from vibe_ray.data.recordings import OnSkip, Recordings, log_skip
from vibe_ray.data.resampling import playback_times, resample_positions, resample_rotations
from vibe_ray.data.schema import MotionSequence
from vibe_ray.data.sources.conversion import (
    DEFAULT,
    Conversion,
    ConversionConfig,
    find_files,
)
from vibe_ray.data.sources.skeleton import MAX_NUMBER, SkeletonMotion

_HEADING = ("duration", "x", "y", "z", "qw", "qx", "qy", "qz")
"""What a frame starts with: its duration in seconds, then the root's position and quaternion."""
_BALL, _HINGE = 4, 1
"""A ball joint is a quaternion (w, x, y, z), a hinge an angle about z."""

# Axes: x forward, y up, z to the right. The arms hang down in the rest pose. Offsets in meters are
# those of DeepMimic's humanoid; toes and wrists are no joints, they show where feet and arms point.
_JOINTS: dict[str, tuple[str, tuple[float, float, float]]] = {
    "root": ("", (0.0, 0.0, 0.0)),
    "chest": ("root", (0.0, 0.236151, 0.0)),
    "neck": ("chest", (0.0, 0.223894, 0.0)),
}
_SMPL_NAMES = {"pelvis": "root", "spine3": "chest", "head": "neck"}
for _side, _z in (("right", 1.0), ("left", -1.0)):
    _JOINTS |= {
        f"{_side}_hip": ("root", (0.0, 0.0, _z * 0.084887)),
        f"{_side}_knee": (f"{_side}_hip", (0.0, -0.421546, 0.0)),
        f"{_side}_ankle": (f"{_side}_knee", (0.0, -0.40987, 0.0)),
        f"{_side}_foot": (f"{_side}_ankle", (0.1, -0.05, 0.0)),
        f"{_side}_shoulder": ("chest", (-0.02405, 0.2435, _z * 0.18311)),
        f"{_side}_elbow": (f"{_side}_shoulder", (0.0, -0.274788, 0.0)),
        f"{_side}_wrist": (f"{_side}_elbow", (0.0, -0.258947, 0.0)),
    }
    _SMPL_NAMES |= {
        f"{_side}_{_joint}": f"{_side}_{_joint}"
        for _joint in ("hip", "knee", "ankle", "foot", "shoulder", "elbow", "wrist")
    }
_COLUMNS = (
    ("chest", _BALL),
    ("neck", _BALL),
    ("right_hip", _BALL),
    ("right_knee", _HINGE),
    ("right_ankle", _BALL),
    ("right_shoulder", _BALL),
    ("right_elbow", _HINGE),
    ("left_hip", _BALL),
    ("left_knee", _HINGE),
    ("left_ankle", _BALL),
    ("left_shoulder", _BALL),
    ("left_elbow", _HINGE),
)
"""Joints in the order in which a frame lists them after its heading."""
_SMPL_AXES = np.array([[0.0, 0.0, -1.0], [0.0, 1.0, 0.0], [1.0, 0.0, 0.0]])
"""Left, up and forward, in DeepMimic's axes."""
_MAX_DURATION = 0.5
"""Seconds of a frame; a longer one is a fault."""
_NUM_COLUMNS = len(_HEADING) + sum(count for _, count in _COLUMNS)


def installed_motions() -> str:
    """Folder of the motions in the installed `pybullet` package, found without importing it.

    Raises:
        ImportError: The package is not installed.
        FileNotFoundError: It is, but without motions.
    """
    spec = importlib.util.find_spec("pybullet_data")
    if spec is None or not spec.submodule_search_locations:
        raise ImportError(
            "DeepMimic's motions come with pybullet, which is not installed: "
            "pip install 'vibe_ray[motion]'"
        )
    folder = Path(spec.submodule_search_locations[0], "data", "motions")
    if not folder.is_dir():
        raise FileNotFoundError(
            f"the installed pybullet has no motions in {folder}: pip install 'pybullet>=3.2.7'"
        )
    return str(folder)


def read_sequences(
    root: str | None = None,
    config: ConversionConfig = DEFAULT,
    *,
    dataset: str = "deepmimic",
    on_skip: OnSkip = log_skip,
) -> Recordings[MotionSequence]:
    """Return every motion below `root` (default: the installed pybullet's) as SMPL motion.

    Raises:
        ImportError: No `root` given and pybullet is not installed.
        FileNotFoundError: No motion there.
        ValueError: When iterated over: see `Recordings`.
    """
    root = installed_motions() if root is None else root
    conversion = Conversion(config)

    def read(path: str, name: str) -> MotionSequence:
        motion, times = parse_deepmimic(storage.read_bytes(path).decode("utf-8"))
        joints = {joint: motion.names.index(source) for joint, source in _SMPL_NAMES.items()}
        sequence = conversion.retarget(motion, joints, dataset=dataset, name=name, fps=config.fps)
        wanted = playback_times(times[-1], config.fps)  # frames differ in duration: no one rate
        return replace(
            sequence,
            pose=resample_rotations(sequence.pose, times, wanted),
            trans=resample_positions(sequence.trans, times, wanted),
        )

    return conversion.convert(root, find_files(root, ".txt"), read, on_skip)


def parse_deepmimic(text: str) -> tuple[SkeletonMotion, np.ndarray]:
    """Read a motion file's text.

    Returns:
        The motion and the time of each frame (N,) in seconds, from zero.

    Raises:
        ValueError: Not a motion of DeepMimic's humanoid.
    """
    try:
        frames = np.array(json.loads(text)["Frames"], dtype=np.float64)
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"not a DeepMimic motion, expected JSON with Frames: {error}") from error
    if frames.ndim != 2 or frames.shape[1] != _NUM_COLUMNS or len(frames) < 2:
        raise ValueError(
            f"frames of shape {frames.shape}: DeepMimic's humanoid has 2 frames or more of "
            f"{_NUM_COLUMNS} numbers"
        )
    durations = frames[:, _HEADING.index("duration")]
    if not (durations <= _MAX_DURATION).all():
        raise ValueError(f"a frame lasts {durations.max():.3g} s: expected up to {_MAX_DURATION} s")
    if not (np.abs(frames) <= MAX_NUMBER).all():
        raise ValueError("some of its numbers are not finite, or too large for a person")
    names = tuple(_JOINTS)
    rotmat = np.tile(np.eye(3), (len(frames), len(names), 1, 1))
    rotmat[:, names.index("root")] = _ball(frames[:, len(_HEADING) - _BALL : len(_HEADING)])
    column = len(_HEADING)
    for joint, count in _COLUMNS:
        values = frames[:, column : column + count]
        rotmat[:, names.index(joint)] = _ball(values) if count == _BALL else _hinge(values)
        column += count
    motion = SkeletonMotion(
        names=names,
        parents=tuple(names.index(parent) if parent else -1 for parent, _ in _JOINTS.values()),
        offsets=np.array([offset for _, offset in _JOINTS.values()]),
        rotmat=rotmat,
        root_position=frames[:, _HEADING.index("x") : _HEADING.index("z") + 1],
    )
    # A frame's duration lasts until the next one; the last frame's leads nowhere.
    times = np.concatenate([[0.0], np.cumsum(durations[:-1])])
    return motion.in_axes(_SMPL_AXES), times


def _ball(quaternion: np.ndarray) -> np.ndarray:
    """Rotations (N, 3, 3) of quaternions (N, 4), w first."""
    return Rotation.from_quat(np.roll(quaternion, -1, axis=1)).as_matrix()


def _hinge(angle: np.ndarray) -> np.ndarray:
    """Rotations (N, 3, 3) by angles (N, 1) about z."""
    return Rotation.from_rotvec(angle * np.array([0.0, 0.0, 1.0])).as_matrix()
