"""What a search found: candidates ranked by their median over seeds, with the spread. No Ray.

The discriminator's effect is about one millimetre and seeds alone differ by two, so a candidate is
never judged by one run: the table shows median, lowest and highest score and the number of seeds.
"""

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from vibe_ray.tuning.spaces import Settings


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How one trial ended."""

    name: str
    candidate: int
    settings: Settings
    seed: int
    score: float | None
    """Validation score of its best epoch, lower is better; None when the trial failed."""
    checkpoint: str | None
    """Path of that epoch's checkpoint."""
    error: str | None
    """Why it failed."""


@dataclass(frozen=True, kw_only=True)
class Ranked:
    """One candidate over its seeds. Scores are None when every seed failed."""

    settings: Settings
    median: float | None
    lowest: float | None
    highest: float | None
    num_seeds: int
    num_failed: int
    checkpoint: str | None
    """The checkpoint of its best seed."""
    trials: tuple[Outcome, ...]


def rank(outcomes: Sequence[Outcome]) -> list[Ranked]:
    """Group trials by candidate and sort by median score, candidates that failed last."""
    groups: dict[int, list[Outcome]] = {}
    for outcome in outcomes:
        groups.setdefault(outcome.candidate, []).append(outcome)
    ranked = [_summarize(group) for group in groups.values()]
    return sorted(ranked, key=lambda row: (row.median is None, row.median or 0.0))


def _summarize(group: list[Outcome]) -> Ranked:
    done = sorted((o.score, o.seed, o) for o in group if o.score is not None)
    scores = [score for score, _, _ in done]
    return Ranked(
        settings=group[0].settings,
        median=statistics.median(scores) if scores else None,
        lowest=scores[0] if scores else None,
        highest=scores[-1] if scores else None,
        num_seeds=len(scores),
        num_failed=len(group) - len(scores),
        checkpoint=done[0][2].checkpoint if done else None,
        trials=tuple(group),
    )


def to_dict(ranked: Sequence[Ranked], score_name: str) -> dict[str, Any]:
    """Return the ranking as plain JSON values; `best` is null when every trial failed."""
    best = ranked[0] if ranked and ranked[0].median is not None else None
    return {
        "score": score_name,
        "best": best and {"settings": best.settings, "checkpoint": best.checkpoint},
        "candidates": [asdict(row) for row in ranked],
    }


def format_table(ranked: Sequence[Ranked], score_name: str) -> str:
    """Return the ranking as a text table, best candidate first, then why trials failed."""
    names = list(ranked[0].settings)
    lines = [[*names, score_name, "lowest", "highest", "seeds", "failed"]]
    for row in ranked:
        scores = [_number(value) for value in (row.median, row.lowest, row.highest)]
        counts = [str(row.num_seeds), str(row.num_failed)]
        lines.append([*(str(row.settings[name]) for name in names), *scores, *counts])
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    table = "\n".join(
        "  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True))
        for line in lines
    )
    failures = [o for row in ranked for o in row.trials if o.error is not None]
    return table + "".join(f"\n{o.name} failed: {o.error}" for o in failures)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
