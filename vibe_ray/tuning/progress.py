"""What a search tells the console while it runs: one line per epoch of any trial, and per end."""

import logging
from typing import Any

from ray import tune

from vibe_ray.training.loop import SCORE
from vibe_ray.training.reporting import summary

logger = logging.getLogger(__name__)


class Progress(tune.Callback):
    """Logs in the driver; Tune's own reporter would repeat every metric in every table."""

    def __init__(self, num_trials: int) -> None:
        self.num_trials = num_trials
        self.num_ended = 0

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Tell that a trial has begun."""
        logger.info("%s started", trial)

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        """Tell an epoch's numbers."""
        if SCORE in result:
            logger.info("%s, %s", trial, summary(result))

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Tell that a trial has finished."""
        self._ended(trial, "finished")

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Tell that a trial has failed; why comes with the ranking."""
        self._ended(trial, "failed")

    def _ended(self, trial: Any, how: str) -> None:
        self.num_ended += 1
        logger.info("%s %s, %d of %d trials done", trial, how, self.num_ended, self.num_trials)
