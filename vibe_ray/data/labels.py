"""Labels: one person's frames before encoding, as label shards hold them (`schema.py`).

Shapes: N frames, L key-points in 2D, D detected ones and M in 3D, as many as there are names.
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from vibe_ray.data.schema import (
    LABEL_ARRAYS,
    MASK,
    Kind,
    MotionSequence,
    PoseSequence,
    check_shape,
    known_shapes,
)
from vibe_ray.geometry.arrays import Array


@dataclass(frozen=True, kw_only=True)
class LabelNames:
    """What the key-points of labels are called, in their order; equal names mean the same joint.

    Any joint set will do: `body/skeletons.py` has those of the known data sets and detectors.
    """

    kp_2d: tuple[str, ...] = ()
    detected: tuple[str, ...] = ()
    kp_3d: tuple[str, ...] = ()

    def widths(self) -> dict[str, int]:
        """What -1 stands for in `schema.LABEL_ARRAYS`."""
        num_2d, num_detected = len(self.kp_2d), len(self.detected)
        return {
            "kp_2d": num_2d,
            "kp_2d_conf": num_2d,
            "detected": num_detected,
            "detected_conf": num_detected,
            "kp_3d": len(self.kp_3d),
        }


@dataclass(frozen=True, kw_only=True, eq=False)
class LabelledSequence:
    """One person's frames before encoding: where the pixels are, and what is known in them.

    The frames follow each other at `fps`. Where the person is not in a frame of the track, its box
    has size 0 and nothing of the frame counts; where a track is cut, another sequence begins.
    """

    kind: ClassVar[Kind] = "labels"
    dataset: str
    sequence: str
    person: str
    """Which one of the recording's people; the same name means the same person."""
    fps: float
    video: str = ""
    """Path or address of the video that the frames are of, if it is one."""
    images: tuple[str, ...] = ()
    """Paths or addresses of the (N) frames' images, if they are images, each a file or a part of
    one (`storage.part_path`). Neither: no pixels."""
    width: int
    height: int
    """Of a frame, in pixels, as it is shown (a video's rotation applied)."""
    frame_index: Array
    """(N,) int64: the frame's number in its video, or among its recording's images, from 0."""
    timestamps: Array
    """(N,) float64: seconds from the recording's start, strictly rising."""
    box: Array
    """(N, 3) = (cx, cy, size): the square that an encoder is shown, margin included, in pixels
    (`data/boxes.py`); size 0 where the person is not seen."""
    names: LabelNames
    """Of the L, D and M key-points."""
    kp_2d: Array
    """Key-points (N, L, 2) in pixels that supervise: annotated, exact, or a detector's."""
    kp_2d_conf: Array
    """Their weights (N, L) in [0, 1]; 0 where a key-point is unknown."""
    detected: Array
    """Key-points (N, D, 2) in pixels as a detector found them, which is what an encoder of
    key-points is shown; D = 0 where no detector was run. The same as `kp_2d` where a detector's
    key-points supervise, never an annotation: it would be an encoder's input and its answer."""
    detected_conf: Array
    """The detector's confidences (N, D) in [0, 1]; 0 where a key-point was missed."""
    kp_3d: Array
    """Key-points (N, M, 3) in meters, camera axes (x right, y down, z forward), any origin."""
    has_kp_3d: Array
    """(N,) bool: whether all of `kp_3d` are known."""
    pose: Array
    """Axis-angle (N, 72), radians, the root in camera axes."""
    betas: Array
    """(N, 10)."""
    has_smpl: Array
    """(N,) bool: whether `pose` and `betas` are known."""
    camera: Array
    """Pinhole (N, 4) = (fx, fy, cx, cy): focal lengths and principal point in pixels."""
    has_camera: Array
    """(N,) bool: whether `camera` is known."""
    valid: Array
    """(N,) bool: whether the frame counts in an evaluation."""

    def __post_init__(self) -> None:
        for name, shape in known_shapes("labels", self.names.widths()).items():
            check_shape(self.sequence, name, getattr(self, name), (self.num_frames, *shape))
        if self.video and self.images:
            raise ValueError(f"{self.sequence}: frames are of a video or images, not of both")
        if len(self.images) not in (0, self.num_frames):
            raise ValueError(
                f"{self.sequence}: {len(self.images)} images, {self.num_frames} frames"
            )
        if self.width < 1 or self.height < 1:
            raise ValueError(f"{self.sequence}: frames of {self.width} x {self.height} pixels")
        if not (np.diff(self.timestamps) > 0).all():
            raise ValueError(f"{self.sequence}: timestamps do not rise: sort the frames by time")

    @property
    def num_frames(self) -> int:
        """N."""
        return len(self.timestamps)

    @property
    def start_frame(self) -> int:
        """The first frame's number in its video."""
        return int(self.frame_index[0]) if self.num_frames else 0

    @property
    def key(self) -> tuple[str, str]:
        """What tells it from the others of its data set: the recording and who is in it."""
        return self.sequence, self.person


def unknown_labels(num_frames: int, names: LabelNames) -> dict[str, Array]:
    """Return the arrays, by name, of labels (N, ...) of which nothing is known: all zero."""
    shapes = known_shapes("labels", names.widths())
    return {
        name: np.zeros((num_frames, *shapes[name]), bool if dtype == MASK else dtype)
        for name, (dtype, _) in LABEL_ARRAYS.items()
    }


AnySequence = PoseSequence | MotionSequence | LabelledSequence
"""Of any of the three kinds of shards."""
