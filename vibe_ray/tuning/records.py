"""What is in a search's folder, and what does it say about each trial? No Ray.

search.json          what is searched (space, recipe, data) and every candidate so far
trials/NAME/         one run per trial, as `python -m vibe_ray.train` writes it
trials/NAME/outcome.json   how the trial ended, where its run cannot know: stopped or lost
ranking.json         the answer; report.html shows it
best/                the best trial's best checkpoint

A search that was killed goes on from these files alone, not from Tune's: Tune's snapshots are taken
every so often, so that a trial that ended since would be run again, and they pickle this package's
classes, so that they outlive no change of code. A run's own metrics and checkpoints are exact at
any moment, and they are there anyway.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from vibe_ray import storage
from vibe_ray.config import TrainConfig, differences, from_saved, json_object
from vibe_ray.data.mixing import DataConfig
from vibe_ray.data.shards import read_manifest
from vibe_ray.runs.checkpoints import find_checkpoint
from vibe_ray.runs.log import read_failure, read_metrics, score
from vibe_ray.runs.owners import is_owner_file
from vibe_ray.runs.step_folders import last_step
from vibe_ray.settings import to_dict
from vibe_ray.tuning.candidates import Candidate, Trial
from vibe_ray.tuning.plan import SchedulerKind, SearchKind
from vibe_ray.tuning.ranking import Outcome
from vibe_ray.tuning.spaces import Space

SEARCH_FILE = "search.json"
OUTCOME_FILE = "outcome.json"
RANKING_FILE = "ranking.json"
REPORT_FILE = "report.html"
BEST = "best"


@dataclass(frozen=True, kw_only=True)
class Subject:
    """What is searched; a search goes on only with the same."""

    base: TrainConfig
    space: Space
    scheduler: SchedulerKind
    search: SearchKind
    data_hashes: dict[str, str]

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain JSON values."""
        return {
            "scheduler": self.scheduler,
            "search": self.search,
            "space": self.space.to_dict(),
            "config": to_dict(self.base),
            "data_hashes": self.data_hashes,
        }


def hash_data(config: TrainConfig) -> dict[str, str]:
    """Return the hash of every data set's manifest that decides a score, by its name.

    Raises:
        FileNotFoundError, ValueError: A data set is missing, or is none.
    """
    data = config.data
    if data.pose_3d == DataConfig().pose_3d and not storage.exists(data.root):
        raise FileNotFoundError(
            f"no data at {data.root}: `python -m vibe_ray.prepare open --out {data.root}` prepares "
            "the open world, --data names another folder"
        )
    pose_2d, pose_3d = data.pose_2d if data.num_2d else (), data.pose_3d if data.num_3d else ()
    names = {*pose_2d, *pose_3d, *data.motion, data.validation}
    return {name: read_manifest(storage.join(data.root, name)).hash() for name in sorted(names)}


def run_dir(directory: str, trial: Trial) -> str:
    """Folder of a trial's run."""
    return storage.join(directory, "trials", trial.name)


def check_directory(
    directory: str, subject: Subject, resume: bool, planned: Sequence[Candidate] = ()
) -> list[Candidate]:
    """Make sure that a search may write into a folder, and return the candidates found there.

    Args:
        directory: Of the search.
        subject: What is searched.
        resume: Whether the user wants to go on with what stands there.
        planned: The candidates that are known now; trials know theirs by its number alone.

    Raises:
        ValueError: Another search or something else stands there, or the same without `resume`.
        FileNotFoundError: There is nothing to resume.
    """
    path = storage.join(directory, SEARCH_FILE)
    if not storage.exists(path):
        if resume:
            raise FileNotFoundError(f"nothing to resume: no {SEARCH_FILE} in {directory}")
        if not all(map(is_owner_file, storage.visible_files(directory))):
            raise ValueError(
                f"{directory} exists already and is no search: --name NAME starts one elsewhere"
            )
        return []
    before = json_object(storage.read_bytes(path), path)
    changed = _changes(before, subject)
    if changed:
        raise ValueError(
            f"{directory} holds another search: {'; '.join(changed)}; --name NAME starts a new one"
        )
    if not resume:
        raise ValueError(
            f"this search stands in {directory} already: --resume continues it, --name NAME starts "
            "another"
        )
    known = {item["number"]: item["settings"] for item in before["candidates"]}
    for candidate in planned:
        now, old = json.loads(json.dumps(candidate.settings)), known.get(candidate.number)
        if old is not None and old != now:
            raise ValueError(
                f"candidate {candidate.number} of {directory} was {_short(old)} and is now "
                f"{_short(now)}: put the space back in its order, or --name NAME starts a new one"
            )
    return [Candidate(**item) for item in before["candidates"]]


