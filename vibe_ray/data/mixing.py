"""What does each step see? Three streams mixed by exact numbers, dealt over the ranks.

Step s takes the windows at positions s n, ..., s n + n - 1 of each stream, n being that stream's
number of windows per step over all ranks. The windows of a step therefore depend on the seed and on
s alone; the number of ranks only decides who computes which of them.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vibe_ray import storage
from vibe_ray.data.manifest import Manifest
from vibe_ray.data.schema import Kind
from vibe_ray.data.shards import read_manifest
from vibe_ray.data.windows import Window, WindowStream

if TYPE_CHECKING:  # they need torch, which most readers do without
    from vibe_ray.data.synthetic.frames import FrameSource
    from vibe_ray.data.synthetic.windows import WindowSource

LEAST = {
    "window_length": 3,
    "window_stride": 1,
    "batch_size": 0,
    "motion_batch_size": 0,
    "readers": 1,
}


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """Which data sets, and how many windows of each kind make a step."""

    root: str = "data/open"
    """Folder or s3:// of the data sets named below."""
    pose_2d: tuple[str, ...] = ("open_2d/train",)
    """Data sets whose windows fill the 2D share of a batch."""
    pose_3d: tuple[str, ...] = ("open_3d/train",)
    motion: tuple[str, ...] = ("motion/train",)
    validation: str = "open_3d/val"
    test: str = "open_3d/test"
    window_length: int = 16
    """T, frames of a window; at least 3, since accelerations need three."""
    window_stride: int = 16
    """Frames between the starts of neighboring windows; below T they overlap."""
    batch_size: int = 32
    """Windows of features per step over all workers; 0 for what learns from motion alone."""
    ratio_2d: float = 0.6
    """Share of the 2D data sets in a batch, rounded down to whole windows."""
    motion_batch_size: int = 32
    """Windows of captured motion per step over all workers; 0 where no discriminator learns."""
    readers: int = 2
    """Tasks that read shards at the same time; changes no result."""

    def __post_init__(self) -> None:
        for name, least in LEAST.items():
            if getattr(self, name) < least:
                raise ValueError(f"data.{name} is {getattr(self, name)}, must be >= {least}")
        if not 0 <= self.ratio_2d <= 1:
            raise ValueError(f"data.ratio_2d is {self.ratio_2d}, expected 0 to 1")

    @property
    def num_2d(self) -> int:
        """Windows of the 2D data sets per step."""
        return int(self.batch_size * self.ratio_2d + 1e-9)

    @property
    def num_3d(self) -> int:
        """Windows of the 3D data sets per step."""
        return self.batch_size - self.num_2d


@dataclass(frozen=True, eq=False)
class ShardSource:
    """One stream, its data sets' folders and manifests, and how much of it a step takes."""

    paths: tuple[str, ...]
    manifests: tuple[Manifest, ...]
    stream: WindowStream
    per_step: int

    def windows(self, step: int, first: int = 0, every: int = 1) -> tuple[Window, ...]:
        """The windows of a step: all, or some of them, from `first` on."""
        start = step * self.per_step
        return tuple(self.stream.at(range(start + first, start + self.per_step, every)))


@dataclass(frozen=True)
class Share:
    """What one rank reads for one step."""

    step: int
    rank: int
    pose_2d: tuple[Window, ...]
    pose_3d: tuple[Window, ...]
    motion: tuple[Window, ...]
    captured: range = range(0)
    """Which of the windows that are captured for the step."""


