"""Reading a data set's sequences, their clips joined. Training reads clips: `windows.py`.

Memory holds one sequence and a clip, whatever the size of the data set; of one that is left where
it is stored (`stored_pose_sequences`) it holds two clips, however long the sequence.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import groupby, islice
from typing import Any

import numpy as np
import pyarrow as pa

from vibe_ray.data.clips import read_clip, read_columns
from vibe_ray.data.labels import AnySequence, LabelledSequence, LabelNames
from vibe_ray.data.manifest import Manifest, ShardFile
from vibe_ray.data.recordings import Recording, Recordings
from vibe_ray.data.rows import binary, decode_clip, full_path, value
from vibe_ray.data.schema import MotionSequence, PoseSequence
from vibe_ray.data.shards import read_manifest
from vibe_ray.geometry.arrays import Array
from vibe_ray.storage import join

Which = slice | Collection[int]
"""Of a data set's sequences some, by their numbers; of the others no more is read than their names.
"""
ALL = slice(None)
NUM_HELD = 2
"""Clips of a stored sequence that memory holds: frames that follow each other are in one or two."""
MASKS = ("has_kp_3d", "has_smpl", "valid")
WHOSE = ("dataset", "sequence", "person")
"""Columns that name a sequence; motion has no persons."""


def count_sequences(path: str) -> int:
    """Return how many sequences a data set has, of which only the names are read."""
    return sum(1 for _ in _sequences(path, read_manifest(path)))


def read_pose_sequences(path: str, which: Which = ALL) -> Iterator[PoseSequence]:
    """Yield the sequences of a pose data set, clips joined again, one at a time.

    Args:
        path: Folder of the data set.
        which: Of its sequences.
    """
    for run in _runs(path, read_manifest(path, "pose"), which):
        yield _pose_sequence(_known(run.first), _joined(run, run.num_frames))


def stored_pose_sequences(
    path: str, which: Which = ALL
) -> Iterator["PoseSequence | StoredSequence"]:
    """Yield the sequences of a pose data set, the long ones left where they are stored.

    Args:
        path: Folder of the data set.
        which: Of its sequences.
    """
    for run in _runs(path, read_manifest(path, "pose"), which):
        if len(run.clips) > NUM_HELD:
            yield StoredSequence(run)
        else:
            yield _pose_sequence(_known(run.first), _joined(run, run.num_frames))


class StoredSequence:
    """A `PoseSequence` that is left where it is stored, some of its frames read at a time."""

    def __init__(self, run: "_Run") -> None:
        self._read = lru_cache(NUM_HELD)(run.read)
        self._known = _known(self._read(0))
        self.dataset: str = self._known["dataset"]
        self.sequence: str = self._known["sequence"]
        self.person: str = self._known["person"]
        self.num_frames = run.num_frames
        self._starts = np.cumsum([0, *run.lengths])
        masks = list(run.columns(MASKS))
        self.has_kp_3d, self.has_smpl, self.valid = (
            np.frombuffer(b"".join(clip[name] for clip in masks), bool) for name in MASKS
        )
        """(N,) bool each, as in a `PoseSequence`."""

    def take(self, frames: Array) -> PoseSequence:
        """Read some of its frames, by their numbers (n,), at least one."""
        clips = np.searchsorted(self._starts, frames, side="right") - 1
        taken: dict[str, Array] = {}
        for clip in np.unique(clips).tolist():
            own = clips == clip
            for name, part in decode_clip(self._read(clip)).items():
                if name not in taken:
                    taken[name] = np.empty((len(frames), *part.shape[1:]), part.dtype)
                taken[name][own] = part[frames[own] - self._starts[clip]]
        return _pose_sequence(self._known, taken)


def _known(first: pa.Table) -> dict[str, Any]:
    """Return what a pose sequence's first clip says of all of it."""
    names = ("dataset", "sequence", "person", "fps", "encoder_id", "start_frame")
    return {name: value(first, name) for name in names}


def _pose_sequence(known: dict[str, Any], arrays: dict[str, Array]) -> PoseSequence:
    masks = {name: arrays[name].astype(bool) for name in MASKS}
    return PoseSequence(**(known | arrays | masks))


def read_motion_sequences(path: str, which: Which = ALL) -> Iterator[MotionSequence]:
    """Yield the sequences of a motion data set, as `read_pose_sequences` does."""
    for run in _runs(path, read_manifest(path, "motion"), which):
        yield MotionSequence(
            dataset=value(run.first, "dataset"),
            name=value(run.first, "sequence"),
            fps=value(run.first, "fps"),
            betas=binary(run.first, "betas", "<f4"),
            **_joined(run, run.num_frames),
        )


def read_label_sequences(
    path: str, which: Which = ALL, raw: str | None = None
) -> Iterator[LabelledSequence]:
    """Yield the sequences of a label data set, as `read_pose_sequences` does.

    Args:
        path: Folder of the data set.
        which: Of its sequences.
        raw: Where videos and images are, if not where they were when the labels were made.
    """
    manifest = read_manifest(path, "labels")
    for run in _runs(path, manifest, which):
        yield _labels(run, manifest, raw)


