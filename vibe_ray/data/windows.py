"""Which window comes when? The order of a stream as a pure function of (seed, position).

A **pass** goes over all windows of a stream once. Its order is drawn from (seed, stream, pass):
clips are shuffled, put into groups, and the windows of each group are shuffled. So neighbors in the
stream come from a group's few clips, which a reader can hold, and any position can be found without
walking there. Where the first window of a clip begins varies from pass to pass as far as the clip's
length leaves room, without changing how many windows there are.

Memory grows with the number of clips (some 20 bytes each, as much again while a pass lasts), not of
windows.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from vibe_ray.data.manifest import Manifest

GROUP_CLIPS = 32
"""Clips whose windows are mixed: at most 512 frames of some 5600 bytes each, 92 MB."""
_PASS, _GROUP = 0, 1  # what random numbers are for

INDEX = np.int32
"""Of what there is once per clip; positions in a stream are as large as they come."""
Integers = npt.NDArray[np.signedinteger]


class Window(NamedTuple):
    dataset: int
    """Which of the stream's data sets."""
    file: int
    row: int
    start: int


@dataclass(frozen=True, eq=False)
class WindowStream:
    """An endless stream of windows over one or several data sets."""

    stream_id: int
    """Tells streams of one seed apart."""
    seed: int
    length: int
    """T, frames of a window."""
    stride: int
    """Frames from the start of one window to that of the next."""
    dataset: Integers
    """Per clip: its data set, file, row and number of frames."""
    file: Integers
    row: Integers
    num_frames: Integers
    counts: Integers = field(init=False)
    """Windows per clip."""
    num_windows: int = field(init=False)
    """Windows of one pass."""

    def __post_init__(self) -> None:
        counts = np.maximum(0, (self.num_frames - self.length) // self.stride + 1)
        object.__setattr__(self, "counts", counts)
        object.__setattr__(self, "num_windows", int(counts.sum()))

    @classmethod
    def over(
        cls,
        manifests: Sequence[Manifest],
        *,
        stream_id: int,
        seed: int,
        length: int,
        stride: int,
    ) -> "WindowStream":
        """Index the clips of data sets, in their order."""
        shards = [
            (dataset, file, shard.clip_frames)
            for dataset, manifest in enumerate(manifests)
            for file, shard in enumerate(manifest.files)
        ]
        sizes = [len(clips) for _, _, clips in shards]
        return cls(
            stream_id,
            seed,
            length,
            stride,
            dataset=np.repeat(np.array([dataset for dataset, _, _ in shards], INDEX), sizes),
            file=np.repeat(np.array([file for _, file, _ in shards], INDEX), sizes),
            row=_joined([np.arange(size, dtype=INDEX) for size in sizes]),
            num_frames=_joined([np.array(clips, INDEX) for _, _, clips in shards]),
        )

    def at(self, positions: Iterable[int]) -> list[Window]:
        """Return the windows at positions of the stream.

        Raises:
            ValueError: There is no window at all.
        """
        return [self._at(position) for position in positions]

    def _at(self, position: int) -> Window:
        if not self.num_windows:
            raise ValueError(f"no clip is as long as a window of {self.length} frames")
        number, offset = divmod(position, self.num_windows)
        ends = _pass_order(self, number)[1]
        group = int(ends.searchsorted(offset, side="right"))
        first = int(ends[group - 1]) if group else 0
        return Window._make(_group_order(self, number, group)[offset - first].tolist())

    def random(self, *key: int) -> np.random.Generator:
        """Return the random numbers that belong to a key, the same in every process.

        Keys must not differ in trailing zeros alone: NumPy takes such for the same.
        """
        return np.random.default_rng([self.seed, self.stream_id, *key])


@lru_cache(maxsize=8)
def _pass_order(stream: WindowStream, number: int) -> tuple[Integers, Integers]:
    """Shuffled clips of a pass, and where each group of them ends, counted in windows."""
    usable = np.flatnonzero(stream.counts)
    clips = stream.random(_PASS, number).permutation(usable)
    ends = np.cumsum(stream.counts[clips])
    last = np.minimum(np.arange(GROUP_CLIPS, len(clips) + GROUP_CLIPS, GROUP_CLIPS), len(clips))
    return clips, ends[last - 1]


@lru_cache(maxsize=16)
def _group_order(stream: WindowStream, number: int, group: int) -> Integers:
    """Shuffled windows (n, 4) of a group: data set, file, row and start."""
    clips = _pass_order(stream, number)[0][group * GROUP_CLIPS : (group + 1) * GROUP_CLIPS]
    random = stream.random(_GROUP, number, group)
    counts = stream.counts[clips]
    room = stream.num_frames[clips] - stream.length - (counts - 1) * stream.stride
    offsets = random.integers(0, np.minimum(room, stream.stride - 1), endpoint=True)
    within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    starts = np.repeat(offsets, counts) + within * stream.stride
    columns = [np.repeat(of[clips], counts) for of in (stream.dataset, stream.file, stream.row)]
    order: Integers = random.permutation(np.stack([*columns, starts], axis=1))
    return order


def _joined(parts: list[Integers]) -> Integers:
    return np.concatenate([np.empty(0, INDEX), *parts])
