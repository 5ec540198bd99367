"""What a search found: candidates ranked by their median over seeds, each against the baseline.

The discriminator's effect is about one millimeter and seeds alone differ by two, so a candidate is
never judged by one run: the table shows median, lowest and highest score, the number of seeds, and
whether the difference from the baseline is more than seeds make. No Ray.
"""

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from rich import box
from rich.table import Table

from vibe_ray.config import TrainConfig
from vibe_ray.evaluation.comparison import NOT_MEASURED
from vibe_ray.runs.log import PRIOR_SCORE, SCORE, score_name
from vibe_ray.tuning.candidates import Candidate, Trial
from vibe_ray.tuning.noise import RULE, Paired, Verdict, compare

TITLES = {SCORE: "PA-MPJPE, validation (mm)", PRIOR_SCORE: "Reconstruction, validation (mm)"}
State = Literal["finished", "stopped", "failed", "unfinished"]
COLORS: dict[Verdict, str] = {"better": "green", "worse": "red"}


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How one trial ended."""

    trial: Trial
    state: State
    """`stopped`: by the scheduler, before its last epoch."""
    metrics: dict[str, float] = field(default_factory=dict)
    """Of the best of its epochs, the score among them; empty when it ended none."""
    score: float | None = None
    """Lower is better; None when it ended no epoch, or failed."""
    num_epochs: int = 0
    checkpoint: str | None = None
    """Path of the best epoch's checkpoint."""
    error: str | None = None
    """Why it failed."""


@dataclass(frozen=True, kw_only=True)
class Ranked:
    """One candidate over its seeds. Scores are None when no seed finished."""

    candidate: Candidate
    median: float | None
    lowest: float | None
    highest: float | None
    paired: Paired
    outcomes: tuple[Outcome, ...]

    @property
    def finished(self) -> list[Outcome]:
        """Its trials that count, best first."""
        done = [item for item in self.outcomes if item.state == "finished"]
        return sorted(done, key=lambda item: (item.score, item.trial.seed))

    @property
    def num_seeds(self) -> int:
        """Seeds that count."""
        return len(self.finished)

    @property
    def num_failed(self) -> int:
        """Trials that ended in an error."""
        return sum(item.state == "failed" for item in self.outcomes)

    @property
    def best(self) -> Outcome | None:
        """Its best seed."""
        return self.finished[0] if self.finished else None

    @property
    def state(self) -> str:
        """What to say of a candidate besides its scores."""
        stopped = [item for item in self.outcomes if item.state == "stopped"]
        if stopped and not self.finished:
            return f"stopped at epoch {stopped[0].num_epochs}"
        return f"{self.num_failed} failed" if self.num_failed else ""


def rank(outcomes: Sequence[Outcome], baseline: Candidate) -> list[Ranked]:
    """Group trials by candidate and sort by median, then those that never finished.

    Only trials that ran to their last epoch count: one stopped early was stopped for its score.
    """
    groups: dict[int, list[Outcome]] = {baseline.number: []}
    for outcome in outcomes:
        groups.setdefault(outcome.trial.candidate.number, []).append(outcome)
    scores = [_scores(group) for group in groups.values()]
    candidates = {o.trial.candidate.number: o.trial.candidate for o in outcomes}
    candidates[baseline.number] = baseline
    ranked = [
        _summarize(candidates[number], group, list(values.values()), paired)
        for (number, group), values, paired in zip(
            groups.items(), scores, compare(scores), strict=True
        )
    ]
    return sorted(ranked, key=_order)


def _summarize(
    candidate: Candidate, group: Sequence[Outcome], scores: Sequence[float], paired: Paired
) -> Ranked:
    return Ranked(
        candidate=candidate,
        median=statistics.median(scores) if scores else None,
        lowest=min(scores, default=None),
        highest=max(scores, default=None),
        paired=paired,
        outcomes=tuple(sorted(group, key=lambda item: item.trial.seed)),
    )


