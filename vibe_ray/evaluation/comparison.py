"""Is one method better than another? Medians and ranges over seeds, changes, and verdicts.

A method is a set of runs that differ in their seed: the discriminator's effect is smaller than the
spread over seeds, so medians and ranges are compared, never best runs.
"""

from dataclasses import dataclass
from statistics import median
from typing import Literal

from vibe_ray.evaluation.protocols import (
    BETTER,
    METRICS,
    PROTOCOLS,
    TITLES,
    TRUTH_METRIC,
    Protocol,
)
from vibe_ray.evaluation.published import PUBLISHED, PublishedResult

Verdict = Literal["better", "worse", "same", "unsure", ""]
NOT_MEASURED = "-"
SEEDS_PERCENT = 2.0
"""By so much have runs differed that only their seed tells apart: docs/results/open_world.md."""
SIGNS: dict[Verdict, str] = {"better": "✓", "worse": "✗", "same": "", "unsure": "≈", "": ""}


@dataclass(frozen=True, kw_only=True)
class Method:
    name: str
    runs: tuple[dict[str, float], ...]
    """Metric -> value, one dictionary per seed."""

    def __post_init__(self) -> None:
        if not self.runs:
            raise ValueError(f"method {self.name!r} has no runs, expected the metrics of one seed")


@dataclass(frozen=True)
class Summary:
    """One metric of one method over its seeds."""

    median: float
    low: float
    high: float
    num_runs: int

    @property
    def range_text(self) -> str:
        """Lowest and highest seed, or nothing where they do not differ."""
        low, high = f"{self.low:.1f}", f"{self.high:.1f}"
        return "" if low == high else f"{low} to {high}"

    @property
    def text(self) -> str:
        """Median, with the range over seeds."""
        return f"{self.median:.1f}" + (f" ({self.range_text})" if self.range_text else "")


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Methods measured on the same data by the same protocol; the first is the baseline."""

    dataset: str
    """What the methods were measured on, as `published.title_of` calls it."""
    protocol: str
    methods: tuple[Method, ...]
    published: tuple[PublishedResult, ...] = PUBLISHED
    """To be shown beside them; all of one data set."""

    @property
    def metrics(self) -> list[str]:
        """The metrics that any method has, in the order of tables."""
        found = {name for method in self.methods for run in method.runs for name in run}
        return [name for name in METRICS if name in found]

    @property
    def is_comparable(self) -> bool:
        """Whether any of the published numbers was measured so, on the same data."""
        return bool(self.comparable)

    @property
    def is_of_published_data(self) -> bool:
        """Whether the published numbers were measured on the same data, by whatever protocol."""
        return any(result.dataset == self.dataset for result in self.published)

    @property
    def comparable(self) -> list[str]:
        """The published methods that were measured on the same data by the same protocol."""
        protocol = PROTOCOLS.get(self.protocol)
        if protocol is None or protocol.dataset not in ("", self.dataset):
            return []
        return [
            f"{result.method} {result.training}"
            for result in self.published
            if result.dataset == self.dataset and result.protocol in protocol.same_as
        ]

    @property
    def notes(self) -> list[str]:
        """What a reader has to know before comparing, one sentence each."""
        notes = [f"Measured on {self.dataset} by protocol {self.protocol}."]
        if min(len(method.runs) for method in self.methods) > 1:
            notes.append("Medians over seeds (range); ≈ marks ranges that overlap.")
        else:
            notes.append(f"One seed: a difference below {SEEDS_PERCENT:g} % may be chance (≈).")
        defined_on = PROTOCOLS[self.protocol].dataset if self.protocol in PROTOCOLS else ""
        if defined_on not in ("", self.dataset):
            notes.append(f"Protocol {self.protocol} is defined on {defined_on}.")
        if self.published and not self.is_of_published_data:
            notes.append(
                f"Published numbers are for {self.published[0].dataset} and SMPL: they are NOT "
                f"comparable with numbers on {self.dataset}."
            )
        elif self.published:
            notes.append(self._what_is_comparable())
        return notes

    def _what_is_comparable(self) -> str:
        if not self.comparable:
            able = [p.name for p in PROTOCOLS.values() if self._measures_as_published(p)]
            return (
                f"Protocol {self.protocol} measures otherwise than the published numbers on "
                f"{self.dataset}: they are NOT comparable; take --protocol {' or '.join(able)}."
            )
        text = f"Comparable with the published rows {', '.join(dict.fromkeys(self.comparable))}"
        if differs := PROTOCOLS[self.protocol].differs:
            text += f", save for {', '.join(TITLES[name] for name in differs)}"
            text += "; they leave out the frames after each track's last whole window"
        return f"{text}."

    def _measures_as_published(self, protocol: Protocol) -> bool:
        names = {result.protocol for result in self.published}
        return bool(names & {*protocol.same_as}) and protocol.dataset in ("", self.dataset)


def summarize(method: Method, metric: str) -> Summary | None:
    """Median and range of a metric over a method's seeds, or None if it was not measured."""
    values = [run[metric] for run in method.runs if metric in run]
    return Summary(median(values), min(values), max(values), len(values)) if values else None


def change_percent(metric: str, baseline: Summary | None, other: Summary | None) -> float | None:
    """Relative change of the medians; None where there is nothing to compare."""
    if baseline is None or other is None or baseline.median == 0 or metric == TRUTH_METRIC:
        return None
    return 100.0 * (other.median - baseline.median) / baseline.median


def percent(change: float | None) -> str:
    """A change for people to read."""
    return NOT_MEASURED if change is None else f"{change:+.1f} %"


def judge(metric: str, baseline: Summary | None, other: Summary | None) -> Verdict:
    """Say whether a method beats the baseline.

    It is `unsure` where the ranges of their seeds overlap, or, of one seed each, where they differ
    by less than seeds do.
    """
    if baseline is None or other is None or BETTER[metric] == "neither":
        return ""
    if baseline.median == other.median:
        return "same"
    change = change_percent(metric, baseline, other)
    if max(baseline.num_runs, other.num_runs) > 1:
        is_unsure = baseline.low <= other.high and other.low <= baseline.high
    else:
        is_unsure = change is not None and abs(change) < SEEDS_PERCENT
    if is_unsure:
        return "unsure"
    return "better" if (other.median < baseline.median) == (BETTER[metric] == "lower") else "worse"


@dataclass(frozen=True)
class Row:
    """One metric: a value for each method, a change for each method after the first."""

    metric: str
    summaries: list[Summary | None]
    changes: list[str]
    verdicts: list[Verdict]

    @property
    def values(self) -> list[str]:
        """The summaries as text; a dash for what was not measured."""
        return [summary.text if summary else NOT_MEASURED for summary in self.summaries]


def rows(comparison: Comparison) -> list[Row]:
    """Compare the methods metric by metric."""
    return [_row(comparison, metric) for metric in comparison.metrics]


def _row(comparison: Comparison, metric: str) -> Row:
    summaries = [summarize(method, metric) for method in comparison.methods]
    baseline, others = summaries[0], summaries[1:]
    return Row(
        metric=metric,
        summaries=summaries,
        changes=[percent(change_percent(metric, baseline, other)) for other in others],
        verdicts=[judge(metric, baseline, other) for other in others],
    )


def header(comparison: Comparison) -> list[str]:
    """Column titles of `rows`: metric, methods, changes."""
    names = [method.name for method in comparison.methods]
    if len(names) <= 2:
        return ["Metric", *names, *["Change"] * (len(names) - 1)]
    return ["Metric", *names, *(f"{name}, change" for name in names[1:])]
