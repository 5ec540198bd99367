"""The table of a running search: one row per trial, the best on top. No Ray."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text

from vibe_ray.tuning.candidates import Trial
from vibe_ray.tuning.ranking import Outcome, number

Status = Literal["waiting", "running", "finished", "stopped", "failed", "lost"]
STYLES: dict[Status, str] = {
    "waiting": "dim",
    "running": "bold",
    "finished": "",
    "stopped": "dim",
    "failed": "red",
    "lost": "yellow",
}
FRAME_LINES = 7
"""Lines of a terminal that the table's title, head and borders take."""


@dataclass
class Row:
    trial: Trial
    status: Status = "waiting"
    epoch: int = 0
    score: float | None = None
    note: str = ""


class Board:
    """Knows every trial's state and draws itself, as many rows as the terminal holds."""

    def __init__(self, num_epochs: int, score_title: str) -> None:
        self._num_epochs = num_epochs
        self._score_title = score_title
        self._rows: dict[str, Row] = {}
        self._start = time.monotonic()

    def add(self, trials: Sequence[Trial]) -> None:
        """Show more trials."""
        for trial in trials:
            self._rows.setdefault(trial.name, Row(trial))

    def settle(self, outcome: Outcome) -> None:
        """Show what a trial's folder says of it."""
        row = self._rows[outcome.trial.name]
        row.score, row.note = outcome.score, outcome.error or ""
        row.epoch = outcome.num_epochs or row.epoch
        if outcome.state != "unfinished":
            row.status = outcome.state
        elif row.status == "running":
            row.status = "lost"

    def start(self, name: str) -> None:
        """Show that a trial has begun."""
        self._rows[name].status, self._rows[name].note = "running", ""

    def epoch(self, name: str, epoch: int, score: float) -> None:
        """Show an epoch of a trial; its best score stays."""
        row = self._rows[name]
        row.epoch = epoch
        row.score = score if row.score is None else min(row.score, score)

    @property
    def rows(self) -> list[Row]:
        """All trials: those with a score, best first, then the running, the others, the failed."""
        order: list[Status] = ["running", "lost", "waiting", "finished", "stopped", "failed"]
        return sorted(
            self._rows.values(),
            key=lambda row: (
                (row.score is None, row.score or 0.0)
                if row.status != "failed"
                else (True, float("inf")),
                order.index(row.status),
                row.trial.seed,
                row.trial.candidate.number,
            ),
        )

    @property
    def title(self) -> str:
        """How far the search is."""
        ended = sum(row.status in ("finished", "stopped", "failed") for row in self.rows)
        minutes, seconds = divmod(int(time.monotonic() - self._start), 60)
        return f"{ended} of {len(self._rows)} trials done, {minutes}:{seconds:02d}"

    def table(self, max_rows: int) -> Table:
        """Draw."""
        table = Table(title=self.title, expand=False)
        for index, name in enumerate(["Candidate", "Seed", "State", "Epoch", self._score_title]):
            table.add_column(name, justify="left" if index in (0, 2) else "right")
        rows = self.rows
        for row in rows[:max_rows]:
            table.add_row(
                Text(row.trial.candidate.label),
                str(row.trial.seed),
                Text(f"{row.status}: {row.note}" if row.note else row.status),
                f"{row.epoch} of {self._num_epochs}",
                number(row.score),
                style=STYLES[row.status],
            )
        if len(rows) > max_rows:
            table.caption = f"and {len(rows) - max_rows} more"
        return table

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Draw as many rows as there is room for."""
        yield self.table(max(1, options.max_height - FRAME_LINES))
