"""Runs the trials of a search: Ray Tune on the outside, `training.launch.train` inside.

A search's folder holds one run per trial, `trials/NAME`, as `python -m vibe_ray.train` writes it,
Tune's own state in `tune/`, and the ranking in `search.json`.

Ray's traps that shaped this file: a trial's own process is a second claim on the cluster beside its
workers, so trials are counted, never left to queue for what they hold; Tune moves into a folder of
each trial, where relative paths would end nowhere; without the dashboard Tune cannot see that a
trial's workers are gone, so it needs `ray[default]`.
"""

import dataclasses
import functools
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import ray
from ray import tune
from ray.tune.integration.ray_train import TuneReportCallback

from vibe_ray import storage
from vibe_ray.config import from_dict, to_dict
from vibe_ray.training.checkpoints import find_checkpoint
from vibe_ray.training.cluster import connect
from vibe_ray.training.launch import Launch, check, train
from vibe_ray.training.loop import SCORE
from vibe_ray.training.reporting import read_metrics
from vibe_ray.tuning import ranking
from vibe_ray.tuning.progress import Progress
from vibe_ray.tuning.spaces import Trial

RANKING_FILE = "search.json"
WAITING: dict[str, float] = {"CPU": 0, "memory": 1}
"""What a trial whose work is done by workers takes itself: one byte, since Tune refuses nothing.
The CPUs are all for workers and readers."""
TRAINING: dict[str, float] = {"CPU": 1}
"""What a trial takes that trains in its own process."""
READER_CPUS = 0.5
"""What stays free for the readers of each running trial; of all together, at least one CPU."""


@dataclass(frozen=True, kw_only=True)
class Search:
    """Where a search computes and writes."""

    name: str
    storage: str = "runs"
    workers_per_trial: int = 1
    """Ray Train workers of each trial; 0 trains in the trial's own process."""

    @property
    def directory(self) -> str:
        """The search's folder."""
        return storage.join(self.storage, self.name)


@dataclass(frozen=True)
class SearchResult:
    path: str
    """Of the ranking as JSON."""
    ranked: list[ranking.Ranked]


def run_search(trials: Sequence[Trial], search: Search) -> SearchResult:
    """Run all trials, as many at once as the cluster has room for, and rank their candidates.

    Raises:
        ValueError, FileNotFoundError, PermissionError: Something a user can mend, found before any
            cluster starts.
    """
    check_search(trials, search)
    os.environ["RAY_CHDIR_TO_TRIAL_DIR"] = "0"
    device = trials[0].config.device
    connect(search.workers_per_trial, device)
    resources = ray.cluster_resources()
    gpus = 0.0 if device == "cpu" else resources.get("GPU", 0.0)
    room = num_concurrent(resources.get("CPU", 0.0), gpus, search.workers_per_trial)
    errors = _tune(trials, search, room)
    outcomes = [_outcome(trial, search, errors.get(trial.name)) for trial in trials]
    ranked = ranking.rank(outcomes)
    path = storage.join(search.directory, RANKING_FILE)
    storage.write_json(path, ranking.to_dict(ranked, SCORE))
    return SearchResult(path, ranked)


def check_search(trials: Sequence[Trial], search: Search) -> None:
    """Find in the driver what would fail every trial.

    Raises:
        ValueError: A folder in use, or data that does not fit a candidate.
        FileNotFoundError: A data set that is not there.
        PermissionError: A storage path that cannot be written.
    """
    if search.workers_per_trial < 0:
        raise ValueError(
            f"--workers-per-trial is {search.workers_per_trial}, expected 0 (in the trial's own "
            "process) or more"
        )
    if storage.exists(search.directory):
        raise ValueError(f"{search.directory} exists already: --name NAME starts another search")
    for trial in trials:
        if trial.seed == trials[0].seed:
            check(trial.config, _launch(trial.name, search))


def num_concurrent(cpus: float, gpus: float, workers: int) -> int:
    """Return how many trials run at once, so that none waits for what another holds.

    Args:
        cpus: Of the whole cluster.
        gpus: Of the whole cluster; 0 when trials use none.
        workers: Per trial; 0 when each trial trains in its own process, on one CPU.
    """
    if not workers:
        return max(int(cpus) - 1, 1)
    trials = min((cpus - 1) // workers, cpus // (workers + READER_CPUS))
    if gpus >= workers:
        trials = min(trials, gpus // workers)
    return max(int(trials), 1)


def _tune(trials: Sequence[Trial], search: Search, room: int) -> dict[str, str]:
    """Run the trials under Ray Tune and return, by trial name, why some failed."""
    filesystem, path = storage.resolve(search.directory)
    plain = {trial.name: to_dict(trial.config) for trial in trials}
    takes = WAITING if search.workers_per_trial else TRAINING
    results = tune.Tuner(
        tune.with_resources(functools.partial(_run_trial, plain, search), takes),
        param_space={"trial": tune.grid_search(list(plain))},
        tune_config=tune.TuneConfig(
            max_concurrent_trials=room,
            trial_name_creator=lambda trial: str(trial.config["trial"]),
            trial_dirname_creator=lambda trial: str(trial.config["trial"]),
        ),
        run_config=tune.RunConfig(
            name="tune",
            storage_path=path,
            storage_filesystem=filesystem,
            verbose=0,
            callbacks=[Progress(len(trials))],
        ),
    ).fit()
    ended = (results[index] for index in range(len(results)))
    return {
        str((result.config or {})["trial"]): _reason(result.error)
        for result in ended
        if result.error is not None
    }


def _run_trial(
    plain: dict[str, dict[str, Any]], search: Search, params: dict[str, Any]
) -> dict[str, float]:
    """Body of every trial: train as the command does.

    Ray Train's workers tell Tune of every epoch; without them Tune hears of the last one only.
    """
    workers = search.workers_per_trial
    launch = dataclasses.replace(
        _launch(params["trial"], search), callbacks=(TuneReportCallback(),) if workers else ()
    )
    result = train(from_dict(plain[params["trial"]]), launch)
    return {} if workers else result.metrics[-1]


def _launch(trial: str, search: Search) -> Launch:
    return Launch(
        name=trial,
        storage=storage.join(search.directory, "trials"),
        workers=search.workers_per_trial,
    )


def _outcome(trial: Trial, search: Search, error: str | None) -> ranking.Outcome:
    run_dir = storage.join(search.directory, "trials", trial.name)
    scores = [row[SCORE] for row in read_metrics(run_dir)] if error is None else []
    return ranking.Outcome(
        name=trial.name,
        candidate=trial.candidate,
        settings=trial.settings,
        seed=trial.seed,
        score=min(scores) if scores else None,
        checkpoint=find_checkpoint(run_dir) if scores else None,
        error=error,
    )


def _reason(error: Exception) -> str:
    """Return the innermost line of an error that came through several processes."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else repr(error)
