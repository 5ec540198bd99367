"""Writing sequences as shards, and reading a shard's clips and what a manifest says of them.

Memory holds one file's rows while writing, whatever the size of the data set.
"""

import functools
import hashlib
import io
import json
from collections.abc import Sequence
from contextlib import suppress
from types import TracebackType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import ValidationError

from vibe_ray import storage
from vibe_ray.data.rows import encode_clip
from vibe_ray.data.schema import (
    MANIFEST_FILE,
    MAX_CLIP_FRAMES,
    MOTION_SCHEMA,
    POSE_SCHEMA,
    PROGRESS_FILE,
    SCHEMA_VERSION,
    Kind,
    Manifest,
    MotionSequence,
    PoseSequence,
    Progress,
    ShardFile,
)

FILE_BYTES = 64 * 2**20
"""Size of a file, about. A sequence is split over files only if it is larger than one."""
NUM_FOOTERS = 64
"""Parquet footers that a process keeps: more files than one group of clips lies in."""


class ShardWriter:
    """Writes sequences below a folder; on leaving the block without an error, the manifest.

    A run that was killed leaves nothing that a reader would take for a data set, since the manifest
    comes last. The next run with the same header takes over the finished files: a sequence that is
    in one of them is not written again. (Delete the folder if the raw data has changed meanwhile.)
    Files carry the hash of their content in their names, so writing a finished data set anew
    uploads only what differs.
    """

    def __init__(self, out: str, header: Manifest) -> None:
        """Prepare to write.

        Args:
            out: Folder, local or remote.
            header: The manifest without files.
        """
        self.out = out
        self._present = {path.rsplit("/", 1)[-1] for path in storage.list_files(out, ".parquet")}
        self.manifest, finished = self._take_over(header)
        self._sequences = list(finished)
        self._finished = set(finished)
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

    def is_finished(self, name: str, person: str = "") -> bool:
        """Whether an interrupted run has left this sequence: a converter may pass it over."""
        return (name, person) in self._finished

    def write(self, sequence: PoseSequence | MotionSequence) -> None:
        """Add a sequence, cut into clips of at most `MAX_CLIP_FRAMES` frames.

        Raises:
            ValueError: It does not fit the manifest: another kind, encoder or width of features.
        """
        if self.is_finished(*sequence.key):
            return
        if self._rows and self._num_bytes + _num_bytes(sequence) > FILE_BYTES:
            self._flush()
            self._save_progress()
        num_files = len(self.manifest.files)
        for start in range(0, len(sequence.pose), MAX_CLIP_FRAMES):
            if self._num_bytes >= FILE_BYTES:
                self._flush()
            row = encode_clip(self.manifest, sequence, slice(start, start + MAX_CLIP_FRAMES))
            self._rows.append(row)
            self._num_bytes += sum(len(value) for value in row.values() if isinstance(value, bytes))
        self._sequences.append(sequence.key)
        if len(self.manifest.files) > num_files:  # it alone fills files: end the last one with it
            self._flush()
            self._save_progress()

    def _take_over(self, header: Manifest) -> tuple[Manifest, list[tuple[str, str]]]:
        """Return the manifest and the sequences that an interrupted run has left, if one has."""
        path = storage.join(self.out, PROGRESS_FILE)
        with suppress(FileNotFoundError, ValidationError):  # none, or another version's
            progress = Progress.model_validate_json(storage.read_bytes(path))
            names = {file.name for file in progress.manifest.files}
            if progress.manifest.has_header_of(header) and names <= self._present:
                return progress.manifest, progress.sequences
        return header.model_copy(update={"files": []}), []

    def _save_progress(self) -> None:
        progress = Progress(manifest=self.manifest, sequences=self._sequences)
        path = storage.join(self.out, PROGRESS_FILE)
        storage.write_bytes_atomic(path, progress.model_dump_json().encode())

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
        storage.delete_file(storage.join(self.out, PROGRESS_FILE))


def read_manifest(path: str, kind: Kind | None = None) -> Manifest:
    """Read the manifest of a data set.

    Raises:
        FileNotFoundError: There is none.
        ValueError: Another schema version or kind, or not a manifest at all.
    """
    file = storage.join(path, MANIFEST_FILE)
    try:
        content = storage.read_bytes(file)
    except FileNotFoundError:
        raise FileNotFoundError(
            f"no data set at {path} ({MANIFEST_FILE} is missing): make one with "
            "`python -m vibe_ray.prepare`, or give another --data"
        ) from None
    _check_version(file, content)
    try:
        manifest = Manifest.model_validate_json(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise ValueError(f"{file} is not a manifest: {where}: {first['msg']}") from None
    if kind is not None and manifest.kind != kind:
        raise ValueError(f"{path} holds {manifest.kind} shards, expected {kind} shards")
    return manifest


def _check_version(file: str, content: bytes) -> None:
    """Compare the schema version, before anything else that another version may hold."""
    try:
        found = json.loads(content)["schema_version"]
    except (ValueError, KeyError, TypeError):
        raise ValueError(f"{file} is not a manifest: it names no schema_version") from None
    if found != SCHEMA_VERSION:
        raise ValueError(
            f"{file} is of schema version {found}, this vibe_ray reads {SCHEMA_VERSION}: prepare "
            "the data anew, or install the vibe_ray that wrote it"
        )


def read_clip(path: str, name: str, row: int) -> pa.Table:
    """Read one clip, a table of one row, from a file of a data set, by one read of it."""
    filesystem, inner = storage.resolve(storage.join(path, name))
    footer = _read_footer(path, name)
    with (
        filesystem.open_input_file(inner) as source,
        pq.ParquetFile(source, metadata=footer, pre_buffer=True) as file,
    ):
        return file.read_row_group(row, use_threads=False)


def read_columns(path: str, name: str, columns: Sequence[str]) -> list[dict[str, Any]]:
    """Read these columns of all clips in a file; one that its kind lacks is left out."""
    filesystem, inner = storage.resolve(storage.join(path, name))
    footer = _read_footer(path, name)
    with (
        filesystem.open_input_file(inner) as source,
        pq.ParquetFile(source, metadata=footer, pre_buffer=True) as file,
    ):
        table = file.read(list(columns), use_threads=False)
    rows: list[dict[str, Any]] = table.to_pylist()
    return rows


@functools.lru_cache(maxsize=NUM_FOOTERS)
def _read_footer(path: str, name: str) -> pq.FileMetaData:
    """Read where a file's rows lie. A name holds the content's hash, so this never grows stale."""
    filesystem, inner = storage.resolve(storage.join(path, name))
    with filesystem.open_input_file(inner) as source:
        return pq.read_metadata(source)


def _num_bytes(sequence: PoseSequence | MotionSequence) -> int:
    """Size of a sequence's arrays, about."""
    return sum(value.nbytes for value in vars(sequence).values() if isinstance(value, np.ndarray))
