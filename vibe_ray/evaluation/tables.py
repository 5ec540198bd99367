"""The comparison of methods beside the published numbers, as console tables, Markdown and JSON."""

import dataclasses
from typing import Any

from rich import box
from rich.console import Group
from rich.markup import escape
from rich.table import Table

from vibe_ray.evaluation.comparison import (
    NOT_MEASURED,
    SIGNS,
    Comparison,
    Verdict,
    header,
    rows,
    summarize,
)
from vibe_ray.evaluation.protocols import METRICS, TITLES
from vibe_ray.evaluation.published import DATASET, PublishedResult


def rich_table(comparison: Comparison) -> Table:
    """The comparison for the console."""
    table = Table(title="Results", caption=" ".join(comparison.notes))
    for index, name in enumerate(header(comparison)):
        table.add_column(name, justify="right" if index else "left")
    colors: dict[Verdict, str] = {"better": "green", "worse": "red"}
    for row in rows(comparison):
        changes = [
            f"[{colors.get(verdict, 'default')}]{change} {SIGNS[verdict]}[/]".replace(" [/]", "[/]")
            for change, verdict in zip(row.changes, row.verdicts, strict=True)
        ]
        table.add_row(TITLES[row.metric], *row.values, *changes)
    return table


def published_rich_table(comparison: Comparison) -> Group:
    """The published numbers for the console, their sources below: 80 columns hold no more."""
    title = published_title(comparison)
    table = Table(title=title, box=box.SIMPLE_HEAD, padding=0)
    names = published_metrics(comparison)
    table.add_column()
    table.add_column("Method", min_width=len("(mmhuman3d),"))  # no word is cut
    table.add_column("Training")
    for name in names:
        table.add_column(TITLES[name].replace("/", "/ "), justify="right")  # may break there
    sources = Table.grid(padding=(0, 1))
    for number, result in enumerate(comparison.published, 1):
        style = "dim" if result.withdrawn else ""
        mark = escape(f"[{number}]")
        table.add_row(mark, *published_cells(result, names), style=style)
        sources.add_row(mark, escape(published_source(result)), style=style)
    return Group(table, sources)


def to_dict(comparison: Comparison) -> dict[str, Any]:
    """The comparison as plain JSON values, unrounded."""
    methods = {
        method.name: {
            "metrics": {
                name: dataclasses.asdict(summary)
                for name in comparison.metrics
                if (summary := summarize(method, name))
            },
            "runs": list(method.runs),
        }
        for method in comparison.methods
    }
    return {
        "dataset": comparison.dataset,
        "protocol": comparison.protocol,
        "notes": comparison.notes,
        "methods": methods,
        "published_is_comparable": comparison.is_comparable,
        "published": [dataclasses.asdict(result) for result in comparison.published],
    }


def published_title(comparison: Comparison) -> str:
    """Title of the table of published numbers, which says when they must not be compared."""
    if comparison.is_comparable:
        return f"Published, {comparison.dataset}"
    dataset = comparison.published[0].dataset if comparison.published else DATASET
    with_what = comparison.dataset
    if comparison.is_of_published_data:
        with_what = f"protocol {comparison.protocol}"
    return f"Published, {dataset} (NOT comparable with {with_what})"


def published_metrics(comparison: Comparison) -> list[str]:
    """The metrics that any published result has."""
    found = {name for result in comparison.published for name in result.metrics}
    return [name for name in METRICS if name in found]


def published_cells(result: PublishedResult, metrics: list[str]) -> list[str]:
    """Method, training and numbers of one published result, as printed in its source."""
    numbers = [str(result.metrics.get(name, NOT_MEASURED)) for name in metrics]
    name = f"{result.method} (withdrawn)" if result.withdrawn else result.method
    return [name, result.training, *numbers]


def published_source(result: PublishedResult) -> str:
    """Where a published result is from, and what to know about it."""
    return f"{result.source}; {result.note}" if result.note else result.source
