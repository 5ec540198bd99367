"""What one training step sees, as tensors, and how it comes out of the stream's row.

Shapes: B windows, T frames, F features, K = 49 key-points, P = 72 pose numbers, D detected
key-points.
"""

from collections.abc import Iterator
from dataclasses import dataclass, fields

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from vibe_ray.data.mixing import StepPlan
from vibe_ray.data.reading import (
    DETECTION_ARRAYS,
    MOTION_COLUMN,
    MOTION_SPEC,
    WINDOW_ARRAYS,
    read_shares,
)
from vibe_ray.data.rows import binary, value


@dataclass(frozen=True)
class PoseBatch:
    """Windows of features with what is known of them; windows with 2D labels only come first."""

    features: Tensor
    """(B, T, F)."""
    kp_2d: Tensor
    """(B, T, K, 2), the crop being [-1, 1]."""
    kp_2d_conf: Tensor
    """(B, T, K); 0 where unknown."""
    kp_3d: Tensor
    """(B, T, K, 3) meters, camera axes."""
    has_kp_3d: Tensor
    """(B, T)."""
    pose: Tensor
    """(B, T, P) axis-angle."""
    betas: Tensor
    """(B, T, 10)."""
    has_smpl: Tensor
    """(B, T)."""


@dataclass(frozen=True)
class MotionBatch:
    """Windows of captured motion."""

    pose: Tensor
    """(B, T, P) axis-angle, world axes."""


@dataclass(frozen=True)
class Detections:
    """What a detector saw in windows: pixels of an image, from which features are yet to be made.

    The key-points are `skeletons.WHOLEBODY_23`.
    """

    detected: Tensor
    """(B, T, D, 2) pixels; zero where missed."""
    detected_conf: Tensor
    """(B, T, D), zero where missed."""
    box: Tensor
    """(B, T, 3) = (cx, cy, size) pixels; size 0 where the person was not seen."""
    image_size: Tensor
    """Width and height (B, T, 2), or (B, 1, 2) where no window changes its image's."""

    def to(self, device: torch.device) -> "Detections":
        """Move to a device."""
        return Detections(**{k: v.to(device, non_blocking=True) for k, v in vars(self).items()})


@dataclass(frozen=True)
class StepBatch:
    """One rank's share of one step.

    Fresh from the stream, features are half-precision and lie in memory that must not be written;
    `to` ends both.
    """

    pose: PoseBatch
    motion: MotionBatch
    detections: Detections | None = None
    """Of windows captured anew for this step, those of `pose`, which then have no features."""

    def to(self, device: torch.device) -> "StepBatch":
        """Move to a device as float32; half-precision features travel as such."""
        moved = {
            item.name: getattr(self.pose, item.name).to(device, non_blocking=True).float()
            for item in fields(PoseBatch)
        }
        motion = self.motion.pose.to(device, non_blocking=True).float()
        detections = None if self.detections is None else self.detections.to(device)
        return StepBatch(PoseBatch(**moved), MotionBatch(motion), detections)


def decode_row(row: pa.Table) -> StepBatch:
    """Unpack a table of one row of `reading.SHARE_SCHEMA`.

    Features, three quarters of the bytes, stay where they are; the small rest is copied, so that
    `to`, which may return a tensor as it is, never hands out memory that must not be written.
    """

    def tensor(name: str, count: str, spec: tuple[str, tuple[int, ...]]) -> Tensor:
        sizes = value(row, count), value(row, "window_length")
        shape = spec[1] if sizes[0] else tuple(max(0, size) for size in spec[1])
        array = binary(row, name, spec[0]).reshape(*sizes, *shape)
        return _view(array) if name == "features" else torch.from_numpy(array.copy())

    pose = {name: tensor(name, "num_windows", spec) for name, spec in WINDOW_ARRAYS.items()}
    motion = tensor(MOTION_COLUMN, "num_motion", MOTION_SPEC)
    detections = None
    if value(row, "num_captured"):
        seen = {n: tensor(n, "num_captured", spec) for n, spec in DETECTION_ARRAYS.items()}
        detections = Detections(**seen)
    return StepBatch(PoseBatch(**pose), MotionBatch(motion), detections)


class _Memory:
    """An array's memory without the mark that it must not be written, of which torch would warn."""

    def __init__(self, array: np.ndarray) -> None:
        self.array = array  # keeps the memory alive
        address, _ = array.__array_interface__["data"]
        self.__array_interface__ = {**array.__array_interface__, "data": (address, False)}


def _view(array: np.ndarray) -> Tensor:
    return torch.from_numpy(np.asarray(_Memory(array)))


def local_step_batches(
    plan: StepPlan, start_step: int, num_steps: int, rank: int = 0, num_workers: int = 1
) -> Iterator[StepBatch]:
    """Yield the same batches without Ray."""
    for step in range(start_step, start_step + num_steps):
        yield decode_row(read_shares(plan, [plan.share(step, rank, num_workers)]))
