"""Candidates proposed by Optuna from the scores of earlier ones. No Ray.

Tune's own `OptunaSearch` is passed over: it cannot be told which proposals of a killed search were
still running, nor that a proposal has been tried before. Asking and telling Optuna is as short.
"""

import json
from typing import TYPE_CHECKING, Any

from vibe_ray.config import TrainConfig
from vibe_ray.settings import override
from vibe_ray.tuning.candidates import Candidate
from vibe_ray.tuning.spaces import Choice, Entry, Settings, Space, choice_labels, rounded

if TYPE_CHECKING:
    import optuna

ATTEMPTS = 50
"""How often Optuna is asked again when it proposes what has been tried."""


def check_installed() -> None:
    """Make sure that Optuna, an optional dependency, is there.

    Raises:
        ImportError: It is not.
    """
    try:
        import optuna  # noqa: F401
    except ImportError as error:
        raise ImportError(
            "--search optuna needs Optuna, which is not installed: pip install 'vibe_ray[search]', "
            "or use --search random"
        ) from error


class Sampler:
    """Asks for candidates, tells their scores; lower is better."""

    def __init__(self, base: TrainConfig, space: Space, num_known: int = 0) -> None:
        """Begin a study.

        Args:
            base: What settings are changes of; its seed decides what is drawn.
            space: What is searched.
            num_known: Candidates of earlier sessions, so that none is drawn as they were.
        """
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._base, self._space = base, space
        self._study = optuna.create_study(
            sampler=optuna.samplers.TPESampler(seed=base.seed + num_known)
        )
        self._distributions = {entry.key: _distribution(entry) for entry in space.entries}
        self._asked: dict[int, optuna.trial.Trial] = {}
        self._tried: set[str] = set()

    def ask(self, number: int) -> Candidate | None:
        """Propose a candidate that has not been tried, None when there seems to be no other."""
        import optuna

        for _ in range(ATTEMPTS):
            trial = self._study.ask(self._distributions)
            choices = [_chosen(entry, trial.params[entry.key]) for entry in self._space.entries]
            settings = {name: value for item in choices for name, value in item.settings.items()}
            candidate = Candidate(number=number, label=choice_labels(choices), settings=settings)
            if self._is_new(candidate):
                self._asked[number] = trial
                return candidate
            self._study.tell(trial, state=optuna.trial.TrialState.FAIL)
        return None

    def tell(self, candidate: Candidate, score: float | None) -> None:
        """Tell how a candidate did, None if it failed; one of an earlier session, too."""
        import optuna

        self._is_new(candidate)
        trial = self._asked.pop(candidate.number, None)
        params = None if trial else self._params(candidate.settings)
        if trial is not None:
            state = optuna.trial.TrialState.FAIL if score is None else None
            self._study.tell(trial, score, state)
        elif params is not None and score is not None:
            self._study.add_trial(
                optuna.trial.create_trial(
                    params=params, distributions=self._distributions, value=score
                )
            )

    def _is_new(self, candidate: Candidate) -> bool:
        """Whether a candidate is met for the first time."""
        config = str(override(self._base, candidate.settings))
        is_new = config not in self._tried
        self._tried.add(config)
        return is_new

    def _params(self, settings: Settings) -> dict[str, Any] | None:
        """Return what Optuna would call these settings, None if it could not propose them."""
        params: dict[str, Any] = {}
        for entry in self._space.entries:
            wanted = {name: settings[name] for name in entry.names}
            if entry.range is not None:
                value = float(wanted[entry.names[0]])
                if not entry.range.low <= value <= entry.range.high:
                    return None
                params[entry.key] = value
                continue
            same = [i for i, item in enumerate(entry.choices) if _equal(item.settings, wanted)]
            if not same:
                return None
            params[entry.key] = same[0]
        return params


def _distribution(entry: Entry) -> "optuna.distributions.BaseDistribution":
    from optuna.distributions import CategoricalDistribution, FloatDistribution

    if entry.range is not None:
        return FloatDistribution(entry.range.low, entry.range.high, log=entry.range.is_log)
    return CategoricalDistribution(range(len(entry.choices)))


def _chosen(entry: Entry, value: Any) -> Choice:
    return entry.choices[value] if entry.range is None else entry.at(rounded(value))


def _equal(a: Settings, b: Settings) -> bool:
    """Whether settings are the same once tuples are lists, as in JSON."""
    return json.dumps(a, sort_keys=True) == json.dumps(b, sort_keys=True)
