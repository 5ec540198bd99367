"""AMASS motion capture (SMPL-H or SMPL-X) -> motion sequences.

AMASS is licensed: register at amass.is.tue.mpg.de and download the "SMPL+H G" or "SMPL-X G" files.
Its poses are SMPL's already; here they lose their fingers, come to one frame rate (by timestamp:
an integer stride plays most of AMASS at 30 instead of 25) and to axes with y up.

Shapes: N frames at the source rate.
"""

import io
import zipfile
import zlib

import numpy as np
from scipy.spatial.transform import Rotation

from vibe_ray import storage
from vibe_ray.body.skeletons import NUM_BETAS, SMPL_JOINTS, indices
from vibe_ray.data.recordings import OnSkip, Recordings, log_skip
from vibe_ray.data.schema import MotionSequence
from vibe_ray.data.sources.conversion import (
    Conversion,
    ConversionConfig,
    find_files,
)

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
        return parse_amass(storage.read_bytes(path), conversion.rest_joints, dataset, name)

    return conversion.convert(root, paths, read, on_skip)


def parse_amass(
    content: bytes, rest_joints: np.ndarray, dataset: str = "amass", name: str = ""
) -> MotionSequence:
    """Read one recording at its own frame rate.

    Args:
        content: The bytes of the `.npz`.
        rest_joints: (24, 3) joints of the body at rest. AMASS tells where the *model* is, and SMPL
            does not turn the pelvis' place in its model with the body.
        dataset: Name of the set.
        name: Name of the recording.

    Raises:
        ValueError: Not an AMASS recording; says what is missing or odd.
    """
    arrays = _load(content)
    poses, trans = arrays["poses"], arrays["trans"]
    joints = _JOINTS_OF.get(poses.shape[-1])
    if joints is None or poses.ndim != 2 or trans.shape != (len(poses), 3):
        raise ValueError(
            f"poses of shape {poses.shape} and trans of {trans.shape}: expected (N, 156) of SMPL-H "
            "or (N, 165) of SMPL-X, and (N, 3)"
        )
    pose = poses.reshape(len(poses), -1, 3)[:, indices(_KEPT, joints)]  # (N, 24, 3)
    pose[:, 0] = (_Y_UP * Rotation.from_rotvec(pose[:, 0])).as_rotvec()
    pelvis = trans + rest_joints[SMPL_JOINTS.index("pelvis")]
    return MotionSequence(
        dataset=dataset,
        name=name,
        fps=arrays["rate"].item(),
        pose=pose.reshape(len(pose), -1).astype(np.float32),
        trans=_Y_UP.apply(pelvis).astype(np.float32),
        betas=arrays["betas"].reshape(-1)[:NUM_BETAS].astype(np.float32),
    )


def _load(content: bytes) -> dict[str, np.ndarray]:
    """The arrays that are needed, the frame rate as `rate`; nothing in the file is executed."""
    if not zipfile.is_zipfile(io.BytesIO(content)):
        raise ValueError("not an .npz file, or cut off")
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as npz:
            rate = next((name for name in _RATE_NAMES if name in npz.files), None)
            names = {
                "poses": "poses",
                "trans": "trans",
                "betas": "betas",
                "rate": rate or " or ".join(_RATE_NAMES),
            }
            if missing := [name for name in names.values() if name not in npz.files]:
                raise ValueError(
                    f"not an AMASS recording: no {' and no '.join(missing)} among "
                    f"{', '.join(npz.files)}"
                )
            arrays = {key: npz[name].astype(np.float64) for key, name in names.items()}
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError) as error:
        raise ValueError(f"not a readable .npz: {error}") from error
    for key in ("poses", "trans", "betas"):
        if not np.isfinite(arrays[key]).all():
            raise ValueError(f"some numbers of {key} are not finite")
    if arrays["rate"].size != 1 or not 0 < arrays["rate"].item() < np.inf:
        raise ValueError(f"frame rate {arrays['rate']}: expected a positive number")
    if arrays["betas"].size < NUM_BETAS:
        raise ValueError(f"{arrays['betas'].size} betas: expected {NUM_BETAS} or more")
    return arrays
