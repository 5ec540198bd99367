"""Many videos at once: a Ray Data job, a row per video, by actors that hold the networks.

A video's results are whole when its `summary.json` is there, so a job that was cut off goes on
where it was, whatever was running: what is finished is not even handed to a worker.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import ray
import ray.data

from vibe_ray import storage
from vibe_ray.distributed.cluster import WORKER_CPUS, connect, has_gpus, leave
from vibe_ray.distributed.tries import LOST, MAX_TRIES, Tries
from vibe_ray.prediction.job import Tools
from vibe_ray.prediction.many import Job, Outcome, predict_one, read_finished
from vibe_ray.prediction.settings import PredictConfig


class VideoWorker:
    """Predicts one video after the other, with networks that are loaded once."""

    def __init__(self, config: PredictConfig, device: str, overwrite: bool, tries: Any) -> None:
        self._tools, self._overwrite, self._tries = Tools(config, device), overwrite, tries

    def __call__(self, row: dict[str, str]) -> dict[str, str]:
        """Predict the video of a row, and say why if it could not be."""
        if ray.get(self._tries.begin.remote(row["path"])) > MAX_TRIES:
            return {**row, "reason": LOST}
        job = Job(row["path"], row["folder"])
        outcome = predict_one(job, self._tools, overwrite=self._overwrite)
        return {**row, "reason": outcome.reason}


def predict_videos(
    jobs: Sequence[Job],
    config: PredictConfig,
    num_workers: int,
    device: str = "",
    *,
    overwrite: bool = False,
) -> Iterator[Outcome]:
    """Predict videos on the cluster and yield what came of each, finished ones first.

    Args:
        jobs: See `prediction.many.plan`.
        config: Of all of them.
        num_workers: Videos at a time; each takes a CPU, and a GPU if the cluster has enough.
        device: As PyTorch names it; without one a worker's GPU, if it has one.
        overwrite: Replace results of other settings.

    Raises:
        ValueError: More workers than the cluster has room for.
        ConnectionError: No cluster where RAY_ADDRESS says.
    """
    rows = []
    for job in (Job(storage.absolute(job.path), storage.absolute(job.folder)) for job in jobs):
        outcome = None if overwrite else read_finished(job, config)
        if outcome is None:
            rows.append({"path": job.path, "folder": job.folder})
        else:
            yield outcome
    if not rows:
        return
    connect(num_workers, "cuda" if device.startswith("cuda") else "auto")
    try:
        for row in _predicted(rows, config, num_workers, device, overwrite).iter_rows():
            job = Job(row["path"], row["folder"])
            made = None if row["reason"] else read_finished(job, config)
            yield made or Outcome(job=job, reason=row["reason"])
    finally:
        leave()


def _predicted(
    rows: list[dict[str, str]],
    config: PredictConfig,
    num_workers: int,
    device: str,
    overwrite: bool,
) -> ray.data.Dataset:
    size = min(num_workers, len(rows))
    tries = ray.remote(Tries).options(num_cpus=0).remote()
    return ray.data.from_items(rows, override_num_blocks=len(rows)).map(
        VideoWorker,  # type: ignore[arg-type]  # Ray's hints know of functions only
        fn_constructor_args=(config, device, overwrite, tries),
        compute=ray.data.ActorPoolStrategy(size=size, max_tasks_in_flight_per_actor=1),
        num_cpus=WORKER_CPUS,
        num_gpus=1 if has_gpus(size) else 0,
    )
