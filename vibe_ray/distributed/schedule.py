"""ASHA for searches that are killed and go on, and that have a baseline."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from ray.tune.schedulers import AsyncHyperBandScheduler

Rows = Sequence[Mapping[str, float]]
REDUCTION = 3
"""Of the trials that reach a rung, about one in so many goes on."""


@dataclass(frozen=True)
class Named:
    """A trial, in all that the scheduler looks at; its name serves as number."""

    trial_id: str


class Asha(AsyncHyperBandScheduler):
    """Stops trials that are worse than most were after as many epochs.

    Trials are judged after about a ninth and a third of the epochs; the last epoch is let through,
    since a run ends in more than its metrics. What earlier sessions measured is on the rungs from
    the beginning. The baseline is judged like any other and never stopped.
    """

    def __init__(
        self,
        metric: str,
        num_epochs: int,
        unstoppable: Collection[str],
        earlier: Mapping[str, Rows],
    ) -> None:
        """Set up.

        Args:
            metric: By which trials are judged, lower being better.
            num_epochs: Of a run.
            unstoppable: Names of trials that are never stopped.
            earlier: By trial's name, the epochs that earlier sessions measured.
        """
        super().__init__(
            time_attr="epoch",
            metric=metric,
            mode="min",
            max_t=num_epochs,
            grace_period=max(1, round(num_epochs / REDUCTION**2)),
            reduction_factor=REDUCTION,
        )
        self._num_epochs = num_epochs
        self._unstoppable = unstoppable
        self._rungs_of(earlier)

    def _rungs_of(self, earlier: Mapping[str, Rows]) -> None:
        """Put earlier trials on the rungs; a trial taken up again replaces itself there."""
        for name, rows in earlier.items():
            trial, no_controller = _named(name), cast("Any", None)
            super().on_trial_add(no_controller, trial)
            for row in rows:
                super().on_trial_result(no_controller, trial, dict(row))

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        """Add a trial under its name: Tune's own numbers are others in every session."""
        super().on_trial_add(tune_controller, _named(_name(trial)))

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """Judge an epoch."""
        name = _name(trial)
        verdict: str = super().on_trial_result(tune_controller, _named(name), result)
        is_over = result.get("epoch", 0) >= self._num_epochs
        return self.CONTINUE if is_over or name in self._unstoppable else verdict

    def on_trial_complete(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> None:
        """Take note of a trial's last epoch."""
        super().on_trial_complete(tune_controller, _named(_name(trial)), result)

    def on_trial_remove(self, tune_controller: Any, trial: Any) -> None:
        """Forget a trial that is gone."""
        super().on_trial_remove(tune_controller, _named(_name(trial)))


def _name(trial: Any) -> str:
    return str(trial.config["trial"])


def _named(name: str) -> Any:
    return Named(name)
