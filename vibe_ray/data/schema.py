"""The shard format, and what pose and motion shards hold. This file is its documentation.

A **data set** is a folder with `manifest.json` and Parquet files. A row is one clip: at most
`MAX_CLIP_FRAMES` consecutive frames of one person (label and pose shards) or one recording (motion
shards). Every array is one `large_binary` value, raw little-endian numbers in C order, since that
reads several times faster than Parquet's lists; shapes follow from `num_frames`, the manifest and
the constants here. Features are float16, which moves joints by less than 0.1 mm; frame numbers are
int64, timestamps float64, masks uint8, and all else is float32.

**Labels** (`labels.py`) are what is known of a person's frames before any encoder has seen them, in
pixels of the whole image and by the joints' own names. **Pose** shards are made of them by a frame
encoder: features, and targets in the units of the networks. So raw data is converted once, and
encoded with any encoder. **Motion** is captured motion without a picture.

Windows are not stored: their length is a setting of a training run, and they are cut while reading.

Shapes: N frames, F features, K = 49 key-points; of labels, L key-points in 2D, D detected ones and
M in 3D, as many as the manifest has names.
"""

from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import pyarrow as pa

from vibe_ray.body.skeletons import KEYPOINTS, NUM_BETAS, POSE_DIM
from vibe_ray.geometry.arrays import Array

SCHEMA_VERSION = 1
FEATURE_DIM = 2048
MAX_CLIP_FRAMES = 512

Kind = Literal["pose", "motion", "labels"]
ArraySpecs = dict[str, tuple[str, tuple[int, ...]]]

MASK = "|u1"
"""Number type of what is true or not."""
NUM_KEYPOINTS = len(KEYPOINTS)
POSE_ARRAYS: ArraySpecs = {
    "features": ("<f2", (-1,)),
    "kp_2d": ("<f4", (NUM_KEYPOINTS, 2)),
    "kp_2d_conf": ("<f4", (NUM_KEYPOINTS,)),
    "kp_3d": ("<f4", (NUM_KEYPOINTS, 3)),
    "has_kp_3d": (MASK, ()),
    "pose": ("<f4", (POSE_DIM,)),
    "betas": ("<f4", (NUM_BETAS,)),
    "has_smpl": (MASK, ()),
    "valid": (MASK, ()),
}
"""Per frame of a pose clip: number type and shape. -1 stands for the manifest's `feature_dim`."""
MOTION_ARRAYS: ArraySpecs = {
    "pose": ("<f4", (POSE_DIM,)),
    "trans": ("<f4", (3,)),
}
"""Per frame of a motion clip; `betas` (10,) belongs to the whole clip."""
LABEL_ARRAYS: ArraySpecs = {
    "frame_index": ("<i8", ()),
    "timestamps": ("<f8", ()),
    "box": ("<f4", (3,)),
    "kp_2d": ("<f4", (-1, 2)),
    "kp_2d_conf": ("<f4", (-1,)),
    "detected": ("<f4", (-1, 2)),
    "detected_conf": ("<f4", (-1,)),
    "kp_3d": ("<f4", (-1, 3)),
    "has_kp_3d": (MASK, ()),
    "pose": ("<f4", (POSE_DIM,)),
    "betas": ("<f4", (NUM_BETAS,)),
    "has_smpl": (MASK, ()),
    "camera": ("<f4", (4,)),
    "has_camera": (MASK, ()),
    "valid": (MASK, ()),
}
"""Per frame of a labelled clip. -1 stands for the number of the manifest's names."""
ARRAYS: dict[Kind, ArraySpecs] = {
    "pose": POSE_ARRAYS,
    "motion": MOTION_ARRAYS,
    "labels": LABEL_ARRAYS,
}

_IDENTITY = [
    ("schema_version", pa.int32()),
    ("dataset", pa.string()),
    ("sequence", pa.string()),
    ("start_frame", pa.int64()),
    ("num_frames", pa.int32()),
    ("fps", pa.float64()),
]
_OWN = {
    "pose": [("person", pa.string()), ("encoder_id", pa.string()), ("feature_dim", pa.int32())],
    "motion": [],
    "labels": [
        ("person", pa.string()),
        ("video", pa.string()),
        ("images", pa.list_(pa.field("element", pa.string()))),  # as Parquet calls it
        ("width", pa.int32()),
        ("height", pa.int32()),
    ],
}
"""What a row says beside its identity and its arrays."""
SCHEMAS: dict[Kind, pa.Schema] = {
    kind: pa.schema([*_IDENTITY, *_OWN[kind], *((name, pa.large_binary()) for name in names)])
    for kind, names in {**ARRAYS, "motion": (*MOTION_ARRAYS, "betas")}.items()
}


@dataclass(frozen=True, kw_only=True, eq=False)
class PoseSequence:
    """One person's frames: the encoder's features, and what is known about the body."""

    kind: ClassVar[Kind] = "pose"
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
        shapes = known_shapes("pose", {"features": self.features.shape[-1]})
        for name, shape in shapes.items():
            check_shape(self.sequence, name, getattr(self, name), (self.num_frames, *shape))

    @property
    def num_frames(self) -> int:
        """N."""
        return len(self.features)

    @property
    def key(self) -> tuple[str, str]:
        """What tells it from the others of its data set: the recording and who is in it."""
        return self.sequence, self.person

    def take(self, frames: Array) -> "PoseSequence":
        """Return some of its frames, by their numbers (n,)."""
        return replace(self, **{name: getattr(self, name)[frames] for name in POSE_ARRAYS})


@dataclass(frozen=True, kw_only=True, eq=False)
class MotionSequence:
    """One recording of real motion, y up."""

    kind: ClassVar[Kind] = "motion"
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
        check_shape(self.name, "pose", self.pose, (num_frames, POSE_DIM))
        check_shape(self.name, "trans", self.trans, (num_frames, 3))
        check_shape(self.name, "betas", self.betas, (NUM_BETAS,))
        if not self.fps > 0:
            raise ValueError(f"{self.name} plays at {self.fps} frames per second")

    @property
    def num_frames(self) -> int:
        """N."""
        return len(self.pose)

    @property
    def start_frame(self) -> int:
        """0: a recording of motion is whole."""
        return 0

    @property
    def key(self) -> tuple[str, str]:
        """What tells it from the others of its data set; a recording of motion has one person."""
        return self.name, ""

    def resampled(self, fps: float) -> "MotionSequence":
        """Play it at another frame rate, by timestamp."""
        from vibe_ray.data.resampling import resample_motion  # SciPy, which readers do not need

        pose, trans = resample_motion(self.pose, self.trans, self.fps, fps)
        return replace(self, fps=fps, pose=pose, trans=trans)


def known_shapes(kind: Kind, widths: dict[str, int]) -> dict[str, tuple[int, ...]]:
    """Return what each array of a kind has per frame, -1 replaced by that array's width."""
    return {
        name: tuple(widths[name] if size == -1 else size for size in shape)
        for name, (_, shape) in ARRAYS[kind].items()
    }


def check_shape(sequence: str, name: str, array: Array, expected: tuple[int, ...]) -> None:
    """Raise ValueError where an array of a sequence has another shape than expected."""
    if array.shape != expected:
        raise ValueError(f"{sequence}: {name} has shape {array.shape}, expected {expected}")
