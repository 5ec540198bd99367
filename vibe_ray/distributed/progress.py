"""What a search tells the console while it runs: a live table, or lines where there is no terminal.

Tune's own reporter would repeat every metric of every trial in every table.
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ray.tune.progress_reporter import TrialProgressCallback
from rich.console import Console
from rich.live import Live

from vibe_ray.runs.log import innermost_line, score, summary
from vibe_ray.tuning.board import Board
from vibe_ray.tuning.ranking import Outcome

logger = logging.getLogger(__name__)


class SearchProgress(TrialProgressCallback):
    """Hears of trials in the driver, in the place of what Tune would print."""

    def __init__(
        self, board: Board, settle: Callable[[str, int, str | None], Outcome], is_live: bool
    ) -> None:
        """Set up.

        Args:
            board: Where trials are shown.
            settle: Told of a trial that ended: its name, epochs, and error if there was one;
                returns what became of it.
            is_live: Whether the board is on the screen; else lines are logged.
        """
        super().__init__()
        self._board = board
        self._settle = settle
        self._log = logger.debug if is_live else logger.info

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Tell that a trial has begun."""
        self._board.start(str(trial))
        self._log("%s started", trial)

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        """Tell an epoch's numbers."""
        if "epoch" in result:
            self._board.epoch(str(trial), int(result["epoch"]), score(result))
            self._log("%s, %s", trial, summary(result))

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Tell that a trial has ended: was at its end, was stopped, or diverged."""
        self._ended(trial, None)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Tell that a trial's process was lost."""
        self._ended(trial, _reason(trial.error_file))

    def _ended(self, trial: Any, error: str | None) -> None:
        epochs = int((trial.last_result or {}).get("epoch", 0))
        outcome = self._settle(str(trial), epochs, error)
        self._board.settle(outcome)
        state = "lost" if outcome.state == "unfinished" else outcome.state
        text = f"{trial} {state}: {outcome.error}" if outcome.error else f"{trial} {state}"
        self._log("%s; %s", text, self._board.title)


@contextmanager
def shown(board: Board, console: Console) -> Iterator[bool]:
    """Keep the board on the screen while the block runs; gives whether there is a screen."""
    if not console.is_terminal:
        yield False
        return
    with Live(board, console=console, refresh_per_second=2, transient=True):
        yield True


def _reason(path: str | None) -> str:
    """Return the innermost line of a trial's error.

    Tune's own way to ask for it reads the storage, where it is not yet.
    """
    text = Path(path).read_text(encoding="utf-8") if path and Path(path).is_file() else ""
    return innermost_line(text) or "its process was lost"
