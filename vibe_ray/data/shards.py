"""Writing sequences as shards, and reading what a manifest says of them; `clips.py` reads clips.

Memory holds one file's rows while writing, whatever the size of the data set.
"""

import hashlib
import json
from array import array
from collections.abc import Mapping, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Any

import numpy as np
from pydantic import ValidationError

from vibe_ray import storage
from vibe_ray.data.journal import Journal, own_files
from vibe_ray.data.labels import AnySequence
from vibe_ray.data.manifest import SKIPPED_FILE, Manifest, ShardFile
from vibe_ray.data.rows import encode_clip, footer_of, pack_rows
from vibe_ray.data.schema import MAX_CLIP_FRAMES, SCHEMA_VERSION, Kind

FILE_BYTES = 64 * 2**20
"""Size of a file, about. A sequence is split over files only if it is larger than one."""


class ShardWriter:
    """Writes recordings below a folder; on leaving the block without an error, the manifest.

    A run that was killed leaves nothing that a reader would take for a data set, since the manifest
    comes last. The next run with the same header goes on where that one was (`journal.py`) and ends
    with the same files as a run that nothing disturbed: ask `is_finished` before anything of a
    recording is read. (Delete the folder if the raw data has changed meanwhile.) Files carry the
    hash of their content in their names, so writing a finished data set anew uploads only what
    differs.
    """

    def __init__(self, out: str, header: Manifest) -> None:
        """Prepare to write.

        Args:
            out: Folder, local or remote.
            header: The manifest without files.

        Raises:
            FileExistsError: The folder holds something else than this data set, which would be
                lost, or mixed with it.
        """
        self.out = out
        self._present = own_files(out, header)
        storage.sweep(out)
        self._journal = Journal(out, header, self._present)
        self._names: set[str] = set()
        self._rows = self._journal.read_pending()
        self._num_bytes = sum(map(_row_bytes, self._rows))

    def __enter__(self) -> "ShardWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None
    ) -> None:
        if kind is None:
            self._finish()

    @property
    def manifest(self) -> Manifest:
        """With the files that are finished."""
        return self._journal.progress.manifest

    @property
    def skipped(self) -> dict[str, str]:
        """The recordings that were left out, also by an interrupted run before, and why."""
        return dict(self._journal.progress.skipped)

    def is_finished(self, recording: str) -> bool:
        """Whether an interrupted run has done this recording, be it written or skipped."""
        return recording in self._journal.finished

    def write(self, sequence: AnySequence) -> None:
        """Write a recording of one sequence, which is called as the sequence is."""
        self.write_recording("/".join(filter(None, sequence.key)), [sequence])

    def write_recording(self, name: str, sequences: Sequence[AnySequence]) -> None:
        """Add all that a recording holds, cut into clips of at most `MAX_CLIP_FRAMES` frames.

        A recording that an interrupted run has finished is passed over.

        Raises:
            ValueError: It does not fit the manifest (see `rows.encode_clip`), or there was another
                recording of that name.
        """
        self._take_name(name)
        if self.is_finished(name):
            return
        if self._rows and self._num_bytes + sum(map(_num_bytes, sequences)) > FILE_BYTES:
            self._flush()
            self._journal.save(self._rows)
        num_files = len(self.manifest.files)
        for sequence in sequences:
            for start in range(0, sequence.num_frames, MAX_CLIP_FRAMES):
                if self._num_bytes >= FILE_BYTES:
                    self._flush()
                row = encode_clip(self.manifest, sequence, slice(start, start + MAX_CLIP_FRAMES))
                self._rows.append(row)
                self._num_bytes += _row_bytes(row)
        is_split = len(self.manifest.files) > num_files
        if is_split:  # it alone fills files: end the last one with it
            self._flush()
        self._journal.note(name)
        if is_split or self._journal.is_due:
            self._journal.save(self._rows)

    def skip(self, recording: str, reason: str) -> None:
        """Note that a recording cannot be used, so that a run that goes on does not try again."""
        self._take_name(recording)
        self._journal.note(recording, reason)
        if self._journal.is_due:
            self._journal.save(self._rows)

    def _take_name(self, recording: str) -> None:
        if recording in self._names:
            raise ValueError(f"two recordings for {self.out} are called {recording!r}: rename one")
        self._names.add(recording)

    def _flush(self) -> None:
        """Write the waiting rows as the manifest's next file."""
        if not self._rows:
            return
        content = pack_rows(self.manifest.kind, self._rows)
        sha256 = hashlib.sha256(content).hexdigest()
        name = f"part-{len(self.manifest.files):05d}-{sha256[:12]}.parquet"
        path = storage.join(self.out, name)
        if name not in self._present or storage.sha256(path) != sha256:  # gone, or damaged
            self._journal.begin()
            storage.write_bytes_atomic(path, content)
        clip_frames = array("i", (row["num_frames"] for row in self._rows))
        footer = footer_of(content)
        self.manifest.files.append(
            ShardFile(
                name=name,
                num_bytes=len(content),
                sha256=sha256,
                clip_frames=clip_frames,
                footer_bytes=len(footer),
                footer_sha256=hashlib.sha256(footer).hexdigest(),
            )
        )
        self._rows, self._num_bytes = [], 0
        self._journal.clear_pending()

    def _finish(self) -> None:
        self._flush()
        if not self.manifest.files:
            self._journal.close()  # the next run tries again what could not be used
            raise ValueError(_nothing_usable(self.out, self.skipped))
        self._write_text(SKIPPED_FILE, json.dumps(self.skipped, indent=1) if self.skipped else "")
        self._write_text(storage.MANIFEST, self.manifest.text(indent=1))
        for name in self._present - {file.name for file in self.manifest.files}:
            storage.delete_file(storage.join(self.out, name))  # of an earlier data set here
        self._journal.close()

    def _write_text(self, name: str, text: str) -> None:
        """Write a file of the data set; none where there is nothing to say."""
        path = storage.join(self.out, name)
        if text:
            storage.write_bytes_atomic(path, f"{text}\n".encode())
        else:
            storage.delete_file(path)


