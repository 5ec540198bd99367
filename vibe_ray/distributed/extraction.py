"""Features of many recordings at once: a Ray Data job, a row per recording.

Workers hold the encoder and send back what they encode, in the order of the recordings, to the one
writer of the data set: so shards are those of a single process, and a job that was cut off goes on
where it was (`data/shards.py`). Of features, a frame is 4 kB.
"""

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Any

import ray
import ray.data

from vibe_ray import storage
from vibe_ray.data.recordings import Found, Recording, read_recording
from vibe_ray.data.rows import encode_clip, pack_rows, unpack_tables
from vibe_ray.data.schema import PoseSequence
from vibe_ray.data.sequences import pose_sequence
from vibe_ray.data.shards import read_manifest
from vibe_ray.distributed.cluster import WORKER_CPUS, connect, has_gpus, leave
from vibe_ray.distributed.tries import LOST, MAX_TRIES, Tries
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
        connect(self.num_workers, "auto")
        try:
            rows = [{"name": recording.name} for recording in left]
            for row in self._encoded(rows).iter_rows():
                yield [pose_sequence([clip]) for clip in unpack_tables(row["clips"])], row["reason"]
        finally:
            leave()

    def _encoded(self, rows: list[dict[str, str]]) -> ray.data.Dataset:
        size = min(self.num_workers, len(rows))
        tries = ray.remote(Tries).options(num_cpus=0).remote()
        dataset = ray.data.from_items(rows, override_num_blocks=len(rows))
        dataset.context.execution_options.preserve_order = True
        return dataset.map(
            ExtractionWorker,  # type: ignore[arg-type]  # Ray's hints know of functions only
            fn_constructor_args=(self._everywhere(), tries),
            compute=ray.data.ActorPoolStrategy(size=size, max_tasks_in_flight_per_actor=1),
            num_cpus=WORKER_CPUS,
            num_gpus=1 if has_gpus(size) else 0,
        )

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

    def __init__(self, what: tuple[str, str | None, str, str | None], tries: Any) -> None:
        labels, raw, encoder, weights = what
        frozen = load_frame_encoder(encoder, weights)
        self._header, recordings = pose_header(labels, frozen), encoded_labels(labels, frozen, raw)
        self._recordings = {recording.name: recording for recording in recordings.items}
        self._tries = tries

    def __call__(self, row: dict[str, str]) -> dict[str, Any]:
        """Encode the recording of a row; what cannot be encoded is its reason."""
        name = row["name"]
        found: Found[PoseSequence] = ((), LOST)
        if ray.get(self._tries.begin.remote(name)) <= MAX_TRIES:
            found = read_recording(self._recordings[name])
        sequences, reason = found
        clips = [encode_clip(self._header, one, slice(0, one.num_frames)) for one in sequences]
        return {"clips": pack_rows("pose", clips), "reason": reason}
