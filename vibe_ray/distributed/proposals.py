"""Hands trials to Ray Tune: those that are planned, then those that are proposed on the way."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ray.tune.search import Searcher

from vibe_ray.tuning.candidates import Trial


class Proposals(Searcher):
    """A search algorithm of Tune's that keeps nothing: the search's own folder does."""

    def __init__(
        self,
        planned: Sequence[Trial],
        params: Callable[[Trial], dict[str, str]],
        num_asked: int = 0,
        ask: Callable[[], Trial | None] = lambda: None,
        tell: Callable[[str], None] = lambda name: None,
    ) -> None:
        """Set up.

        Args:
            planned: Come first.
            params: Makes what a trial's process is handed.
            num_asked: How many trials are asked for after those.
            ask: Gives another trial, None when there is none.
            tell: Told the name of each trial that has ended.
        """
        super().__init__()
        self._planned = list(planned)
        self._params = params
        self._num_asked = num_asked
        self._ask = ask
        self._tell = tell
        self._names: dict[str, str] = {}

    @property
    def num_trials(self) -> int:
        """How many trials there will be, at most."""
        return len(self._planned) + max(self._num_asked, 0)

    def suggest(self, trial_id: str) -> Any:
        """Return what the next trial is handed."""
        trial = self._planned.pop(0) if self._planned else self._ask()
        if trial is None:
            return self.FINISHED
        self._names[trial_id] = trial.name
        return self._params(trial)

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Pass on that a trial has ended."""
        self._tell(self._names[trial_id])

    def save(self, checkpoint_path: str) -> None:
        """Leave the file that Tune expects."""
        Path(checkpoint_path).touch()

    def restore(self, checkpoint_path: str) -> None:
        """Do nothing: a search is planned anew from its folder."""
