"""What does a data set say of itself?"""

import hashlib
from array import array
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, PlainSerializer, PlainValidator
from pydantic.dataclasses import dataclass

from vibe_ray import storage
from vibe_ray.data.labels import LabelNames
from vibe_ray.data.schema import SCHEMA_VERSION, Kind

SKIPPED_FILE = "skipped.json"
"""Beside a manifest, where recordings were left out: which, and why."""


FileName = Annotated[str, AfterValidator(lambda name: storage.check_plain_name(name, "a file"))]
"""Of a file beside the one that names it: what leads elsewhere is never read, nor deleted."""


if TYPE_CHECKING:
    Integers = array[int]  # which Python 3.11 cannot evaluate
else:
    Integers = array


def _packed(numbers: Any) -> Integers:
    """Pack whole numbers in four bytes each; in a list, each would take thirty-six."""
    try:
        return array("i", numbers)
    except (TypeError, OverflowError) as error:
        raise ValueError(f"expected whole numbers: {error}") from None


Lengths = Annotated[Integers, PlainValidator(_packed), PlainSerializer(list)]


@dataclass(config=ConfigDict(extra="forbid"), slots=True, kw_only=True)
class ShardFile:
    """A file of shards; each reader of training knows all, half a million of a large data set."""

    name: FileName
    num_bytes: int
    sha256: str
    clip_frames: Lengths
    """Length of each clip, in the order of the rows: all that is needed to cut windows."""
    footer_bytes: int | None = None
    """Size of the Parquet footer; None in a file whose pages have no checksums."""
    footer_sha256: str | None = None
    """Of the footer: together with the pages' checksums it protects whatever is read of a file."""


class Manifest(BaseModel):
    """What a data set holds; written last, so a folder without one is unfinished."""

    model_config = ConfigDict(extra="forbid")

    schema_version: int = SCHEMA_VERSION
    kind: Kind
    dataset: str
    split: str
    source: str
    """Where the raw data is from, for people."""
    converter: str
    converter_version: int = 1
    fps: float
    encoder_id: str = ""
    """Pose shards: which frame encoder made the features."""
    feature_dim: int = 0
    names: LabelNames | None = None
    """Label shards: what the key-points are called."""
    raw: str | None = None
    """Label shards: the folder or address below which the videos and images are, if there are."""
    files: list[ShardFile] = []

    @property
    def num_clips(self) -> int:
        """Rows over all files."""
        return sum(len(file.clip_frames) for file in self.files)

    @property
    def num_frames(self) -> int:
        """Frames over all files."""
        return sum(sum(file.clip_frames) for file in self.files)

    @property
    def widths(self) -> dict[str, int]:
        """What -1 stands for in the shapes of the kind's arrays, by array."""
        return {"features": self.feature_dim, **(self.names or LabelNames()).widths()}

    def has_header_of(self, other: "Manifest") -> bool:
        """Whether the two differ in their files at most."""
        return self.model_copy(update={"files": other.files}) == other

    def hash(self) -> str:
        """Identify the data: equal hashes mean equal shards."""
        return hashlib.sha256(self.text().encode()).hexdigest()

    def text(self, **layout: Any) -> str:
        """Write it as JSON, without what is no matter of its kind: so no kind changes another's."""
        return self.model_dump_json(exclude_none=True, **layout)
