"""What did a search find, at a glance? Plots as SVG: seeds, parallel coordinates, colors.

Everything is drawn by candidate, the best in the strongest color, so that one key serves all plots.
"""

import math
from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes

from vibe_ray.reports.figures import FAINT, GRID, INK, STYLE, Run, new_axes, to_svg
from vibe_ray.runs.log import read_metrics
from vibe_ray.tuning.candidates import Candidate
from vibe_ray.tuning.ranking import Ranked
from vibe_ray.tuning.records import run_dir
from vibe_ray.tuning.spaces import Entry, Space

PALETTE = ("#2f6fd0", "#12875a", "#8a4fbf", "#c2452d", "#0b8fa3", "#a3690b")
BASELINE_COLOR = "#1f2933"
REST_COLOR = "#c3ccd5"
"""Of candidates beyond the palette, and of those without a result."""
WIDTH = 9.0
ELSEWHERE = "the recipe's"
"""Where a candidate stands on an axis that does not hold its value."""


def colors(ranked: Sequence[Ranked]) -> dict[int, str]:
    """Return a color for each candidate's number: the best get one of their own."""
    chosen: dict[int, str] = {}
    palette = iter(PALETTE)
    for row in ranked:
        if row.paired.verdict == "baseline":
            chosen[row.candidate.number] = BASELINE_COLOR
        elif row.median is None:
            chosen[row.candidate.number] = REST_COLOR
        else:
            chosen[row.candidate.number] = next(palette, REST_COLOR)
    return chosen


def seed_plot(ranked: Sequence[Ranked], score_title: str) -> bytes:
    """Draw every seed of every candidate, medians as bars; the baseline's range is shaded."""
    rows = [(row, row.median) for row in ranked if row.median is not None]
    shades = colors(ranked)
    with mpl.rc_context(STYLE):
        figure, axes = new_axes((WIDTH, 1.0 + 0.34 * len(rows)))
        for place, (row, median) in enumerate(rows):
            color = shades[row.candidate.number]
            values = [o.score for o in row.finished if o.score is not None]
            if row.paired.verdict == "baseline":
                axes.axvspan(min(values), max(values), color=GRID, zorder=0)
            axes.plot(values, [place] * len(values), "o", color=color, markersize=6, alpha=0.75)
            axes.plot([median], [place], "|", color=color, markersize=17, markeredgewidth=2.4)
        axes.set_yticks(range(len(rows)), [row.candidate.label for row, _ in rows], color=INK)
        axes.set(xlabel=score_title, ylim=(len(rows) - 0.5, -0.5))
        axes.grid(axis="y", visible=False)
        return to_svg(figure)


def parallel_coordinates(ranked: Sequence[Ranked], space: Space, score_title: str) -> bytes:
    """Draw each candidate as a line through its settings to its median score.

    Lines of candidates without a result end before the score.
    """
    scores = [row.median for row in ranked if row.median is not None]
    shades = colors(ranked)
    last = len(space.entries)
    with mpl.rc_context({**STYLE, "axes.grid": False, "axes.spines.left": False}):
        figure, axes = new_axes((WIDTH, 3.6))
        scales = [_Scale(entry, [row.candidate for row in ranked]) for entry in space.entries]
        for order, row in enumerate(reversed(ranked)):
            points = [scale.place(row.candidate) for scale in scales]
            if row.median is not None:
                points.append(_share(row.median, min(scores), max(scores)))
            is_named = shades[row.candidate.number] != REST_COLOR
            axes.plot(
                range(len(points)),
                points,
                color=shades[row.candidate.number],
                linewidth=2.6 if order == len(ranked) - 1 else 1.6 if is_named else 1.0,
                linestyle="-" if row.median is not None else ":",
                marker="o",
                markersize=3.5,
                zorder=order + (100 if is_named else 2),
            )
        for place, scale in enumerate(scales):
            _draw_axis(axes, place, scale.ticks)
        _draw_axis(axes, last, _number_ticks(scores, is_log=False))
        names = ["\n".join(entry.names) for entry in space.entries]
        axes.set_xticks(range(last + 1), [*names, score_title], color=INK)
        axes.set(ylim=(-0.06, 1.06), xlim=(-0.1, last + 0.45), yticks=[])
        axes.spines["bottom"].set_visible(False)
        return to_svg(figure)


