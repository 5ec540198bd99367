"""The shard format, and the two kinds of sequences it holds. This file is its documentation.

A **data set** is a folder with `manifest.json` and Parquet files. A row is one clip: at most
`MAX_CLIP_FRAMES` consecutive frames of one person (pose shards) or one recording (motion shards).
Every array is one `large_binary` value, raw little-endian numbers in C order, since that reads
several times faster than Parquet's lists; shapes follow from `num_frames` and the constants here.
Features are float16, which moves joints by less than 0.1 mm; all else is float32 or uint8.

Windows are not stored: their length is a setting of a training run, and they are cut while reading.

Shapes: N frames, F features, K = 49 key-points.
"""

import hashlib
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy.typing as npt
import pyarrow as pa
from pydantic import BaseModel, ConfigDict

from vibe_ray.body.skeletons import KEYPOINTS, NUM_BETAS, POSE_DIM

SCHEMA_VERSION = 1
FEATURE_DIM = 2048
MAX_CLIP_FRAMES = 512
MANIFEST_FILE = "manifest.json"
PROGRESS_FILE = "progress.json"

Kind = Literal["pose", "motion"]
Array = npt.NDArray[Any]

NUM_KEYPOINTS = len(KEYPOINTS)
POSE_ARRAYS: dict[str, tuple[str, tuple[int, ...]]] = {
    "features": ("<f2", (-1,)),
    "kp_2d": ("<f4", (NUM_KEYPOINTS, 2)),
    "kp_2d_conf": ("<f4", (NUM_KEYPOINTS,)),
    "kp_3d": ("<f4", (NUM_KEYPOINTS, 3)),
    "has_kp_3d": ("|u1", ()),
    "pose": ("<f4", (POSE_DIM,)),
    "betas": ("<f4", (NUM_BETAS,)),
    "has_smpl": ("|u1", ()),
    "valid": ("|u1", ()),
}
"""Per frame of a pose clip: number type and shape. -1 stands for the manifest's `feature_dim`."""
MOTION_ARRAYS: dict[str, tuple[str, tuple[int, ...]]] = {
    "pose": ("<f4", (POSE_DIM,)),
    "trans": ("<f4", (3,)),
}
"""Per frame of a motion clip; `betas` (10,) belongs to the whole clip."""

_IDENTITY = [
    ("schema_version", pa.int32()),
    ("dataset", pa.string()),
    ("sequence", pa.string()),
    ("start_frame", pa.int64()),
    ("num_frames", pa.int32()),
    ("fps", pa.float64()),
]
POSE_SCHEMA = pa.schema(
    [
        *_IDENTITY,
        ("person", pa.string()),
        ("encoder_id", pa.string()),
        ("feature_dim", pa.int32()),
        *((name, pa.large_binary()) for name in POSE_ARRAYS),
    ]
)
MOTION_SCHEMA = pa.schema(
    [*_IDENTITY, *((name, pa.large_binary()) for name in (*MOTION_ARRAYS, "betas"))]
)


@dataclass(frozen=True, kw_only=True, eq=False)
class PoseSequence:
    """One person's frames: the encoder's features, and what is known about the body."""

    dataset: str
    sequence: str
    person: str
    fps: float
    encoder_id: str
    features: Array
    """(N, F) float16."""
    kp_2d: Array
    """Key-points (N, K, 2), the box being [-1, 1]."""
    kp_2d_conf: Array
    """(N, K); 0 where a key-point is unknown."""
    kp_3d: Array
    """Key-points (N, K, 3) in meters, camera axes (x right, y down, z forward), any origin."""
    has_kp_3d: Array
    """(N,) bool."""
    pose: Array
    """Axis-angle (N, 72), radians, the root in camera axes."""
    betas: Array
    """(N, 10)."""
    has_smpl: Array
    """(N,) bool: whether `pose` and `betas` are known."""
    valid: Array
    """(N,) bool: whether the frame counts in an evaluation."""
    start_frame: int = 0

    def __post_init__(self) -> None:
        for name, (_, shape) in POSE_ARRAYS.items():
            width = shape if shape != (-1,) else self.features.shape[1:]
            _check_shape(self.sequence, name, getattr(self, name), (len(self.features), *width))

    @property
    def num_frames(self) -> int:
        """N."""
        return len(self.features)

    @property
    def key(self) -> tuple[str, str]:
        """What tells it from the others of its data set: the recording and who is in it."""
        return self.sequence, self.person


@dataclass(frozen=True, kw_only=True, eq=False)
class MotionSequence:
    """One recording of real motion, y up."""

    dataset: str
    name: str
    fps: float
    pose: Array
    """Axis-angle (N, 72), radians, the root in world axes."""
    trans: Array
    """Root translation (N, 3) in meters; zeros if unknown."""
    betas: Array
    """(10,)."""

    def __post_init__(self) -> None:
        num_frames = len(self.pose)
        _check_shape(self.name, "pose", self.pose, (num_frames, POSE_DIM))
        _check_shape(self.name, "trans", self.trans, (num_frames, 3))
        _check_shape(self.name, "betas", self.betas, (NUM_BETAS,))
        if not self.fps > 0:
            raise ValueError(f"{self.name} plays at {self.fps} frames per second")

    @property
    def key(self) -> tuple[str, str]:
        """What tells it from the others of its data set; a recording of motion has one person."""
        return self.name, ""

    def resampled(self, fps: float) -> "MotionSequence":
        """Play it at another frame rate, by timestamp."""
        from vibe_ray.data.resampling import resample_motion  # SciPy, which readers do not need

        pose, trans = resample_motion(self.pose, self.trans, self.fps, fps)
        return replace(self, fps=fps, pose=pose, trans=trans)


class ShardFile(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: str
    num_bytes: int
    sha256: str
    clip_frames: list[int]
    """Length of each clip, in the order of the rows: all that is needed to cut windows."""


class Manifest(BaseModel):
    """What a data set holds; written last, so a folder without one is unfinished."""

    model_config = ConfigDict(extra="forbid")

    schema_version: int = SCHEMA_VERSION
    kind: Kind
    dataset: str
    split: str
    source: str
    """Where the raw data is from, for people."""
    converter: str
    converter_version: int = 1
    fps: float
    encoder_id: str = ""
    """Pose shards: which frame encoder made the features."""
    feature_dim: int = 0
    files: list[ShardFile] = []

    @property
    def num_clips(self) -> int:
        """Rows over all files."""
        return sum(len(file.clip_frames) for file in self.files)

    @property
    def num_frames(self) -> int:
        """Frames over all files."""
        return sum(sum(file.clip_frames) for file in self.files)

    def has_header_of(self, other: "Manifest") -> bool:
        """Whether the two differ in their files at most."""
        return self.model_copy(update={"files": other.files}) == other

    def hash(self) -> str:
        """Identify the data: equal hashes mean equal shards."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()


class Progress(BaseModel):
    """How far a data set in the making has come, as its writer leaves it for the next run."""

    model_config = ConfigDict(extra="forbid")

    manifest: Manifest
    """With the files that are finished."""
    sequences: list[tuple[str, str]]
    """The sequences in those files, by name and person, all of them whole."""


def _check_shape(sequence: str, name: str, array: Array, expected: tuple[int, ...]) -> None:
    if array.shape != expected:
        raise ValueError(f"{sequence}: {name} has shape {array.shape}, expected {expected}")