def find_data_sets(path: str) -> list[str]:
    """Return the folders of the data sets at or below a path.

    Raises:
        FileNotFoundError: There is none.
    """
    files = storage.list_files(path, storage.MANIFEST)
    if not files:
        raise FileNotFoundError(
            f"no data set at or below {path}: no {storage.MANIFEST} found; give a folder that "
            "`python -m vibe_ray.prepare` has written to"
        )
    return [file.removesuffix("/" + storage.MANIFEST) for file in files]


def read_manifest(path: str, kind: Kind | None = None) -> Manifest:
    """Read the manifest of a data set.

    Raises:
        FileNotFoundError: There is none.
        ValueError: Another schema version or kind, or not a manifest at all.
    """
    file = storage.join(path, storage.MANIFEST)
    try:
        content = storage.read_bytes(file)
    except FileNotFoundError:
        raise FileNotFoundError(
            f"no data set at {path} ({storage.MANIFEST} is missing): make one with "
            "`python -m vibe_ray.prepare`, or give another folder"
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


def read_finished(path: str, header: Manifest) -> Manifest | None:
    """Return the manifest of a data set that need not be made again, if it is that.

    For headers that say all that the data depends on: the same header then means the same data, and
    no recording was left out, which another run might be able to use. One of which a file is gone
    or damaged is made again.
    """
    with suppress(FileNotFoundError, ValueError):  # nothing there, or what is to be replaced
        manifest = read_manifest(path)
        left_out = storage.exists(storage.join(path, SKIPPED_FILE))
        if left_out or not manifest.has_header_of(header):
            return None
        for file in manifest.files:
            if storage.sha256(storage.join(path, file.name)) != file.sha256:
                return None
        return manifest
    return None


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


def _nothing_usable(out: str, skipped: Mapping[str, str]) -> str:
    text = f"nothing to write to {out}: the source holds no usable sequence"
    if skipped:
        name, reason = next(iter(skipped.items()))
        text += f"; none of the {len(skipped)} recordings could be used, first: {name}: {reason}"
    return text


def _row_bytes(row: Mapping[str, Any]) -> int:
    """Size of a row's arrays."""
    return sum(len(value) for value in row.values() if isinstance(value, bytes))


def _num_bytes(sequence: AnySequence) -> int:
    """Size of a sequence's arrays, about."""
    return sum(value.nbytes for value in vars(sequence).values() if isinstance(value, np.ndarray))
