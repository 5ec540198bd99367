"""Raw recordings that are read when their turn comes: what a source gives, and a writer asks for.

A recording is what is read at once: a file of motion, a video with its annotations. It becomes any
number of sequences: several people, or the pieces between two glitches. One bad recording among
thousands must not end a conversion, and must not vanish either: it is skipped and its reason told.
"""

import logging
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from vibe_ray.data.labels import AnySequence, LabelNames
from vibe_ray.data.manifest import Manifest
from vibe_ray.data.shards import ShardWriter

logger = logging.getLogger(__name__)

S = TypeVar("S", bound=AnySequence)
OnSkip = Callable[[str, str], None]
"""Told the path and the reason of each recording that is left out."""
Walk = Callable[[Sequence[Any]], Iterable[Any]]
"""Goes through recordings one by one, as a progress bar does."""
_MAX_REASON = 1500
"""Characters of a reason; skeletons of thousands of joints name all of them."""


def log_skip(path: str, reason: str) -> None:
    """Log a recording that is left out."""
    logger.warning("skipped %s: %s", path, reason)


def refuse_skip(path: str, reason: str) -> None:
    """End with the first recording that cannot be used: for those that we make ourselves."""
    raise ValueError(f"{path}: {reason}")


@dataclass(frozen=True)
class Recording(Generic[S]):
    name: str
    """What tells it from the others of its source, whatever it holds; known before it is read."""
    path: str
    """Where it is, for messages."""
    read: Callable[[], Sequence[S]]
    """Read and decode it; raises ValueError when it cannot be used."""


@dataclass(frozen=True)
class Written:
    """A data set that was written, by this run and those before it."""

    manifest: Manifest
    skipped: Mapping[str, str]
    """The recordings that were left out, and why."""
    num_recordings: int
    """All that there were."""

    def told(self, out: str) -> str:
        """Say in lines what was written into a folder, and what was left out and why."""
        lines = [f"left out {name}: {reason}" for name, reason in self.skipped.items()]
        if lines:
            lines.append(f"left out {len(lines)} of {self.num_recordings} recordings")
        minutes = self.manifest.num_frames / self.manifest.fps / 60
        return "\n".join([*lines, f"{out}: {self.manifest.num_clips} clips, {minutes:.1f} minutes"])


@dataclass(frozen=True)
class Recordings(Generic[S]):
    """All recordings of a source, in the same order on every machine; iterate over sequences."""

    root: str
    """Folder, file or address of the source. Of labels: the folder below which all pixels are."""
    items: Sequence[Recording[S]]
    on_skip: OnSkip = log_skip
    names: LabelNames | None = field(default=None, kw_only=True)
    """Of labels: what the key-points of all recordings are called."""
    fps: float = field(default=0.0, kw_only=True)
    """Of labels: frames per second of all recordings."""

    def __len__(self) -> int:
        return len(self.items)

    def __iter__(self) -> Iterator[S]:
        """Read one recording after the other and yield its sequences.

        Raises:
            ValueError: No recording could be used, or the only one cannot.
        """
        reasons = []
        for recording in self.items:
            sequences, reason = read_recording(recording)
            if reason:
                self._leave_out(recording, reason)
                reasons.append(f"{recording.path}: {reason}")
            yield from sequences
        if reasons and len(reasons) == len(self):
            raise ValueError(
                f"none of the {len(self)} files in {self.root} could be used; first: {reasons[0]}"
            )

    def write_to(
        self,
        out: str,
        header: Manifest,
        walk: Walk = iter,
        read: "ReadEach[S] | None" = None,
    ) -> "Written":
        """Read and write what an interrupted run has not finished; nothing else is read.

        Args:
            out: Folder of the data set, local or remote.
            header: Its manifest without files.
            walk: Goes through the recordings one by one, and may show how far it is.
            read: Reads several in their order, as `read_each` does, which does it here.

        Raises:
            ValueError: No recording could be used, or the only one cannot; a sequence does not fit
                the header.
        """
        with ShardWriter(out, header) as writer:
            left = [item for item in self.items if not writer.is_finished(item.name)]
            with closing((read or read_each)(left)) as found:
                for recording, (sequences, reason) in zip(walk(left), found, strict=True):
                    if reason:
                        self._leave_out(recording, reason)
                        writer.skip(recording.name, reason)
                    else:
                        writer.write_recording(recording.name, sequences)
        return Written(writer.manifest, writer.skipped, len(self))

    def _leave_out(self, recording: Recording[S], reason: str) -> None:
        if len(self) == 1:
            raise ValueError(f"{recording.path}: {reason}")
        self.on_skip(recording.path, reason)


def recording_of(name: str, path: str, read: Callable[[], Sequence[S]]) -> Recording[S]:
    """Return a file's recording, of which nothing but its reason to be left out may come.

    Args:
        name: As in `Recording`.
        path: Likewise.
        read: Likewise, but it may raise whatever an odd file leads to (`FAULTS_OF_A_FILE`).
    """

    def guarded() -> Sequence[S]:
        try:
            return read()
        except FAULTS_OF_A_FILE as error:
            raise ValueError(_reason(error)) from error

    return Recording(name, path, guarded)


FAULTS_OF_A_FILE = (
    *(ValueError, TypeError, LookupError, ArithmeticError),
    *(MemoryError, RecursionError),
    *(FileNotFoundError, PermissionError, IsADirectoryError),
)
"""What reading one odd file may raise. Other errors of the system, such as an object store that
does not answer, are no file's fault: they end the conversion."""


def _reason(error: BaseException) -> str:
    """Why a file is left out, in words."""
    if isinstance(error, MemoryError):
        return "it is larger than this machine's memory takes"
    if isinstance(error, (ValueError, OSError)):
        return str(error)[:_MAX_REASON]
    kind = type(error).__name__
    return f"it is broken in a way that its reader does not know ({kind}: {error})"[:_MAX_REASON]


Found = tuple[Sequence[S], str]
"""A recording's sequences, or why there are none."""
ReadEach = Callable[[Sequence[Recording[S]]], Generator[Found[S]]]


def read_recording(recording: Recording[S]) -> Found[S]:
    """Read a recording; what is wrong with it becomes the reason."""
    try:
        return recording.read(), ""
    except ValueError as error:
        return (), str(error) or type(error).__name__


def read_each(recordings: Sequence[Recording[S]]) -> Generator[Found[S]]:
    """Read recordings one after the other, each when its turn comes."""
    for recording in recordings:
        yield read_recording(recording)
