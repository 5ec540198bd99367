"""Runs the trials of a search: Ray Tune on the outside, `distributed.launch.train` inside.

What a search's folder holds, and how a killed one goes on, is in `records.py`.

Where some candidates are dropped on the way (ASHA) or come from the scores of others (Optuna), all
are tried with the first seed, then those that got to the end with the other seeds, which nothing
stops: else a candidate's seeds would be chosen by their luck, and the spread over them would lie.

Without the dashboard Tune cannot see that a trial's workers are gone, so it needs `ray[default]`.
"""

import dataclasses
import functools
import json
import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass

import ray
from ray import tune
from rich.console import Console

from vibe_ray import storage
from vibe_ray.config import TrainConfig
from vibe_ray.distributed.cluster import check_room, connect
from vibe_ray.distributed.progress import SearchProgress, shown
from vibe_ray.distributed.proposals import Proposals
from vibe_ray.distributed.schedule import Asha
from vibe_ray.distributed.trial import num_concurrent, run_trial, trial_resources
from vibe_ray.runs.claims import pinned
from vibe_ray.runs.log import read_metrics, score, score_name
from vibe_ray.runs.owners import owned
from vibe_ray.settings import override, to_dict
from vibe_ray.training.launch import Launch, check
from vibe_ray.tuning import records
from vibe_ray.tuning.board import Board
from vibe_ray.tuning.candidates import Candidate, Trial, baseline, plan_trials
from vibe_ray.tuning.plan import DEFAULT_DRAWS, WORKERS_FLAG, Search, first_candidates
from vibe_ray.tuning.ranking import Outcome, Ranked, rank, score_title
from vibe_ray.tuning.sampler import Sampler, check_installed
from vibe_ray.tuning.spaces import Space

TUNE_ENVIRONMENT = {
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # Tune would go on as if all trials had ended
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # runs write their own metrics
    "RAY_AIR_NEW_OUTPUT": "0",
}
TUNE_FOLDER = "tune"
ROUNDS = 3
"""How often trials whose processes were lost are tried in one go."""


@dataclass(frozen=True)
class SearchResult:
    ranked: list[Ranked]
    subject: records.Subject


def run_search(base: TrainConfig, space: Space, search: Search) -> SearchResult:
    """Run all trials, as many at once as the cluster has room for, and rank their candidates.

    Raises:
        ValueError, FileNotFoundError, PermissionError, ImportError: Something a user can mend,
            found before any cluster starts.
    """
    runner = prepare_search(base, space, search)
    os.environ |= TUNE_ENVIRONMENT
    logging.getLogger("ray.tune").setLevel(logging.ERROR)
    with owned(search.directory, "search"):
        records.check_directory(search.directory, runner.subject, search.resume)
        connect(search.workers_per_trial, base.device, WORKERS_FLAG)
        runner.claim()
        with shown(runner.board, Console(stderr=True)) as is_live:
            outcomes = runner.run(is_live)
    return SearchResult(rank(outcomes, baseline(base, runner.candidates)), runner.subject)


def prepare_search(base: TrainConfig, space: Space, search: Search) -> "Runner":
    """Find in the driver what would fail every trial; writes nothing.

    Raises:
        ValueError: A folder in use, or data that does not fit a candidate.
        FileNotFoundError: A data set that is not there.
        PermissionError: A storage path that cannot be written.
        ImportError: Optuna is asked for and not installed.
    """
    check_room(search.workers_per_trial, WORKERS_FLAG)
    if search.search == "optuna":
        check_installed()
    candidates = first_candidates(base, space, search)
    subject = records.Subject(
        base=base,
        space=space,
        scheduler=search.scheduler,
        search=search.search,
        data_hashes={
            name: value
            for candidate in candidates
            for name, value in records.hash_data(override(base, candidate.settings)).items()
        },
    )
    before = records.check_directory(search.directory, subject, search.resume, candidates)
    launch = Launch(name=search.name, storage=search.storage, workers=search.workers_per_trial)
    for candidate in candidates:
        check(override(base, candidate.settings), launch)
    if search.search == "optuna" and before:
        candidates = before
    return Runner(subject, search, candidates)


