"""Which videos are there, where do their results go, and what came of each?"""

import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import Any

from vibe_ray import storage
from vibe_ray.prediction.job import Tools, Watch
from vibe_ray.prediction.outputs import OVERLAY_FILE, SUMMARY_FILE, finished, predict_video
from vibe_ray.prediction.settings import PredictConfig
from vibe_ray.video.reader import find_videos, stem_of

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Job:
    """One video, and the folder of its results."""

    path: str
    folder: str


@dataclass(frozen=True, kw_only=True)
class VideoOutcome:
    """What came of a video: a summary, or the reason why there is none."""

    job: Job
    summary: dict[str, Any] | None = None
    reason: str = ""


def plan(paths: Sequence[str], out: str) -> list[Job]:
    """Find all videos, and give each a folder of its own in `out`, named after it.

    Args:
        paths: Videos, folders of pictures, and folders in which videos are looked for.
        out: Folder of all results.

    Raises:
        FileNotFoundError: There is nothing at a path, or neither videos nor pictures.
    """
    found = [
        (path, name)
        for given in paths
        for path, name in find_videos(storage.absolute(given))
        if not _is_overlay(path)
    ]
    if not found:
        raise FileNotFoundError(f"no videos in {', '.join(paths)} but overlays of our own")
    stems = Counter(stem_of(name) for _, name in found)
    jobs = []
    for path, name in found:
        named = stem_of(name) if stems[stem_of(name)] == 1 else name
        jobs.append(Job(path, storage.join(storage.absolute(out), named)))
    if doubled := [
        path for path, count in Counter(job.folder for job in jobs).items() if count > 1
    ]:
        raise ValueError(
            f"several videos would write into {doubled[0]}: rename one, or predict them apart"
        )
    return jobs


def predict_here(
    jobs: Sequence[Job],
    tools: Tools,
    watches: Iterable[Watch | None] | None = None,
    *,
    overwrite: bool = False,
) -> Iterator[VideoOutcome]:
    """Predict videos one after the other, in this process; a bad one does not end the others."""
    for job, watch in zip(jobs, watches or repeat(None), strict=False):
        yield predict_one(job, tools, watch, overwrite=overwrite)


def predict_one(
    job: Job, tools: Tools, watch: Watch | None = None, *, overwrite: bool = False
) -> VideoOutcome:
    """Predict one of many videos; what is wrong with it becomes its reason."""
    try:
        summary = predict_video(job.path, job.folder, tools, watch, overwrite=overwrite)
    except (ValueError, OSError) as error:
        return VideoOutcome(job=job, reason=str(error))
    except Exception as error:  # memory, a codec: the others are to be predicted all the same
        logger.exception("%s", job.path)
        return VideoOutcome(job=job, reason=f"{type(error).__name__}: {error}")
    return VideoOutcome(job=job, summary=summary)


def read_finished(job: Job, config: PredictConfig) -> VideoOutcome | None:
    """Return what came of a video before, or why its folder cannot be written to."""
    try:
        summary = finished(job.folder, job.path, config)
    except FileExistsError as error:
        return VideoOutcome(job=job, reason=str(error))
    return None if summary is None else VideoOutcome(job=job, summary=summary)


def _is_overlay(path: str) -> bool:
    """Whether a video is one that a prediction has drawn: it is no new video."""
    folder, _, name = path.rpartition("/")
    return name == OVERLAY_FILE and storage.exists(storage.join(folder, SUMMARY_FILE))
