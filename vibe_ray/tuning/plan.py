"""How is a search run, and which candidates are known before anything has run? No Ray."""

from dataclasses import dataclass
from typing import Literal

from vibe_ray import storage
from vibe_ray.config import TrainConfig
from vibe_ray.tuning.candidates import Candidate, check_ends, draws, grid, recipe_candidate
from vibe_ray.tuning.spaces import Space

DEFAULT_DRAWS = 16
"""Candidates of a search that draws them, where the user names no number."""
WORKERS_FLAG = "--workers-per-trial"
SearchKind = Literal["grid", "random", "optuna"]
SchedulerKind = Literal["asha", "none"]


@dataclass(frozen=True, kw_only=True)
class Search:
    """How a search is run."""

    name: str
    storage: str = "runs"
    num_seeds: int = 3
    num_trials: int = 0
    """Candidates to try; 0 is all of a grid, and `DEFAULT_DRAWS` of another search."""
    scheduler: SchedulerKind = "none"
    search: SearchKind = "grid"
    workers_per_trial: int = 1
    """Ray Train workers of each trial; 0 trains in the trial's own process."""
    resume: bool = False

    def __post_init__(self) -> None:
        storage.check_plain_name(self.name, "--name")
        for flag, value, least in (
            ("--seeds", self.num_seeds, 1),
            ("--trials", self.num_trials, 0),
            (WORKERS_FLAG, self.workers_per_trial, 0),
        ):
            if value < least:
                raise ValueError(f"{flag} is {value}, expected {least} or more")

    @property
    def directory(self) -> str:
        """The search's folder."""
        return storage.join(self.storage, self.name)

    @property
    def is_screening(self) -> bool:
        """Whether candidates are tried with one seed before they get the others."""
        return self.scheduler == "asha" or self.search == "optuna"


def first_candidates(base: TrainConfig, space: Space, search: Search) -> list[Candidate]:
    """Return the candidates that are known before anything has run.

    Raises:
        ValueError: An unknown setting (with the nearest one), or a value of a wrong type.
    """
    if search.search == "grid":
        return grid(base, space, search.num_trials)
    if search.search == "random":
        return draws(base, space, search.num_trials or DEFAULT_DRAWS)
    check_ends(base, space)
    return [recipe_candidate(base, space)]
