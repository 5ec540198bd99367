"""Many videos at once: a job of a row per video.

A video's results are whole when its `summary.json` is there, so a job that was cut off goes on
where it was, whatever was running: what is finished is not even handed to a worker.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from vibe_ray.distributed.jobs import LOST, attempt, run_job
from vibe_ray.prediction.job import Tools
from vibe_ray.prediction.many import Job, VideoOutcome, predict_one, read_finished
from vibe_ray.prediction.settings import PredictConfig


class VideoWorker:
    """Predicts one video after the other, with networks that are loaded once."""

    def __init__(self, what: tuple[PredictConfig, bool], device: str, tries: Any) -> None:
        config, self._overwrite = what
        self._tools, self._tries = Tools(config, device), tries

    def __call__(self, row: dict[str, str]) -> dict[str, str]:
        """Predict the video of a row, and say why if it could not be."""
        with attempt(self._tries, row["path"]) as is_tried:
            if not is_tried:
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
) -> Iterator[VideoOutcome]:
    """Predict videos on the cluster and yield what came of each, finished ones first.

    Args:
        jobs: See `prediction.many.plan`.
        config: Of all of them; its paths mean the same everywhere (`PredictConfig.everywhere`).
        num_workers: Videos at a time.
        device: As PyTorch names it; without one a worker's GPU, if it has one.
        overwrite: Replace results of other settings.

    Raises:
        ValueError: More workers than the cluster has room for.
        ConnectionError: No cluster where RAY_ADDRESS says.
    """
    tasks = []
    for job in jobs:
        outcome = None if overwrite else read_finished(job, config)
        if outcome is None:
            tasks.append([{"path": job.path, "folder": job.folder}])
        else:
            yield outcome
    if not tasks:
        return
    for row in run_job(VideoWorker, (config, overwrite), tasks, num_workers, device):
        job = Job(row["path"], row["folder"])
        made = None if row["reason"] else read_finished(job, config)
        yield made or VideoOutcome(job=job, reason=row["reason"])
