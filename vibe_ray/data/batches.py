"""What one training step sees, as tensors, and as a row of the stream that brings it.

Shapes: B windows, T frames, F features, K = 49 key-points, P = 72 pose numbers.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from vibe_ray.data.schema import POSE_ARRAYS, Array

WINDOW_ARRAYS = {name: spec for name, spec in POSE_ARRAYS.items() if name != "valid"}
"""The pose shards' arrays that training uses: number type and shape per frame."""
MOTION_COLUMN = "motion_pose"
ROW_SCHEMA = pa.schema(
    [
        ("step", pa.int64()),
        ("rank", pa.int32()),
        ("window_length", pa.int32()),
        ("num_windows", pa.int32()),
        ("num_motion", pa.int32()),
        *((name, pa.large_binary()) for name in (*WINDOW_ARRAYS, MOTION_COLUMN)),
    ]
)


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
class StepBatch:
    """One rank's share of one step."""

    pose: PoseBatch
    motion: MotionBatch

    def to(self, device: torch.device) -> "StepBatch":
        """Move to a device as float32; half-precision features travel as such."""
        moved = {
            item.name: getattr(self.pose, item.name).to(device, non_blocking=True).float()
            for item in fields(PoseBatch)
        }
        motion = self.motion.pose.to(device, non_blocking=True).float()
        return StepBatch(PoseBatch(**moved), MotionBatch(motion))


def encode_row(step: int, rank: int, windows: Mapping[str, Array], motion: Array) -> dict[str, Any]:
    """Pack a rank's windows (B, T, ...) and motion (B, T, P) into a row of `ROW_SCHEMA`."""
    num_windows, length = windows["features"].shape[:2]
    return {
        "step": step,
        "rank": rank,
        "window_length": length,
        "num_windows": num_windows,
        "num_motion": len(motion),
        **{name: windows[name].tobytes() for name in WINDOW_ARRAYS},
        MOTION_COLUMN: motion.tobytes(),
    }


def decode_row(row: Mapping[str, pa.Scalar]) -> StepBatch:
    """Unpack a row. One copy each: torch warns of memory that must not be written."""
    length = row["window_length"].as_py()

    def tensor(name: str, count: int, dtype: str, shape: tuple[int, ...]) -> Tensor:
        flat = np.frombuffer(row[name].as_buffer(), dtype)
        if -1 in shape and not count:
            shape = (0,)
        return torch.from_numpy(flat.reshape(count, length, *shape).copy())

    num_windows = row["num_windows"].as_py()
    pose = {name: tensor(name, num_windows, *spec) for name, spec in WINDOW_ARRAYS.items()}
    motion = tensor(MOTION_COLUMN, row["num_motion"].as_py(), *POSE_ARRAYS["pose"])
    return StepBatch(PoseBatch(**pose), MotionBatch(motion))