def _changes(before: dict[str, Any], subject: Subject) -> list[str]:
    now = subject.to_dict()
    changed = [
        f"--{name} {before[name]} -> {now[name]}"
        for name in ("scheduler", "search")
        if before[name] != now[name]
    ]
    for part, text in (("space", "space"), ("data_hashes", "manifest of")):
        for key in sorted({*before[part], *now[part]}):
            old, new = before[part].get(key), now[part].get(key)
            if old != new:
                changed.append(f"{text} {key} {_short(old)} -> {_short(new)}")
    settings = differences(from_saved(before["config"], SEARCH_FILE), subject.base)
    return changed + [f"{name} {old!r} -> {new!r}" for name, (old, new) in settings.items()]


def _short(value: Any) -> str:
    text = "nothing" if value is None else json.dumps(value)
    return text if len(text) <= 60 else text[:57] + "..."


def write_search(directory: str, subject: Subject, candidates: Sequence[Candidate]) -> None:
    """Write what is searched, and which candidates there are so far."""
    plain = {**subject.to_dict(), "candidates": [asdict(item) for item in candidates]}
    storage.write_json(storage.join(directory, SEARCH_FILE), plain)


def write_stopped(directory: str, trial: Trial, num_epochs: int) -> None:
    """Note that the scheduler stopped a trial after so many epochs; final."""
    _write_outcome(directory, trial, {"state": "stopped", "num_epochs": num_epochs})


def write_lost(directory: str, trial: Trial, reason: str) -> None:
    """Note why a trial's process ended before its run did; it may be taken up again."""
    _write_outcome(directory, trial, {"state": "lost", "reason": reason})


def _write_outcome(directory: str, trial: Trial, outcome: dict[str, Any]) -> None:
    storage.write_json(storage.join(run_dir(directory, trial), OUTCOME_FILE), outcome)


def read_outcome(directory: str, trial: Trial, config: TrainConfig) -> Outcome:
    """Return how far a trial has come.

    A run that diverged, or whose data are bad, has failed for good, a trial that was stopped
    stays stopped, and one whose process was lost, or whose disk was full, is `unfinished`, with the
    reason.
    """
    folder = run_dir(directory, trial)
    failure = read_failure(folder)
    if failure is not None and not isinstance(failure, storage.DiskFullError):
        return Outcome(trial=trial, state="failed", error=str(failure))
    path = storage.join(folder, OUTCOME_FILE)
    noted = json.loads(storage.read_bytes(path)) if storage.exists(path) else {}
    rows = read_metrics(folder)
    if noted.get("state") == "stopped":
        return _scored(trial, "stopped", folder, rows[: noted["num_epochs"]])
    is_whole = bool(rows) and rows[-1]["epoch"] == config.epochs
    if is_whole and last_step(folder) == config.num_steps:
        return _scored(trial, "finished", folder, rows)
    reason = noted.get("reason") if failure is None else str(failure)
    return Outcome(trial=trial, state="unfinished", num_epochs=len(rows), error=reason)


def _scored(
    trial: Trial, state: Literal["finished", "stopped"], folder: str, rows: list[dict[str, float]]
) -> Outcome:
    best = min(rows, key=score) if rows else {}
    has_checkpoint = bool(rows) and last_step(folder) > 0
    return Outcome(
        trial=trial,
        state=state,
        metrics=best,
        score=score(best) if best else None,
        num_epochs=len(rows),
        checkpoint=find_checkpoint(folder) if has_checkpoint else None,
    )