def read_sequences(
    path: str, manifest: Manifest, which: Which = ALL, raw: str | None = None
) -> Iterator[AnySequence]:
    """Yield the sequences of a data set of any kind, one at a time.

    Args:
        path: Folder of the data set.
        manifest: Its own.
        which: Of its sequences.
        raw: Of labels, as in `read_label_sequences`.
    """
    if manifest.kind == "labels":
        yield from read_label_sequences(path, which, raw)
    elif manifest.kind == "pose":
        yield from read_pose_sequences(path, which)
    else:
        yield from read_motion_sequences(path, which)


def stored_labels(path: str, raw: str | None = None) -> Recordings[LabelledSequence]:
    """Return a label data set's sequences as recordings, of which only the names are read yet."""
    manifest = read_manifest(path, "labels")

    def recording(
        clips: list[tuple[ShardFile, int]], key: tuple[str, str]
    ) -> Recording[LabelledSequence]:
        def read() -> list[LabelledSequence]:
            return [_labels(_Run(path, clips), manifest, raw)]

        return Recording("/".join(key), path, read)

    found = [recording(clips, key) for clips, key in _sequences(path, manifest)]
    return Recordings(path, found, names=manifest.names)


def _labels(run: "_Run", manifest: Manifest, raw: str | None) -> LabelledSequence:
    root = (manifest.raw or "") if raw is None else raw
    rows = list(run)  # small ones: they have no features
    arrays = _joined(rows, run.num_frames)
    for name in ("has_kp_3d", "has_smpl", "has_camera", "valid"):
        arrays[name] = arrays[name].astype(bool)
    names = ("dataset", "sequence", "person", "fps", "width", "height")
    known: dict[str, Any] = {name: value(run.first, name) for name in names}
    images = [full_path(root, path) for row in rows for path in value(row, "images")]
    return LabelledSequence(
        **(known | arrays),
        names=manifest.names or LabelNames(),
        video=full_path(root, value(run.first, "video")),
        images=tuple(images),
    )


@dataclass
class _Run:
    """The clips of one sequence, each a table of one row, read when they are looked at."""

    path: str
    clips: list[tuple[ShardFile, int]]

    def __iter__(self) -> Iterator[pa.Table]:
        yield self.first
        for number in range(1, len(self.clips)):
            yield self.read(number)

    def read(self, number: int) -> pa.Table:
        """Read one clip."""
        return read_clip(self.path, *self.clips[number])

    @cached_property
    def first(self) -> pa.Table:
        """The first clip, which knows what the whole sequence has in common."""
        return self.read(0)

    @property
    def lengths(self) -> list[int]:
        """Frames of each clip."""
        return [file.clip_frames[row] for file, row in self.clips]

    @property
    def num_frames(self) -> int:
        """Of all clips."""
        return sum(self.lengths)

    def columns(self, names: Sequence[str]) -> Iterator[dict[str, Any]]:
        """Yield some columns of each clip; of the files no others are read."""
        for _, clips in groupby(self.clips, key=lambda clip: clip[0].name):
            rows = list(clips)
            of_file = read_columns(self.path, rows[0][0], names)
            yield from (of_file[row] for _, row in rows)


def _joined(rows: Iterable[pa.Table], num_frames: int) -> dict[str, Array]:
    """Join the arrays (N, ...) of a sequence's clips, one by one: memory holds no clip twice."""
    joined: dict[str, Array] = {}
    at = 0
    for row in rows:
        count = value(row, "num_frames")
        for name, part in decode_clip(row).items():
            if not at:
                joined[name] = np.empty((num_frames, *part.shape[1:]), part.dtype)
            joined[name][at : at + count] = part
        at += count
    return joined


def _runs(path: str, manifest: Manifest, which: Which) -> Iterator[_Run]:
    """Yield each of those sequences."""
    found = _sequences(path, manifest)
    if isinstance(which, slice):
        found = islice(found, which.start, which.stop, which.step)
    else:
        found = (one for number, one in enumerate(found) if number in which)
    for clips, _ in found:
        yield _Run(path, clips)


def _sequences(
    path: str, manifest: Manifest
) -> Iterator[tuple[list[tuple[ShardFile, int]], tuple[str, str]]]:
    """Yield each sequence's clips, by file and row, and its key; clips stand one after another."""
    clips: list[tuple[ShardFile, int]] = []
    before: dict[str, Any] = {}
    for file in manifest.files:
        found = read_columns(path, file, (*WHOSE, "start_frame", "num_frames"))
        told = list(file.clip_frames)
        if len(found) != len(told):
            raise _disagreeing(path, file, f"{len(found)} clips", str(len(told)))
        if (lengths := [clip["num_frames"] for clip in found]) != told:
            raise _disagreeing(path, file, f"clips of {lengths} frames", str(told))
        for row, clip in enumerate(found):
            if clips and not _continues(before, clip):
                yield clips, _key(before)
                clips = []
            clips.append((file, row))
            before = clip
    if clips:
        yield clips, _key(before)


def _disagreeing(path: str, file: ShardFile, found: str, told: str) -> ValueError:
    return ValueError(
        f"{join(path, file.name)} has {found}, the manifest says {told}: prepare the data set anew"
    )


def _key(row: dict[str, Any]) -> tuple[str, str]:
    return row["sequence"], row.get("person", "")


def _continues(before: dict[str, Any], row: dict[str, Any]) -> bool:
    """Whether a clip is the next one of the sequence of the one before it."""
    same = all(row.get(name) == before.get(name) for name in WHOSE)
    return same and row["start_frame"] == before["start_frame"] + before["num_frames"]
