"""What a user asks to be converted, as it can be told to another process: a source and where it is.

Whoever is told lists the recordings for itself, and reads those that it is asked for.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from vibe_ray import storage
from vibe_ray.body.model import BodyConfig
from vibe_ray.data.labels import LabelledSequence
from vibe_ray.data.manifest import Manifest
from vibe_ray.data.recordings import Recordings
from vibe_ray.data.schema import MotionSequence
from vibe_ray.data.sources import Source
from vibe_ray.data.sources.conversion import ConversionConfig


@dataclass(frozen=True)
class MotionRequest:
    source: Source
    root: str
    config: ConversionConfig

    def everywhere(self) -> "MotionRequest":
        """Return the same with paths that mean the same in every process."""
        return replace(self, root=storage.absolute(self.root))

    def recordings(self, device: str) -> Recordings[MotionSequence]:
        """List what is there; raises what the source's `read_sequences` does."""
        found: Recordings[MotionSequence] = self.source.reader()(self.root, self.config)
        return found

    def header(self, found: Recordings[MotionSequence], split: str) -> Manifest:
        """Return the manifest, without files, of the data set to be made."""
        return Manifest(
            kind="motion",
            dataset=self.source.name,
            split=split,
            source=f"{self.root}; settings {self.config.digest()}",
            converter=self.source.name,
            fps=self.config.fps,
        )


@dataclass(frozen=True)
class LabelsRequest:
    source: Source
    root: str
    split: str
    bodies: Mapping[str, BodyConfig]
    """SMPL by gender, of a source that makes 3D key-points with it."""

    def everywhere(self) -> "LabelsRequest":
        """Return the same with paths that mean the same in every process."""
        bodies = {
            gender: replace(config, path=storage.absolute(config.path))
            for gender, config in self.bodies.items()
        }
        return replace(self, root=storage.absolute(self.root), bodies=bodies)

    def recordings(self, device: str) -> Recordings[LabelledSequence]:
        """List what is there; raises what the source's `read_sequences` does."""
        known = {"bodies": self.bodies} if self.bodies else {}
        found: Recordings[LabelledSequence] = self.source.reader()(self.root, self.split, **known)
        return found

    def header(self, found: Recordings[LabelledSequence], split: str) -> Manifest:
        """Return the manifest, without files, of the data set to be made."""
        bodies = (f"body {config.path}" for config in self.bodies.values())
        return labels_header(self.source.name, split, found, "; ".join([self.root, *bodies]))


def labels_header(
    name: str, split: str, found: Recordings[LabelledSequence], source: str
) -> Manifest:
    """Return the manifest, without files, of a label data set that a converter of its name makes.

    Args:
        name: Of the data set.
        split: Which part of it.
        found: Its recordings.
        source: Where the raw data is, for people.
    """
    return Manifest(
        kind="labels",
        dataset=name,
        split=split,
        source=source,
        converter=name,
        fps=found.fps,
        names=found.names,
        raw=found.root,
    )
