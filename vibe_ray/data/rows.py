"""A clip as a row of a shard, and back: what `schema.py` describes, in code.

Shapes: N frames of the clip.
"""

import io
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from vibe_ray import storage
from vibe_ray.data.labels import AnySequence, LabelledSequence
from vibe_ray.data.manifest import Manifest
from vibe_ray.data.schema import (
    ARRAYS,
    SCHEMA_VERSION,
    SCHEMAS,
    Kind,
    MotionSequence,
    PoseSequence,
)
from vibe_ray.geometry.arrays import Array


def encode_clip(manifest: Manifest, sequence: AnySequence, frames: slice) -> dict[str, Any]:
    """Pack some frames of a sequence into a row.

    Raises:
        ValueError: The sequence does not fit the manifest: another kind, encoder, feature width or
            names of key-points, or its pixels are not below the manifest's folder.
    """
    kind, name = sequence.kind, sequence.key[0]
    if kind != manifest.kind:
        raise ValueError(f"{name} is a {kind} sequence, the manifest says {manifest.kind}")
    return {
        "schema_version": SCHEMA_VERSION,
        "dataset": sequence.dataset,
        "sequence": name,
        "start_frame": sequence.start_frame + frames.start,
        "num_frames": len(sequence.pose[frames]),
        "fps": float(sequence.fps),
        **_own_columns(manifest, sequence, frames),
        **{
            key: _bytes(getattr(sequence, key)[frames], dtype)
            for key, (dtype, _) in ARRAYS[kind].items()
        },
    }


def decode_clip(row: pa.Table) -> dict[str, Array]:
    """View a row's arrays (N, ...), without copies; they must not be written."""
    num_frames = value(row, "num_frames")
    arrays: dict[str, Array] = {}
    for name, (dtype, shape) in ARRAYS[_kind_of(row)].items():
        arrays[name] = binary(row, name, dtype).reshape(num_frames, *shape)
    return arrays


def pack_rows(kind: Kind, rows: list[dict[str, Any]]) -> bytes:
    """Return a Parquet file, each row a group of its own, so that one clip can be read alone.

    Each page carries a checksum, so that who reads a clip can see that it is what was written.
    """
    schema, sink = SCHEMAS[kind], io.BytesIO()
    with pq.ParquetWriter(
        sink,
        schema,
        compression="none",
        use_dictionary=False,
        write_statistics=False,
        write_page_checksum=True,
    ) as writer:
        for row in rows:
            writer.write_table(pa.Table.from_pylist([row], schema=schema))
    return sink.getvalue()


def footer_of(content: bytes) -> bytes:
    """Return the end of a Parquet file that says where its rows lie; the one part unprotected."""
    num_bytes = int.from_bytes(content[-8:-4], "little") + 8  # with its length and the magic number
    return content[-num_bytes:]


def unpack_rows(content: bytes) -> list[dict[str, Any]]:
    """Return the rows of `pack_rows`."""
    rows: list[dict[str, Any]] = pq.read_table(pa.BufferReader(content)).to_pylist()
    return rows


def value(row: pa.Table, name: str) -> Any:
    """Return what stands in a table of one row."""
    return row[name][0].as_py()


def binary(row: pa.Table, name: str, dtype: str) -> Array:
    """View a binary value in a table of one row as numbers; an Arrow scalar would be a copy."""
    (chunk,) = (chunk for chunk in row[name].chunks if len(chunk))
    _, offsets, content = chunk.buffers()
    start, end = np.frombuffer(offsets, np.int64)[chunk.offset : chunk.offset + 2].tolist()
    if start == end:
        return np.empty(0, dtype)
    array: Array = np.frombuffer(content.slice(start, end - start), dtype)
    return array


def full_path(raw: str, path: str) -> str:
    """Return where a video or image of labels is that stand below `raw`; no path stays none."""
    return storage.join(raw, path) if path else ""


def _kind_of(row: pa.Table) -> Kind:
    names = set(row.column_names)
    return next(kind for kind in ("pose", "labels", "motion") if ARRAYS[kind].keys() <= names)


def _own_columns(manifest: Manifest, sequence: AnySequence, frames: slice) -> dict[str, Any]:
    """What only rows of the sequence's kind have, beside the arrays of its frames."""
    match sequence:
        case PoseSequence():
            found = sequence.encoder_id, sequence.features.shape[1]
            expected = manifest.encoder_id, manifest.feature_dim
            if found != expected:
                raise ValueError(
                    f"{sequence.sequence}: encoder and feature width are {found}, the manifest's "
                    f"{expected}"
                )
            return {"person": sequence.person, "encoder_id": found[0], "feature_dim": found[1]}
        case MotionSequence():
            return {"betas": _bytes(sequence.betas, "<f4")}
        case LabelledSequence():
            return _label_columns(manifest, sequence, frames)


def _label_columns(manifest: Manifest, labels: LabelledSequence, frames: slice) -> dict[str, Any]:
    if labels.names != manifest.names:
        raise ValueError(
            f"{labels.sequence}: key-points are called {labels.names}, the manifest says "
            f"{manifest.names}"
        )
    raw = manifest.raw or ""
    return {
        "person": labels.person,
        "video": _below(raw, labels.video),
        "images": [_below(raw, path) for path in labels.images[frames]],
        "width": labels.width,
        "height": labels.height,
    }


def _below(raw: str, path: str) -> str:
    """Return a path as it is below `raw`, so that labels and pixels can be moved together."""
    if not path:
        return ""
    folder = storage.absolute(raw).rstrip("/") + "/"
    found = storage.absolute(path)
    if not raw or not found.startswith(folder):
        raise ValueError(f"{path} is not below {raw!r}, where the manifest says the pixels are")
    return found.removeprefix(folder)


def _bytes(array: Array, dtype: str) -> bytes:
    return np.ascontiguousarray(array, dtype=dtype).tobytes()
