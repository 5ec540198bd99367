"""Human3.6M: people in a studio before four cameras, with joints of a capture system -> labels.

`S1/MyPoseFeatures/{D3_Positions_mono,D2_Positions}/Directions 1.54138969.cdf` hold joints of the
video `S1/Videos/Directions 1.54138969.mp4`, at 50 frames per second, of which every second is
taken. SMPL parameters are MoSh's, as HMR's authors gave them to licensees: of every fifth frame, in
`neutrMosh/neutrSMPL_H3.6/S1/Directions 1_cam0_aligned.pkl`. Between them they are interpolated.

Shapes: N frames taken, M frames of MoSh.
"""

from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Any

import numpy as np
from scipy.spatial.transform import Rotation

from vibe_ray import storage
from vibe_ray.body.skeletons import H36M_17, NUM_BETAS, POSE_DIM
from vibe_ray.data.labels import LabelledSequence, LabelNames
from vibe_ray.data.recordings import OnSkip, Recording, Recordings, log_skip, recording_of
from vibe_ray.data.resampling import resample_rotations
from vibe_ray.data.sources.conversion import find_files, read_file
from vibe_ray.data.sources.labelling import labelled, seen_span, warn_of
from vibe_ray.geometry.arrays import Array
from vibe_ray.storage.pickles import read_pickle

FPS = 25.0
STRIDE = 2
"""Frames of a video between two that are taken."""
MOSH_STRIDE = 5
"""Frames of a video between two of which MoSh tells the pose."""
NAMES = LabelNames(kp_2d=H36M_17, kp_3d=H36M_17)
SUBJECTS = {"train": (1, 5, 6, 7, 8), "test": (9, 11)}
CAMERAS = ("54138969", "55011271", "58860488", "60457274")
"""In the order in which MoSh numbers them."""
SIZES = ((1000, 1002), (1000, 1000), (1000, 1000), (1000, 1002))
"""Width and height of each one's pictures."""
JOINTS = (0, 6, 7, 8, 1, 2, 3, 12, 13, 14, 15, 17, 18, 19, 25, 26, 27)
"""Which of the 32 positions of a file are `H36M_17`; some positions stand there twice."""
NUM_POSITIONS = 32
MOSH = "neutrMosh/neutrSMPL_H3.6"
MOSH_AXES = Rotation.from_euler("x", 180, degrees=True)
"""MoSh's body at rest stands on its head."""


def read_sequences(
    root: str, split: str, *, on_skip: OnSkip = log_skip
) -> Recordings[LabelledSequence]:
    """Return the videos of a split, `train` or `test`; protocol 2 is a matter of evaluation.

    Raises:
        FileNotFoundError: No positions of a subject of the split are there.
        ValueError: No such split.
    """
    if split not in SUBJECTS:
        raise ValueError(f"Human3.6M has no split {split!r}: it has {', '.join(SUBJECTS)}")

    def one(path: str) -> Recording[LabelledSequence]:
        subject = PurePosixPath(path).parents[2].name
        name = f"{subject}/{PurePosixPath(path).stem}"
        return recording_of(name, path, lambda: [_read(root, path, name)])

    paths, absent = [], []
    for subject in SUBJECTS[split]:
        folder = storage.join(root, f"S{subject}", "MyPoseFeatures", "D3_Positions_mono")
        if storage.exists(folder):
            paths += find_files(folder, ".cdf")
        else:
            absent.append(f"S{subject}")
    paths = [path for path in paths if not PurePosixPath(path).name.startswith("_ALL")]
    if not paths:
        expected = " or ".join(f"S{subject}" for subject in SUBJECTS[split])
        raise FileNotFoundError(
            f"no MyPoseFeatures/D3_Positions_mono/*.cdf of {expected} in {root}: give the folder "
            "that holds the subjects"
        )
    items = [one(path) for path in paths]
    warn_of(f"subjects of Human3.6M's {split} left out, of whom {root} has no positions", absent)
    _warn_of_missing_mosh(root, [item.name for item in items])
    return Recordings(root, items, on_skip, names=NAMES, fps=FPS)


def _warn_of_missing_mosh(root: str, names: Sequence[str]) -> None:
    """Tell which recordings stay without SMPL parameters though others have theirs."""
    there = set(storage.visible_files(storage.join(root, MOSH)))
    known = [name for name in names if name.rpartition(".")[2] in CAMERAS]
    absent = [name for name in known if _mosh_name(name) not in there]
    if there:  # those who were never given MoSh's files know it
        warn_of(f"recordings of Human3.6M without SMPL parameters: no file in {MOSH} of", absent)


def _mosh_name(name: str) -> str:
    """Name, below `MOSH`, of a recording's file."""
    action, _, camera = name.rpartition(".")
    return f"{action}_cam{CAMERAS.index(camera)}_aligned.pkl"