class _Scale:
    """Places candidates on one entry's axis, from 0 to 1."""

    def __init__(self, entry: Entry, candidates: Sequence[Candidate]) -> None:
        self._entry = entry
        self._values = [_value(entry, candidate) for candidate in candidates]
        if entry.range is None:
            known = [choice.label for choice in entry.choices]
            self._labels = [label for label in (*known, ELSEWHERE) if label in self._values]

    def place(self, candidate: Candidate) -> float:
        """Where a candidate stands."""
        value = _value(self._entry, candidate)
        if self._entry.range is None:
            return _share(self._labels.index(value), 0, len(self._labels) - 1)
        return _share(self._scaled(value), *map(self._scaled, self._ends()))

    @property
    def ticks(self) -> list[tuple[float, str]]:
        """Places and texts beside the axis."""
        if self._entry.range is None:
            top = len(self._labels) - 1
            return [(_share(i, 0, top), label) for i, label in enumerate(self._labels)]
        return _number_ticks(self._ends(), self._entry.range.is_log)

    def _ends(self) -> tuple[float, float]:
        return min(self._values), max(self._values)

    def _scaled(self, value: float) -> float:
        is_log = self._entry.range is not None and self._entry.range.is_log
        return math.log(value) if is_log and value > 0 else value


def _value(entry: Entry, candidate: Candidate) -> Any:
    """The number of a range, or the label of a choice."""
    if entry.range is not None:
        return float(candidate.settings[entry.names[0]])
    for choice in entry.choices:
        if all(_same(candidate.settings[name], value) for name, value in choice.settings.items()):
            return choice.label
    return ELSEWHERE


def _same(a: Any, b: Any) -> bool:
    """Whether values are the same once tuples are lists, as in JSON."""
    a, b = (list(value) if isinstance(value, tuple) else value for value in (a, b))
    return bool(a == b)


def _share(value: float, low: float, high: float) -> float:
    return 0.5 if high <= low else (value - low) / (high - low)


def _number_ticks(values: Sequence[float], is_log: bool) -> list[tuple[float, str]]:
    """Both ends and the middle of an axis of numbers."""
    if not values or min(values) == max(values):
        return [(0.5, f"{values[0]:.4g}")] if values else []
    low, high = min(values), max(values)
    is_log = is_log and low > 0
    middle = math.sqrt(low * high) if is_log else (low + high) / 2
    return [(0.0, f"{low:.4g}"), (0.5, f"{middle:.4g}"), (1.0, f"{high:.4g}")]


def _draw_axis(axes: Axes, place: int, ticks: Sequence[tuple[float, str]]) -> None:
    axes.axvline(place, color=FAINT, linewidth=1.0, zorder=1)
    for height, text in ticks:
        axes.text(
            place + 0.02,
            height,
            text,
            fontsize=8,
            color=INK,
            va="center",
            zorder=400,
            bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1.0},
        )


def curves_of(ranked: Sequence[Ranked], directory: str) -> list[Run]:
    """Return the runs of all trials, those without a color of their own first, below the others."""
    shades = colors(ranked)
    runs = [
        Run(
            label=row.candidate.label,
            color=shades[row.candidate.number],
            rows=read_metrics(run_dir(directory, outcome.trial)),
        )
        for row in reversed(ranked)
        for outcome in row.outcomes
    ]
    named = sorted(runs, key=lambda run: run.color != REST_COLOR)
    return [run for run in named if run.rows]