def _order(row: Ranked) -> tuple[bool, float, int, int]:
    if row.median is not None:
        return False, row.median, 0, row.candidate.number
    return True, 0.0, -max((o.num_epochs for o in row.outcomes), default=0), row.candidate.number


def _scores(outcomes: Sequence[Outcome]) -> dict[int, float]:
    return {
        item.trial.seed: item.score
        for item in outcomes
        if item.state == "finished" and item.score is not None
    }


def median_metrics(row: Ranked) -> dict[str, float]:
    """Return the medians over seeds of all metrics of the best epochs."""
    names = row.finished[0].metrics if row.finished else {}
    return {name: statistics.median(o.metrics[name] for o in row.finished) for name in names}


def to_dict(ranked: Sequence[Ranked], score_name: str) -> dict[str, Any]:
    """Return the ranking as plain JSON values; `best` is null when no trial finished."""
    best = ranked[0].best if ranked else None
    return {
        "score": score_name,
        "rule": RULE,
        "best": best and {**asdict(best.trial.candidate), **_plain(best)},
        "candidates": [
            {
                "rank": position,
                **asdict(row.candidate),
                "median": row.median,
                "lowest": row.lowest,
                "highest": row.highest,
                "num_seeds": row.num_seeds,
                "num_failed": row.num_failed,
                "against_baseline": asdict(row.paired),
                "median_metrics": median_metrics(row),
                "trials": [_plain(outcome) for outcome in row.outcomes],
            }
            for position, row in enumerate(ranked, start=1)
        ],
    }


def _plain(outcome: Outcome) -> dict[str, Any]:
    plain = asdict(outcome)
    del plain["trial"]
    return {"name": outcome.trial.name, "seed": outcome.trial.seed, **plain}


def rich_table(ranked: Sequence[Ranked], score_title: str) -> Table:
    """The ranking for the console."""
    table = Table(title="Candidates, best first", caption=RULE, box=box.SIMPLE_HEAD, padding=0)
    for index, title in enumerate(titles(score_title)):
        justify: Literal["left", "right"] = "left" if index in (1, 6) else "right"
        width = 8 if index in (3, 5) else None  # labels have more need of room
        table.add_column(title, justify=justify, max_width=width, overflow="fold")
    for position, row in enumerate(ranked, start=1):
        table.add_row(*cells(position, row), style=COLORS.get(row.paired.verdict, ""))
    return table


def score_title(config: TrainConfig) -> str:
    """Title of the score that a search from this config ranks by."""
    return TITLES[score_name(config)]


def titles(score_title: str) -> list[str]:
    """Column titles of `cells`."""
    return ["#", "Candidate", score_title, "Range", "Seeds", "Against baseline", "Verdict"]


def cells(position: int, row: Ranked) -> list[str]:
    """One candidate for people to read."""
    return [
        str(position),
        row.candidate.label,
        number(row.median),
        f"{number(row.lowest)} to {number(row.highest)}" if row.num_seeds > 1 else NOT_MEASURED,
        str(row.num_seeds),
        NOT_MEASURED if row.paired.difference is None else f"{row.paired.difference:+.2f}",
        ", ".join(part for part in (verdict_text(row), row.state) if part),
    ]


def verdict_text(row: Ranked) -> str:
    """The verdict; nothing where `state` says why there is none."""
    paired = row.paired
    if paired.verdict == "one seed":
        return "one seed: chance not known"
    if paired.threshold is not None and abs(paired.difference or 0.0) > paired.threshold:
        return paired.verdict if paired.seeds_agree else "within seed noise: seeds disagree"
    return "" if paired.verdict == "not measured" and row.state else paired.verdict


def number(value: float | None) -> str:
    """A score for people to read."""
    return NOT_MEASURED if value is None else f"{value:.2f}"


def failures(ranked: Sequence[Ranked]) -> list[str]:
    """One line for each trial that failed, with its reason."""
    failed = [o for row in ranked for o in row.outcomes if o.state == "failed"]
    return [f"{o.trial.name} ({o.trial.candidate.label}): {o.error}" for o in failed]
