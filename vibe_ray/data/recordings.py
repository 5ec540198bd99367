"""Raw recordings that are read when their turn comes: what a source gives, and a writer asks for.

A recording is what is read at once: a file of motion, a video with its annotations. It becomes any
number of sequences: several people, or the pieces between two glitches. One bad recording among
thousands must not end a conversion, and must not vanish either: it is skipped and its reason told.
"""

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from vibe_ray.data.labels import AnySequence, LabelNames
from vibe_ray.data.manifest import Manifest
from vibe_ray.data.shards import ShardWriter

logger = logging.getLogger(__name__)

S = TypeVar("S", bound=AnySequence)
OnSkip = Callable[[str, str], None]
"""Told the path and the reason of each recording that is left out."""
Watch = Callable[[Sequence[Any]], Iterable[Any]]
"""Goes through recordings one by one, as a progress bar does."""


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
            sequences, reason = self._read(recording)
            if reason:
                reasons.append(f"{recording.path}: {reason}")
            yield from sequences
        if reasons and len(reasons) == len(self):
            raise ValueError(
                f"none of the {len(self)} files in {self.root} could be used; first: {reasons[0]}"
            )

    def write_to(self, out: str, header: Manifest, watch: Watch = iter) -> "Written":
        """Read and write what an interrupted run has not finished; nothing else is read.

        Args:
            out: Folder of the data set, local or remote.
            header: Its manifest without files.
            watch: Goes through the recordings one by one, and may show how far it is.

        Raises:
            ValueError: No recording could be used, or the only one cannot; a sequence does not fit
                the header.
        """
        with ShardWriter(out, header) as writer:
            for recording in watch(self.items):
                if writer.is_finished(recording.name):
                    continue
                sequences, reason = self._read(recording)
                if reason:
                    writer.skip(recording.name, reason)
                else:
                    writer.write_recording(recording.name, sequences)
        return Written(writer.manifest, writer.skipped, len(self))

    def _read(self, recording: Recording[S]) -> tuple[Sequence[S], str]:
        """Read a recording's sequences, or why there are none."""
        try:
            return recording.read(), ""
        except ValueError as error:
            if len(self) == 1:
                raise ValueError(f"{recording.path}: {error}") from error
            self.on_skip(recording.path, str(error))
            return (), str(error) or type(error).__name__
