"""Writing sequences as shards, and reading them back whole. Training reads clips: `windows.py`.

Memory holds one file's rows while writing and one sequence while reading, whatever the size of the
data set.
"""

import hashlib
import io
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import ValidationError

from vibe_ray import storage
from vibe_ray.data.schema import (
    MANIFEST_FILE,
    MAX_CLIP_FRAMES,
    MOTION_ARRAYS,
    MOTION_SCHEMA,
    POSE_ARRAYS,
    POSE_SCHEMA,
    SCHEMA_VERSION,
    Array,
    Kind,
    Manifest,
    MotionSequence,
    PoseSequence,
    ShardFile,
)

FILE_BYTES = 64 * 2**20
"""A file is closed when its rows have grown past this."""


class ShardWriter:
    """Writes sequences below a folder; on leaving the block without an error, the manifest.

    Files carry the hash of their content in their names and the manifest comes last, so a run that
    was killed leaves nothing that a reader would take for a data set, and the next run, writing the
    same rows, finds its finished files and does not upload them again.
    """

    def __init__(self, out: str, header: Manifest) -> None:
        """Prepare to write.

        Args:
            out: Folder, local or remote.
            header: The manifest without files.
        """
        self.out = out
        self.manifest = header.model_copy(update={"files": []})
        self._present = {path.rsplit("/", 1)[-1] for path in storage.list_files(out, ".parquet")}
        self._rows: list[dict[str, Any]] = []
        self._num_bytes = 0

    def __enter__(self) -> "ShardWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None
    ) -> None:
        if kind is None:
            self._flush()
            self._finish()

    def write(self, sequence: PoseSequence | MotionSequence) -> None:
        """Add a sequence, cut into clips of at most `MAX_CLIP_FRAMES` frames.

        Raises:
            ValueError: It does not fit the manifest: another kind, encoder or width of features.
        """
        encode = _pose_row if self.manifest.kind == "pose" else _motion_row
        num_frames = len(sequence.pose)
        for start in range(0, num_frames, MAX_CLIP_FRAMES):
            row = encode(self.manifest, sequence, slice(start, start + MAX_CLIP_FRAMES))
            self._rows.append(row)
            self._num_bytes += sum(len(value) for value in row.values() if isinstance(value, bytes))
            if self._num_bytes >= FILE_BYTES:
                self._flush()

    def _flush(self) -> None:
        if not self._rows:
            return
        schema = POSE_SCHEMA if self.manifest.kind == "pose" else MOTION_SCHEMA
        sink = io.BytesIO()
        with pq.ParquetWriter(
            sink, schema, compression="none", use_dictionary=False, write_statistics=False
        ) as writer:
            for row in self._rows:  # a row group each, so that one clip can be read alone
                writer.write_table(pa.Table.from_pylist([row], schema=schema))
        content = sink.getvalue()
        sha256 = hashlib.sha256(content).hexdigest()
        name = f"part-{len(self.manifest.files):05d}-{sha256[:12]}.parquet"
        if name not in self._present:
            storage.write_bytes_atomic(storage.join(self.out, name), content)
        self.manifest.files.append(
            ShardFile(
                name=name,
                num_bytes=len(content),
                sha256=sha256,
                clip_frames=[row["num_frames"] for row in self._rows],
            )
        )
        self._rows, self._num_bytes = [], 0

    def _finish(self) -> None:
        if not self.manifest.files:
            raise ValueError(f"nothing to write to {self.out}: the source holds no usable sequence")
        text = self.manifest.model_dump_json(indent=1) + "\n"
        storage.write_bytes_atomic(storage.join(self.out, MANIFEST_FILE), text.encode())
        for name in self._present - {file.name for file in self.manifest.files}:
            storage.delete_file(storage.join(self.out, name))  # of an earlier data set here


