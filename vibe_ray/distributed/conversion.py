"""Many recordings at once, of raw files, or of labels to be encoded: a job of a row per recording.

Workers list the recordings for themselves, with networks that are loaded once, and send back what
they read, in the order of the recordings, to the one writer of the data set: so a job that was cut
off goes on where it was (`data/shards.py`), and shards are those of a single process, but for how
many threads add up a sum in a network: a worker has one. Of features, a frame is 4 kB.
"""

import logging
from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Protocol

from vibe_ray import storage
from vibe_ray.data.recordings import Found, ReadEach, Recording, Recordings, read_recording
from vibe_ray.data.schema import PoseSequence
from vibe_ray.data.shards import read_manifest
from vibe_ray.distributed.jobs import LOST, attempt, run_job
from vibe_ray.features.encoding import encoded_labels
from vibe_ray.runs.imports import load_frame_encoder

MOST_AT_ONCE = 16
"""Recordings that a worker is handed at once: for each task Ray takes some 10 ms, and many a file
of motion is read in less."""
FEWEST_TASKS = 8
"""Of a worker, where there are so many recordings: the others' last ones are waited for."""


class Request(Protocol):
    """Says which recordings there are, in whichever process; see `data/sources/requests.py`."""

    def everywhere(self) -> "Request":
        """Return the same with paths that mean the same in every process."""

    def recordings(self, device: str) -> Recordings[Any]:
        """List the recordings, whose networks, if any, are on a device."""


@dataclass(frozen=True)
class EncodingRequest:
    """Labels, and what encodes them; see `features.encoding.encode_labels`."""

    labels: str
    raw: str | None
    encoder: str
    """As of `load_frame_encoder`, as are the weights."""
    weights: str | None
    keypoints: bool = False
    """Whether key-points stand beside the features."""

    def everywhere(self) -> "EncodingRequest":
        """Return the same with paths that mean the same in every process."""
        is_named = self.encoder in ("open", "resnet50")
        raw = self.raw or read_manifest(self.labels, "labels").raw
        return replace(
            self,
            labels=storage.absolute(self.labels),
            raw=storage.absolute(raw) if raw else None,
            encoder=self.encoder if is_named else storage.absolute(self.encoder),
            weights=storage.absolute(self.weights) if self.weights else None,
        )

    def recordings(self, device: str) -> Recordings[PoseSequence]:
        """List the labels' sequences, encoded when they are read."""
        encoder = load_frame_encoder(self.encoder, self.weights, keypoints=self.keypoints)
        return encoded_labels(self.labels, encoder.to(device), self.raw)


def on_cluster(request: Request, num_workers: int, device: str = "") -> ReadEach[Any]:
    """Return what reads recordings on the cluster, in their order; as `read_each` does here.

    Reading raises ValueError where the cluster has no room for so many workers, ConnectionError
    where no cluster is at RAY_ADDRESS.

    Args:
        request: Of the recordings.
        num_workers: Recordings at a time; each takes a CPU.
        device: As PyTorch names it; without one a worker's GPU, if there are enough.
    """
    return partial(_read, request, num_workers, device)


def _read(
    request: Request, num_workers: int, device: str, left: Sequence[Recording[Any]]
) -> Generator[Found[Any]]:
    rows = [{"name": recording.name} for recording in left]
    if not rows:
        return
    at_once = min(MOST_AT_ONCE, max(1, len(rows) // (FEWEST_TASKS * num_workers)))
    tasks = [rows[first : first + at_once] for first in range(0, len(rows), at_once)]
    what = request.everywhere()
    made = run_job(RecordingWorker, what, tasks, num_workers, device, in_order=True)
    for row, expected in zip(made, rows, strict=True):
        if row["name"] != expected["name"]:
            raise RuntimeError(f"{row['name']} was read in the place of {expected['name']}")
        yield row["found"]


class RecordingWorker:
    """Reads one recording after the other."""

    def __init__(self, request: Request, device: str, tries: Any) -> None:
        logging.disable(logging.WARNING)  # what is missing of a data set was told in the driver
        found = request.recordings(device)
        logging.disable(logging.NOTSET)
        self._recordings = {recording.name: recording for recording in found.items}
        self._tries = tries

    def __call__(self, row: dict[str, str]) -> dict[str, Any]:
        """Read the recording of a row; what cannot be read is its reason."""
        with attempt(self._tries, row["name"]) as is_tried:
            found: Found[Any] = ((), LOST)
            if is_tried:
                found = read_recording(self._recordings[row["name"]])
        return {"name": row["name"], "found": found}
