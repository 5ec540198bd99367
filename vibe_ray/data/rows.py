"""A clip as a row of a shard, and back: what `schema.py` describes, in code.

Shapes: N frames of the clip.
"""

from typing import Any

import numpy as np
import pyarrow as pa

from vibe_ray.data.schema import (
    MOTION_ARRAYS,
    POSE_ARRAYS,
    SCHEMA_VERSION,
    Array,
    Manifest,
    MotionSequence,
    PoseSequence,
)


def encode_clip(
    manifest: Manifest, sequence: PoseSequence | MotionSequence, frames: slice
) -> dict[str, Any]:
    """Pack some frames of a sequence into a row.

    Raises:
        ValueError: The sequence does not fit the manifest: another kind, encoder or feature width.
    """
    if isinstance(sequence, PoseSequence):
        kind, specs, own = "pose", POSE_ARRAYS, _pose_columns(sequence)
    else:
        kind, specs, own = "motion", MOTION_ARRAYS, {"betas": _bytes(sequence.betas, "<f4")}
    name, first = sequence.key[0], getattr(sequence, "start_frame", 0)
    if kind != manifest.kind:
        raise ValueError(f"{name} is a {kind} sequence, the manifest says {manifest.kind}")
    expected = (manifest.encoder_id, manifest.feature_dim)
    found = (own.get("encoder_id", ""), own.get("feature_dim", 0))
    if found != expected:
        raise ValueError(
            f"{name}: encoder and feature width are {found}, the manifest's {expected}"
        )
    return {
        "schema_version": SCHEMA_VERSION,
        "dataset": sequence.dataset,
        "sequence": name,
        "start_frame": first + frames.start,
        "num_frames": len(sequence.pose[frames]),
        "fps": float(sequence.fps),
        **own,
        **{key: _bytes(getattr(sequence, key)[frames], dtype) for key, (dtype, _) in specs.items()},
    }


def decode_clip(row: pa.Table) -> dict[str, Array]:
    """View a row's arrays (N, ...), without copies; they must not be written."""
    num_frames = value(row, "num_frames")
    specs = POSE_ARRAYS if "features" in row.column_names else MOTION_ARRAYS
    arrays: dict[str, Array] = {}
    for name, (dtype, shape) in specs.items():
        arrays[name] = binary(row, name, dtype).reshape(num_frames, *shape)
    return arrays


def value(row: pa.Table, name: str) -> Any:
    """Return what stands in a table of one row."""
    return row[name][0].as_py()


def binary(row: pa.Table, name: str, dtype: str) -> Array:
    """View a binary value in a table of one row as numbers; an Arrow scalar would be a copy."""
    (chunk,) = (chunk for chunk in row[name].chunks if len(chunk))
    _, offsets, content = chunk.buffers()
    start, end = np.frombuffer(offsets, np.int64)[chunk.offset : chunk.offset + 2].tolist()
    array: Array = np.frombuffer(content.slice(start, end - start), dtype)
    return array


def _pose_columns(sequence: PoseSequence) -> dict[str, Any]:
    return {
        "person": sequence.person,
        "encoder_id": sequence.encoder_id,
        "feature_dim": sequence.features.shape[1],
    }


def _bytes(array: Array, dtype: str) -> bytes:
    return np.ascontiguousarray(array, dtype=dtype).tobytes()