def read_manifest(path: str, kind: Kind | None = None) -> Manifest:
    """Read the manifest of a data set.

    Raises:
        FileNotFoundError: There is none.
        ValueError: Another schema version or kind, or not a manifest at all.
    """
    file = storage.join(path, MANIFEST_FILE)
    if not storage.exists(file):
        raise FileNotFoundError(
            f"no data set at {path} ({MANIFEST_FILE} is missing): make one with "
            "`python -m vibe_ray.prepare`, or give another --data"
        )
    content = storage.read_bytes(file)
    try:
        manifest = Manifest.model_validate_json(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise ValueError(f"{file} is not a manifest: {where}: {first['msg']}") from None
    if manifest.schema_version != SCHEMA_VERSION:
        raise ValueError(
            f"{path} has shards of schema version {manifest.schema_version}, this version reads "
            f"{SCHEMA_VERSION}: prepare the data anew, or install the vibe_ray that wrote it"
        )
    if kind is not None and manifest.kind != kind:
        raise ValueError(f"{path} holds {manifest.kind} shards, expected {kind} shards")
    return manifest


def read_clip(path: str, name: str, row: int) -> dict[str, Any]:
    """Read one clip's row from a file of a data set."""
    filesystem, inner = storage.resolve(storage.join(path, name))
    with filesystem.open_input_file(inner) as source:
        table = pq.ParquetFile(source).read_row_group(row)
    return {column: table[column][0] for column in table.column_names}


def read_pose_sequences(path: str) -> Iterator[PoseSequence]:
    """Yield the sequences of a pose data set, clips joined again, one at a time."""
    manifest = read_manifest(path, "pose")
    for rows in _runs(path, manifest, ("sequence", "person")):
        arrays = {
            name: np.concatenate([decode(row[name], *spec, row) for row in rows])
            for name, spec in POSE_ARRAYS.items()
        }
        for name in ("has_kp_3d", "has_smpl", "valid"):
            arrays[name] = arrays[name].astype(bool)
        first = {k: rows[0][k].as_py() for k in ("dataset", "sequence", "person", "fps")}
        yield PoseSequence(
            **first,
            encoder_id=rows[0]["encoder_id"].as_py(),
            start_frame=rows[0]["start_frame"].as_py(),
            **arrays,
        )


def read_motion_sequences(path: str) -> Iterator[MotionSequence]:
    """Yield the sequences of a motion data set, clips joined again, one at a time."""
    manifest = read_manifest(path, "motion")
    for rows in _runs(path, manifest, ("sequence",)):
        arrays = {
            name: np.concatenate([decode(row[name], *spec, row) for row in rows])
            for name, spec in MOTION_ARRAYS.items()
        }
        yield MotionSequence(
            dataset=rows[0]["dataset"].as_py(),
            name=rows[0]["sequence"].as_py(),
            fps=rows[0]["fps"].as_py(),
            betas=np.frombuffer(rows[0]["betas"].as_buffer(), "<f4"),
            **arrays,
        )


def decode(value: pa.Scalar, dtype: str, shape: tuple[int, ...], row: dict[str, Any]) -> Array:
    """View a binary value as its array (N, *shape), without a copy."""
    array: Array = np.frombuffer(value.as_buffer(), dtype)
    return array.reshape(row["num_frames"].as_py(), *shape)


def _runs(path: str, manifest: Manifest, key: Sequence[str]) -> Iterator[list[dict[str, Any]]]:
    """Yield the rows of each sequence; a sequence's clips stand one after the other."""
    rows: list[dict[str, Any]] = []
    for file in manifest.files:
        for index in range(len(file.clip_frames)):
            row = read_clip(path, file.name, index)
            if rows and any(row[k] != rows[0][k] for k in key):
                yield rows
                rows = []
            rows.append(row)
    if rows:
        yield rows


def _pose_row(manifest: Manifest, sequence: Any, frames: slice) -> dict[str, Any]:
    if not isinstance(sequence, PoseSequence):
        raise ValueError(f"expected a pose sequence, found {type(sequence).__name__}")
    found = (sequence.encoder_id, sequence.features.shape[1])
    if found != (manifest.encoder_id, manifest.feature_dim):
        raise ValueError(
            f"{sequence.sequence}: encoder and feature width are {found}, the manifest's "
            f"{(manifest.encoder_id, manifest.feature_dim)}"
        )
    arrays = {name: (getattr(sequence, name), dtype) for name, (dtype, _) in POSE_ARRAYS.items()}
    return {
        **_identity(sequence.dataset, sequence.sequence, sequence.fps, frames, len(sequence.pose)),
        "start_frame": sequence.start_frame + frames.start,
        "person": sequence.person,
        "encoder_id": sequence.encoder_id,
        "feature_dim": sequence.features.shape[1],
        **{name: _bytes(array[frames], dtype) for name, (array, dtype) in arrays.items()},
    }


def _motion_row(_: Manifest, sequence: Any, frames: slice) -> dict[str, Any]:
    if not isinstance(sequence, MotionSequence):
        raise ValueError(f"expected a motion sequence, found {type(sequence).__name__}")
    arrays = {name: (getattr(sequence, name), dtype) for name, (dtype, _) in MOTION_ARRAYS.items()}
    return {
        **_identity(sequence.dataset, sequence.name, sequence.fps, frames, len(sequence.pose)),
        **{name: _bytes(array[frames], dtype) for name, (array, dtype) in arrays.items()},
        "betas": _bytes(sequence.betas, "<f4"),
    }


def _identity(dataset: str, name: str, fps: float, frames: slice, total: int) -> dict[str, Any]:
    return {
        "schema_version": SCHEMA_VERSION,
        "dataset": dataset,
        "sequence": name,
        "start_frame": frames.start,
        "num_frames": min(frames.stop, total) - frames.start,
        "fps": float(fps),
    }


def _bytes(array: Array, dtype: str) -> bytes:
    return np.ascontiguousarray(array, dtype=dtype).tobytes()