def _read(root: str, path: str, name: str) -> LabelledSequence:
    action, _, camera = name.partition("/")[2].rpartition(".")
    if camera not in CAMERAS:
        raise ValueError(f"{camera!r} is no camera of Human3.6M: it has {', '.join(CAMERAS)}")
    subject = storage.join(root, name.partition("/")[0])
    kp_3d = read_positions(path, 3) / np.float32(1000)
    kp_2d = read_positions(path.replace("D3_Positions_mono", "D2_Positions"), 2)
    if len(kp_2d) != len(kp_3d):
        raise ValueError(f"{len(kp_2d)} frames in D2_Positions, {len(kp_3d)} in D3_Positions_mono")
    video = storage.join(subject, "Videos", f"{action}.{camera}.mp4")
    if not storage.exists(video):
        raise ValueError(f"no video {video}")
    number = CAMERAS.index(camera)
    frames = np.arange(0, len(kp_3d), STRIDE)
    kp_2d, N = kp_2d[frames], len(frames)
    conf = np.all((kp_2d >= 0) & (kp_2d < SIZES[number]), axis=2).astype(np.float32)
    span, box = seen_span(kp_2d, conf)
    boxes = np.zeros((N, 3), np.float32)
    boxes[span] = box
    return labelled(
        dataset="human36m",
        sequence=name,
        person="0",
        fps=FPS,
        video=video,
        size=SIZES[number],
        frame_index=frames,
        timestamps=frames / (STRIDE * FPS),
        names=NAMES,
        box=boxes,
        kp_2d=kp_2d,
        kp_2d_conf=conf,
        kp_3d=kp_3d[frames],
        has_kp_3d=np.ones(N, bool),
        **_smpl(storage.join(root, MOSH, _mosh_name(name)), frames, len(kp_3d)),
    )


def read_positions(path: str, num_axes: int) -> Array:
    """Read the 17 joints of a file in CDF: (N, 17, num_axes).

    Raises:
        ImportError: cdflib is missing.
        ValueError: The file is not there, is damaged, or another data set's.
    """
    try:
        import cdflib
    except ImportError as error:
        raise ImportError(
            f".cdf files need cdflib ({error}): pip install 'vibe_ray[datasets]'"
        ) from None
    if not storage.exists(path):
        raise ValueError(f"no {path}: download D2_Positions and D3_Positions_mono")
    with storage.local_copy(path) as local:
        try:
            pose = np.asarray(cdflib.CDF(local).varget("Pose"), np.float32)
        except Exception as error:  # a damaged file can fail in any way
            raise ValueError(
                f"no positions of Human3.6M, or cut off: {path}: {error}; download it again"
            ) from error
    if pose.ndim != 3 or len(pose) != 1 or pose.shape[2] != num_axes * NUM_POSITIONS:
        raise ValueError(
            f"{path} holds Pose of shape {pose.shape}: expected (1, frames, "
            f"{num_axes * NUM_POSITIONS})"
        )
    joints: Array = pose[0].reshape(-1, NUM_POSITIONS, num_axes)[:, JOINTS]
    return joints


def _smpl(path: str, frames: Array, num_recorded: int) -> dict[str, Any]:
    """Pose and betas of the frames of a video, where MoSh tells them; nothing without its file."""
    if not storage.exists(path):
        return {}
    content = read_pickle(read_file(path), "a file of MoSh for Human3.6M")
    if not isinstance(content, dict) or not {"new_poses", "betas"} <= content.keys():
        raise ValueError(f"{path} is no file of MoSh: expected new_poses and betas in it")
    told = np.asarray(content["new_poses"], np.float64)
    betas = np.asarray(content["betas"], np.float32).reshape(-1)[:NUM_BETAS]
    expected = -(-num_recorded // MOSH_STRIDE)
    if told.shape[1:] != (POSE_DIM,) or abs(len(told) - expected) > 1 or len(betas) != NUM_BETAS:
        raise ValueError(
            f"{path} has poses of shape {told.shape} and {len(betas)} betas: expected "
            f"({expected}, {POSE_DIM}) and {NUM_BETAS} for a video of {num_recorded} frames"
        )
    told[:, :3] = (Rotation.from_rotvec(told[:, :3]) * MOSH_AXES).as_rotvec()
    told_at = MOSH_STRIDE * np.arange(len(told))
    is_told = frames <= told_at[-1]
    pose = np.zeros((len(frames), POSE_DIM), np.float32)
    pose[is_told] = resample_rotations(told, told_at, frames[is_told])
    return {"pose": pose, "betas": np.tile(betas, (len(frames), 1)), "has_smpl": is_told}
