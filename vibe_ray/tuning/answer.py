"""Writes what a search found: ranking.json, report.html, best/, and a table for the console.

No Ray.
"""

from collections.abc import Sequence

from rich.console import Console

from vibe_ray import storage
from vibe_ray.runs.integrity import opened
from vibe_ray.runs.log import score_name
from vibe_ray.tuning.page import render
from vibe_ray.tuning.ranking import Outcome, Ranked, failures, rich_table, score_title, to_dict
from vibe_ray.tuning.records import BEST, RANKING_FILE, REPORT_FILE, Subject


def write_answer(directory: str, ranked: Sequence[Ranked], subject: Subject, command: str) -> None:
    """Write the answer of a search into its folder and print it.

    Raises:
        ValueError: No trial finished, so there is no best one; the rest is written.
    """
    path = storage.join(directory, RANKING_FILE)
    about = {"command": command, "data_hashes": subject.data_hashes}
    storage.write_json(path, {**about, **to_dict(ranked, score_name(subject.base))})
    html = render(ranked, subject, directory, command)
    storage.write_bytes_atomic(storage.join(directory, REPORT_FILE), html.encode())
    console = Console()
    console.print(rich_table(ranked, score_title(subject.base)))
    for line in failures(ranked):
        console.print(f"failed: {line}", style="red", markup=False, highlight=False)
    best = ranked[0].best
    if best is None:
        raise ValueError(f"no trial finished; {path} says why")
    console.print(
        f"report: {storage.join(directory, REPORT_FILE)}\nbest:   {copy_best(directory, best)}",
        soft_wrap=True,
        highlight=False,
    )


def copy_best(directory: str, best: Outcome) -> str:
    """Copy the best trial's best checkpoint to where it is easily found."""
    target = storage.join(directory, BEST)
    if best.checkpoint is None:
        raise FileNotFoundError(f"{best.trial.name} has no checkpoint")
    with opened(best.checkpoint) as source:
        storage.upload_directory(source, target)
    return target
