"""Features of many recordings at once: a job of a row per recording.

Workers hold the encoder and send back what they encode, as rows of shards and in the order of the
recordings, to the one writer of the data set: so a job that was cut off goes on where it was
(`data/shards.py`), and shards are those of a single process, but for how many threads add up a sum:
a worker has one. Of features, a frame is 4 kB.
"""

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Any

from vibe_ray import storage
from vibe_ray.data.recordings import Found, Recording, read_recording
from vibe_ray.data.rows import encode_clip, pack_rows, unpack_tables
from vibe_ray.data.schema import PoseSequence
from vibe_ray.data.sequences import pose_sequence
from vibe_ray.data.shards import read_manifest
from vibe_ray.distributed.jobs import LOST, is_given_up, run_job
from vibe_ray.features.encoding import encoded_labels, pose_header
from vibe_ray.runs.imports import load_frame_encoder


@dataclass(frozen=True)
class Extraction:
    """What is encoded, and by what; see `features.encoding.encode_labels`."""

    labels: str
    raw: str | None
    encoder: str
    """As of `load_frame_encoder`, as are the weights."""
    weights: str | None
    num_workers: int
    """Recordings at a time; each takes a CPU, and a GPU if the cluster has enough."""

    def read(self, left: Sequence[Recording[PoseSequence]]) -> Generator[Found[PoseSequence]]:
        """Encode recordings on the cluster, in their order; as `recordings.read_each` does here.

        Raises:
            ValueError: More workers than the cluster has room for.
            ConnectionError: No cluster where RAY_ADDRESS says.
        """
        rows = [{"name": recording.name} for recording in left]
        if not rows:
            return
        what, count = self._everywhere(), self.num_workers
        made = run_job(ExtractionWorker, what, rows, count, in_order=True)
        for row, expected in zip(made, rows, strict=True):
            if row["name"] != expected["name"]:
                raise RuntimeError(f"{row['name']} was encoded in the place of {expected['name']}")
            yield [pose_sequence([clip]) for clip in unpack_tables(row["clips"])], row["reason"]

    def _everywhere(self) -> tuple[str, str | None, str, str | None]:
        """Return labels, raw, encoder and weights as workers find them, whose folder is another."""
        is_named = self.encoder in ("open", "resnet50")
        raw = self.raw or read_manifest(self.labels, "labels").raw
        return (
            storage.absolute(self.labels),
            storage.absolute(raw) if raw else None,
            self.encoder if is_named else storage.absolute(self.encoder),
            storage.absolute(self.weights) if self.weights else None,
        )


class ExtractionWorker:
    """Encodes one recording after the other, with an encoder that is loaded once."""

    def __init__(
        self, what: tuple[str, str | None, str, str | None], device: str, tries: Any
    ) -> None:
        labels, raw, encoder, weights = what
        frozen = load_frame_encoder(encoder, weights).to(device)
        self._header, recordings = pose_header(labels, frozen), encoded_labels(labels, frozen, raw)
        self._recordings = {recording.name: recording for recording in recordings.items}
        self._tries = tries

    def __call__(self, row: dict[str, str]) -> dict[str, Any]:
        """Encode the recording of a row; what cannot be encoded is its reason."""
        name = row["name"]
        found: Found[PoseSequence] = ((), LOST)
        if not is_given_up(self._tries, name):
            found = read_recording(self._recordings[name])
        sequences, reason = found
        clips = [encode_clip(self._header, one, slice(0, one.num_frames)) for one in sequences]
        return {"name": name, "clips": pack_rows("pose", clips), "reason": reason}
