"""AMASS motion capture (SMPL-H or SMPL-X) -> motion sequences.

AMASS is licensed: register at amass.is.tue.mpg.de and download the "SMPL+H G" or "SMPL-X G" files.
Its poses are SMPL's already; here they lose their fingers, come to one frame rate (by timestamp:
an integer stride plays most of AMASS at 30 instead of 25) and to axes with y up.

Shapes: N frames at the source rate.
"""

import math

import numpy as np
from scipy.spatial.transform import Rotation

from vibe_ray.body.skeletons import NUM_BETAS, SMPL_JOINTS, indices
from vibe_ray.data.recordings import OnSkip, Recordings, log_skip
from vibe_ray.data.schema import MotionSequence
from vibe_ray.data.sources.conversion import (
    Conversion,
    ConversionConfig,
    find_files,
    read_file,
)
from vibe_ray.data.sources.hints import checked_fps
from vibe_ray.data.sources.npz import BoundedNpz
from vibe_ray.data.sources.plausible import MAX_DISTANCE_M

AMASS_DEFAULT = ConversionConfig(min_frames=60)
"""VIBE leaves out recordings of fewer than 60 frames."""

_BODY = SMPL_JOINTS[: SMPL_JOINTS.index("left_hand")]
_FACE = ("jaw", "left_eye", "right_eye")
_FINGERS = tuple(
    f"{finger}{joint}"
    for finger in ("index", "middle", "pinky", "ring", "thumb")
    for joint in (1, 2, 3)
)
_HANDS = tuple(f"{side}_{finger}" for side in ("left", "right") for finger in _FINGERS)
_JOINTS_OF = {3 * len(joints): joints for joints in ((*_BODY, *_HANDS), (*_BODY, *_FACE, *_HANDS))}
"""Joints by the numbers in a pose: 156 for SMPL-H, 165 for SMPL-X."""
_KEPT = (*_BODY, "left_index1", "right_index1")
"""SMPL ends at the hands: the first joint of each index finger stands for one, as in VIBE."""

_RATE_NAMES = ("mocap_framerate", "mocap_frame_rate")
_SHAPE_FILES = ("shape.npz", "stagei.npz")
"""Files that hold a subject's body shape and no motion."""
_MAX_ANGLE = 100.0
"""Radians: beyond it a pose is in degrees, or no pose."""
_MAX_BETAS, _MAX_BETA = 1000, 100.0
"""How many there may be, and how large."""
_Y_UP = Rotation.from_euler("x", -90, degrees=True)
"""AMASS has z up."""


def read_sequences(
    root: str,
    config: ConversionConfig = AMASS_DEFAULT,
    *,
    dataset: str = "amass",
    on_skip: OnSkip = log_skip,
) -> Recordings[MotionSequence]:
    """Return every recording below `root` (folder, file or s3://), named `set/subject/action`.

    Raises:
        FileNotFoundError: No recording there.
        ValueError: When iterated over: see `Recordings`.
    """
    conversion = Conversion(config)
    paths = [path for path in find_files(root, ".npz") if not path.endswith(_SHAPE_FILES)]
    if not paths:
        raise FileNotFoundError(f"only body shapes in {root}, no motion: download AMASS again")

    def read(path: str, name: str) -> MotionSequence:
        fps = conversion.stated_rate(name)
        return parse_amass(read_file(path), conversion.rest_joints, dataset, name, fps)

    return conversion.convert(root, paths, read, on_skip)


def parse_amass(
    content: bytes,
    rest_joints: np.ndarray,
    dataset: str = "amass",
    name: str = "",
    fps: float | None = None,
) -> MotionSequence:
    """Read one recording at its own frame rate.

    Args:
        content: The bytes of the `.npz`.
        rest_joints: (24, 3) joints of the body at rest. AMASS tells where the *model* is, and SMPL
            does not turn the pelvis' place in its model with the body.
        dataset: Name of the set.
        name: Name of the recording.
        fps: Its frame rate, where the file's own is not to be used.

    Raises:
        ValueError: Not an AMASS recording; says what is missing or odd.
    """
    npz = BoundedNpz(content)
    joints = _check_shapes(npz)
    fps = _read_rate(npz) if fps is None else fps
    poses, trans, betas = npz.read("poses"), npz.read("trans"), npz.read("betas")
    for array, key, most, expected in (
        (poses, "poses", _MAX_ANGLE, "radians"),
        (trans, "trans", MAX_DISTANCE_M, "meters"),
        (betas, "betas", _MAX_BETA, "standard deviations"),
    ):
        if not np.isfinite(array).all():
            raise ValueError(f"some numbers of {key} are not finite")
        if (largest := np.abs(array).max(initial=0.0)) > most:
            raise ValueError(f"{key} reach {largest:.3g}: expected {expected}, up to {most:g}")
    pose = poses.reshape(len(poses), len(joints), 3)[:, indices(_KEPT, joints)]  # (N, 24, 3)
    pose[:, 0] = (_Y_UP * Rotation.from_rotvec(pose[:, 0])).as_rotvec()
    pelvis = trans + rest_joints[SMPL_JOINTS.index("pelvis")]
    return MotionSequence(
        dataset=dataset,
        name=name,
        fps=fps,
        pose=pose.reshape(len(pose), -1).astype(np.float32),
        trans=_Y_UP.apply(pelvis).astype(np.float32),
        betas=betas.reshape(-1)[:NUM_BETAS].astype(np.float32),
    )


def _check_shapes(npz: BoundedNpz) -> tuple[str, ...]:
    """Joints of the poses, by the arrays' headers: nothing has been unpacked yet."""
    _need(npz, "poses", "trans", "betas")
    poses, trans = npz.header("poses").shape, npz.header("trans").shape
    joints = _JOINTS_OF.get(poses[-1]) if len(poses) == 2 else None
    if joints is None or trans != (poses[0], 3):
        raise ValueError(
            f"poses of shape {poses} and trans of {trans}: expected (N, 156) of SMPL-H or "
            "(N, 165) of SMPL-X, and (N, 3)"
        )
    if poses[0] < 2:
        raise ValueError(f"it has {poses[0]} frames: a motion has two or more")
    num_betas = math.prod(npz.header("betas").shape)
    if not NUM_BETAS <= num_betas <= _MAX_BETAS:
        raise ValueError(f"{num_betas} betas: expected {NUM_BETAS} or more, up to {_MAX_BETAS}")
    return joints


def _read_rate(npz: BoundedNpz) -> float:
    rate = next((name for name in _RATE_NAMES if name in npz.names), None)
    if rate is None:
        raise ValueError(
            f"not an AMASS recording: no {' or '.join(_RATE_NAMES)} among {', '.join(npz.names)}; "
            "give the frame rate with --source-fps if it is one"
        )
    shape = npz.header(rate).shape
    if math.prod(shape) != 1:
        raise ValueError(f"{rate} of shape {shape}: expected one number")
    return checked_fps(npz.read(rate).item(), rate)


def _need(npz: BoundedNpz, *names: str) -> None:
    if missing := [name for name in names if name not in npz.names]:
        raise ValueError(
            f"not an AMASS recording: no {' and no '.join(missing)} among {', '.join(npz.names)}; "
            "download SMPL+H G or SMPL-X G"
        )
