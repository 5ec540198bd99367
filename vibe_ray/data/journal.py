"""How far has the writer of a data set come? What a killed one leaves, and the next one takes over.

Beside the finished files stand `progress.json` and `pending-*.parquet`, the rows that wait for the
next file to be full. They are written only between recordings, and now and then, so that short
recordings cost nothing; when they are written changes nothing of the data set itself.
"""

import hashlib
import json
import re
import time
from contextlib import suppress
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from vibe_ray import storage
from vibe_ray.data.manifest import FileName, Manifest
from vibe_ray.data.rows import pack_rows, unpack_rows

PROGRESS_FILE = "progress.json"
PENDING = "pending-"
PENDING_FILE = re.compile(rf"{PENDING}[0-9a-f]{{12}}\.parquet")
SAVE_S = 30.0
"""Seconds of finished recordings that a killed run may lose."""


class DoneSoFar(BaseModel):
    model_config = ConfigDict(extra="forbid")

    manifest: Manifest
    """With the files that are finished."""
    recordings: list[str] = []
    """The recordings that need not be read again: all of each is in the files or in `pending`."""
    skipped: dict[str, str] = {}
    """Those of them that were left out, and why."""
    pending: list[FileName] = []
    """Files with the rows that wait."""


def own_files(out: str, header: Manifest) -> set[str]:
    """Return the names of a data set's files in a folder, such as may be replaced and deleted.

    They are what a manifest or journal there names, be it of other settings. Whatever else lies in
    the folder is the user's, and stays.

    Args:
        out: Folder to be written to.
        header: Of the data set to be written.

    Raises:
        FileExistsError: The folder is not empty and holds no data set, or another one.
    """
    found = set(storage.visible_files(out))
    named = {name for name in found if PENDING_FILE.fullmatch(name)}
    described = []
    for name in {storage.MANIFEST, PROGRESS_FILE} & found:
        values = _json_object(storage.join(out, name))
        named.update(map(str, values.get("pending", ())))
        if values:  # what is damaged says nothing
            described.append(values.get("manifest", values))
    if found and not any("schema_version" in values for values in described):
        raise FileExistsError(
            f"{out} is not empty, and no data set: it holds {', '.join(sorted(found)[:3])}"
            f"{', ...' if len(found) > 3 else ''}; expected a new or empty folder, or the same "
            "data set: give another --out"
        )
    for values in described:
        whose = {key: values.get(key) for key in ("kind", "dataset", "split", "converter")}
        if whose != {key: getattr(header, key) for key in whose}:
            raise FileExistsError(
                f"{out} holds another data set: {_said(whose)}, expected "
                f"{_said({key: getattr(header, key) for key in whose})}; give another --out"
            )
        named.update(str(file["name"]) for file in values.get("files", ()))
    return named & found


def _json_object(path: str) -> dict[str, Any]:
    """Read a JSON object; what is damaged says nothing."""
    try:
        values = json.loads(storage.read_bytes(path))
    except ValueError:
        return {}
    return values if isinstance(values, dict) else {}


def _said(whose: dict[str, Any]) -> str:
    return ", ".join(f"{key} {value}" for key, value in whose.items())


class Journal:
    """The progress of one data set: in memory as it is, in its folder as it was last saved."""

    def __init__(self, out: str, header: Manifest, present: set[str]) -> None:
        """Take over what an interrupted run with the same header has left, if one has.

        Args:
            out: Folder of the data set.
            header: The manifest without files.
            present: Names of the data set's files in that folder.
        """
        self._out = out
        self._stale = {name for name in present if name.startswith(PENDING)}
        self._is_begun = bool(present)
        self.progress = self._left(header, present)
        self.finished = frozenset(self.progress.recordings)
        """The recordings that were done before."""
        self._num_saved = 0
        self._saved_at = time.monotonic()

    def read_pending(self) -> list[dict[str, Any]]:
        """Read the rows that wait."""
        paths = [storage.join(self._out, name) for name in self.progress.pending]
        rows = [row for path in paths for row in unpack_rows(storage.read_bytes(path))]
        self._num_saved = len(rows)
        return rows

    def note(self, recording: str, reason: str = "") -> None:
        """Count a recording as done; with a reason, as left out."""
        self.progress.recordings.append(recording)
        if reason:
            self.progress.skipped[recording] = reason

    def begin(self) -> None:
        """Say whose the folder is, before the first file is in it."""
        if not self._is_begun:
            nothing = DoneSoFar(manifest=self.progress.manifest.model_copy(update={"files": []}))
            self._write(nothing)

    def _write(self, progress: DoneSoFar) -> None:
        text = progress.model_dump_json(exclude_none=True)
        storage.write_bytes_atomic(storage.join(self._out, PROGRESS_FILE), text.encode())
        self._is_begun = True

    @property
    def is_due(self) -> bool:
        """Whether the last save is long ago."""
        return time.monotonic() - self._saved_at >= SAVE_S

    def clear_pending(self) -> None:
        """The rows that waited are in a file of the manifest now."""
        self._stale.update(self.progress.pending)
        self.progress.pending.clear()
        self._num_saved = 0

    def save(self, rows: list[dict[str, Any]]) -> None:
        """Write where things stand.

        Args:
            rows: All that wait, at the end of a recording; what was saved before is not again.
        """
        if len(rows) > self._num_saved:
            content = pack_rows(self.progress.manifest.kind, rows[self._num_saved :])
            self.begin()
            name = f"{PENDING}{hashlib.sha256(content).hexdigest()[:12]}.parquet"
            storage.write_bytes_atomic(storage.join(self._out, name), content)
            self.progress.pending.append(name)
        self._write(self.progress)
        self._num_saved, self._saved_at = len(rows), time.monotonic()
        self._delete_stale()

    def close(self) -> None:
        """Remove what only an unfinished data set needs."""
        self.clear_pending()
        self._delete_stale()
        storage.delete_file(storage.join(self._out, PROGRESS_FILE))

    def _delete_stale(self) -> None:
        for name in self._stale - set(self.progress.pending):
            storage.delete_file(storage.join(self._out, name))
        self._stale.clear()

    def _left(self, header: Manifest, present: set[str]) -> DoneSoFar:
        path = storage.join(self._out, PROGRESS_FILE)
        with suppress(FileNotFoundError, ValidationError):  # none, or another version's
            progress = DoneSoFar.model_validate_json(storage.read_bytes(path))
            names = {*progress.pending, *(file.name for file in progress.manifest.files)}
            if progress.manifest.has_header_of(header) and names <= present:
                return progress
        return DoneSoFar(manifest=header.model_copy(update={"files": []}))
