"""What a user sees of predictions: how far they are, and what came of each video."""

from pathlib import PurePosixPath
from typing import Any

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from vibe_ray.prediction.job import Watch
from vibe_ray.prediction.many import Job, VideoOutcome


def progress() -> Progress:
    """Return bars that vanish when all is done."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        transient=True,
    )


def watch_of(job: Job, bars: Progress) -> Watch:
    """Return what shows how far a video is: a bar per stage."""
    tasks: dict[str, Any] = {}
    name = PurePosixPath(job.path).name

    def watch(stage: str, done: int, total: int) -> None:
        if stage not in tasks:
            tasks[stage] = bars.add_task(f"{name}: {stage}", total=total or None)
        bars.update(tasks[stage], completed=done, total=total or None)

    return watch


def told(outcome: VideoOutcome) -> str:
    """Say what came of a video, or why nothing did: a line for it, and one for each person."""
    name = PurePosixPath(outcome.job.path).name
    if (summary := outcome.summary) is None:
        return f"{name}: skipped: {outcome.reason}"
    people, num_frames = summary["people"], summary["video"]["num_frames"]
    rate = summary["frames_per_second"]
    lines = [
        f"{name}: {len(people) or 'no'} {'person' if len(people) == 1 else 'people'} in "
        f"{num_frames} frames ({rate:.1f} frames/s) -> {outcome.job.folder}"
    ]
    lines += [f"  {_person(person)}" for person in people]
    lines += [f"  warning: {warning}" for warning in summary["warnings"]]
    return "\n".join(lines)


def _person(person: dict[str, Any]) -> str:
    last = person["first_frame"] + person["num_frames"] - 1
    told = [
        f"person {person['person']}: frames {person['first_frame']} to {last}",
        f"{person['coverage']:.0%} of the video",
    ]
    for name, unit in (
        ("reprojection_percent", "% of the box off the key-points"),
        ("foot_slide_cm_s", "cm/s foot slide"),
    ):
        if person[name] is not None:
            told.append(f"{person[name]:.1f} {unit}")
    return "; ".join([", ".join(told), *person["notes"], *person["warnings"]])