@dataclass(frozen=True, eq=False)
class StepPlan:
    """All steps of a run; small, and the same in every process."""

    pose_2d: ShardSource
    pose_3d: ShardSource
    motion: ShardSource
    window_length: int
    readers: int
    captured: "FrameSource | WindowSource | None" = None
    """What captures motion anew at every step: single frames, as windows of one, for the frame
    encoder, or windows for the generator, in the place of stored ones with 3D labels."""

    @property
    def manifest_hashes(self) -> dict[str, str]:
        """Hash of each data set's manifest, by the stream that it is part of and its place there.

        Not by its path: data that have been moved are the same data.
        """
        streams = {
            "pose_2d": self.pose_2d.manifests,
            "pose_3d": self.pose_3d.manifests,
            "motion": self.motion.manifests,
        }
        if self.captured is not None:
            streams[self.captured.stream] = self.captured.manifests
        return {
            f"{name}[{index}]": manifest.hash()
            for name, manifests in streams.items()
            for index, manifest in enumerate(manifests)
        }

    @property
    def data_hash(self) -> str:
        """Identify the data: equal hashes mean equal windows at every step of a seed."""
        return hashlib.sha256("".join(self.manifest_hashes.values()).encode()).hexdigest()

    @property
    def encoder_id(self) -> str:
        """Which frame encoder made the features, if any; `check_usable` sees that all agree."""
        if self.captured is not None and self.captured.encoder_id:
            return self.captured.encoder_id
        manifests = (*self.pose_2d.manifests, *self.pose_3d.manifests)
        return manifests[0].encoder_id if manifests else ""

    @property
    def feature_dim(self) -> int:
        """F, width of the stored features, if any; `check_usable` sees to it that all agree."""
        manifests = (*self.pose_2d.manifests, *self.pose_3d.manifests)
        return manifests[0].feature_dim if manifests else 0

    def share(self, step: int, rank: int, num_workers: int) -> Share:
        """Deal a step's windows in turn: ranks differ by one window and keep the ratio.

        Raises:
            ValueError: There are more ranks than windows, so some would have nothing to do.
        """
        num_2d, num_3d = self.pose_2d.per_step, self.pose_3d.per_step
        num_captured = 0 if self.captured is None else self.captured.per_step
        sizes = {
            "data.batch_size": num_2d + num_3d,
            "data.motion_batch_size": self.motion.per_step,
        }
        if self.captured is not None:
            name = self.captured.size_name
            sizes[name] = sizes.get(name, 0) + num_captured
        sizes = {name: size for name, size in sizes.items() if size}  # what the run reads
        if num_workers > min(sizes.values()):
            read = " and ".join(f"{name} {size}" for name, size in sizes.items())
            each = " of both" if len(sizes) > 1 else ""
            raise ValueError(f"{num_workers} workers for {read}: each worker needs a window{each}")
        return Share(
            step,
            rank,
            self.pose_2d.windows(step, rank, num_workers),
            self.pose_3d.windows(step, (rank - num_2d) % num_workers, num_workers),
            self.motion.windows(step, rank, num_workers),
            range((rank - num_2d) % num_workers, num_captured, num_workers),
        )


def make_plan(config: DataConfig, seed: int) -> StepPlan:
    """Read the manifests and index their clips.

    Raises:
        FileNotFoundError: A data set is missing.
        ValueError: A manifest is of another schema version or kind, or no window fits.
    """
    return StepPlan(
        make_source(config, config.pose_2d, "pose", 0, config.num_2d, seed),
        make_source(config, config.pose_3d, "pose", 1, config.num_3d, seed),
        make_source(config, config.motion, "motion", 2, config.motion_batch_size, seed),
        config.window_length,
        config.readers,
    )


def make_source(
    config: DataConfig, names: Sequence[str], kind: Kind, stream_id: int, per_step: int, seed: int
) -> ShardSource:
    """Index the clips of one stream's data sets.

    Args:
        config: Says where they are and how long windows are.
        names: Of the data sets; none is read of which a step takes nothing.
        kind: Of all of them.
        stream_id: Tells streams of one seed apart.
        per_step: Windows that a step takes.
        seed: Of the windows' order.

    Raises:
        FileNotFoundError: A data set is missing.
        ValueError: A manifest is of another schema version or kind, or no window fits.
    """
    paths = tuple(storage.join(config.root, name) for name in names) if per_step else ()
    manifests = tuple(read_manifest(path, kind) for path in paths)
    stream = WindowStream.over(
        manifests,
        stream_id=stream_id,
        seed=seed,
        length=config.window_length,
        stride=config.window_stride,
    )
    if per_step and not stream.num_windows:
        longest = max(stream.num_frames, default=0)
        raise ValueError(
            f"no usable window in {', '.join(paths) or 'no data set'}: windows have "
            f"{config.window_length} frames, the longest clip {longest}; set "
            "data.window_length lower"
        )
    return ShardSource(paths, manifests, stream, per_step)