class Runner:
    """A search under way: its candidates so far, and what has become of their trials."""

    def __init__(
        self, subject: records.Subject, search: Search, candidates: Sequence[Candidate]
    ) -> None:
        self.subject = subject
        self.candidates = list(candidates)
        self.board = Board(subject.base.epochs, score_title(subject.base))
        self._search = search
        self._trials: dict[str, Trial] = {}
        self._is_live = False

    def claim(self) -> None:
        """Write what is searched, last of all checks, so that a refused search leaves no trace."""
        records.write_search(self._search.directory, self.subject, self.candidates)

    def run(self, is_live: bool) -> list[Outcome]:
        """Bring all trials to their end and return how each ended."""
        self._is_live = is_live
        if not self._search.is_screening:
            return self._finish(plan_trials(self.subject.base, self.candidates, self._num_seeds))
        first = self._screen()
        survivors = [item.trial.candidate for item in first if item.state == "finished"]
        trials = plan_trials(self.subject.base, survivors, self._num_seeds)
        return first + self._finish(trials[len(survivors) :])

    @property
    def _num_seeds(self) -> int:
        return self._search.num_seeds

    def _screen(self) -> list[Outcome]:
        """Try all candidates with the first seed; some are stopped, some only now proposed."""
        if self._search.search == "optuna":
            self._propose()
        return self._finish(plan_trials(self.subject.base, self.candidates, 1), is_screening=True)

    def _propose(self) -> None:
        """Run trials that Optuna proposes, after those that it had proposed before."""
        wanted = (self._search.num_trials or DEFAULT_DRAWS) - len(self.candidates)
        sampler = Sampler(self.subject.base, self.subject.space, len(self.candidates))
        known = plan_trials(self.subject.base, self.candidates, 1)
        self._register(known)
        for outcome in self._outcomes(known):
            if outcome.state != "unfinished":
                sampler.tell(outcome.trial.candidate, outcome.score)

        def ask() -> Trial | None:
            candidate = sampler.ask(len(self.candidates))
            if candidate is None:
                return None
            self.candidates.append(candidate)
            self.claim()
            trial = Trial(candidate=candidate, seed=self.subject.base.seed)
            self._register([trial])
            return trial

        def tell(name: str) -> None:
            trial = self._trials[name]
            rows = read_metrics(records.run_dir(self._search.directory, trial))
            has_failed = self._outcomes([trial])[0].state == "failed"
            scores = [] if has_failed else [score(row) for row in rows]
            sampler.tell(trial.candidate, min(scores, default=None))

        left = self._unfinished(known)
        self._fit(Proposals(left, self._params, wanted, ask, tell), is_screening=True)

    def _finish(self, trials: Sequence[Trial], is_screening: bool = False) -> list[Outcome]:
        """Run what has not ended yet, some rounds if processes are lost."""
        self._register(trials)
        for _ in range(ROUNDS):
            left = self._unfinished(trials)
            if not left:
                break
            self._fit(Proposals(left, self._params), is_screening)
        return [_given_up(outcome) for outcome in self._outcomes(trials)]

    def _register(self, trials: Sequence[Trial]) -> None:
        """Show trials on the board, those that earlier sessions ended with their outcome."""
        self._trials |= {trial.name: trial for trial in trials}
        self.board.add(trials)
        for outcome in self._outcomes(trials):
            self.board.settle(outcome)

    def _outcomes(self, trials: Sequence[Trial]) -> list[Outcome]:
        directory, base = self._search.directory, self.subject.base
        return [records.read_outcome(directory, trial, trial.config(base)) for trial in trials]

    def _unfinished(self, trials: Sequence[Trial]) -> list[Trial]:
        return [item.trial for item in self._outcomes(trials) if item.state == "unfinished"]

    def _params(self, trial: Trial) -> dict[str, str]:
        """Return what Tune hands a trial's process."""
        config = json.dumps(to_dict(pinned(trial.config(self.subject.base))))
        return {"trial": trial.name, "config": config}

    def _fit(self, proposals: Proposals, is_screening: bool) -> None:
        """Run proposed trials under Ray Tune."""
        search, device = self._search, self.subject.base.device
        cluster = ray.cluster_resources()
        gpus = 0.0 if device == "cpu" else cluster.get("GPU", 0.0)
        filesystem, path = storage.resolve(search.directory)
        there = dataclasses.replace(search, storage=storage.absolute(search.storage))
        tune.Tuner(
            tune.with_resources(
                functools.partial(run_trial, there), trial_resources(search.workers_per_trial, gpus)
            ),
            tune_config=tune.TuneConfig(
                search_alg=proposals,
                scheduler=self._scheduler() if is_screening else None,
                num_samples=proposals.num_trials,
                max_concurrent_trials=num_concurrent(
                    cluster.get("CPU", 0.0), gpus, search.workers_per_trial
                ),
                trial_name_creator=lambda trial: str(trial.config["trial"]),
                trial_dirname_creator=lambda trial: str(trial.config["trial"]),
            ),
            run_config=tune.RunConfig(
                name=TUNE_FOLDER,
                storage_path=path,
                storage_filesystem=filesystem,
                verbose=0,
                callbacks=[SearchProgress(self.board, self._settle, self._is_live)],
            ),
        ).fit()
        storage.delete_directory(storage.join(search.directory, TUNE_FOLDER))

    def _scheduler(self) -> Asha | None:
        if self._search.scheduler == "none":
            return None
        base = self.subject.base
        trials = plan_trials(base, self.candidates, 1)
        unstoppable = Trial(candidate=baseline(base, self.candidates), seed=base.seed)
        rows = {t.name: read_metrics(records.run_dir(self._search.directory, t)) for t in trials}
        return Asha(score_name(base), base.epochs, {unstoppable.name}, rows)

    def _settle(self, name: str, epochs: int, error: str | None) -> Outcome:
        """Note how a trial ended, where its own folder does not say so."""
        trial, directory = self._trials[name], self._search.directory
        outcome = self._outcomes([trial])[0]
        if outcome.state == "unfinished":
            if error is None:
                records.write_stopped(directory, trial, epochs)
            else:
                records.write_lost(directory, trial, error)
            outcome = self._outcomes([trial])[0]
        return outcome


def _given_up(outcome: Outcome) -> Outcome:
    """Count a trial whose process was lost again and again as failed, for now."""
    if outcome.state != "unfinished":
        return outcome
    reason = outcome.error or "its process was lost"
    return Outcome(trial=outcome.trial, state="failed", error=f"{reason} (--resume tries it again)")
