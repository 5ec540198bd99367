"""Benchmarks as tables: on the console, and in Markdown."""

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

COLUMNS = ("", "unit", "min", "median", "ratio", "goal", "")


def print_report(result: dict[str, Any]) -> None:
    """Print one benchmark."""
    console = Console()
    if "error" in result:
        console.print(f"[bold red]failed[/]: {result['benchmark']}: {result['error']}")
        return
    table = Table(title=_title(result), title_justify="left")
    for number, column in enumerate(COLUMNS):
        table.add_column(column, justify="right" if 2 <= number <= 4 else "left")
    for row in result["rows"]:
        table.add_row(*_cells(row))
    console.print(table)
    for line in _words(result):
        console.print(line)


def to_markdown(document: dict[str, Any]) -> str:
    """Lay out all benchmarks as a Markdown document."""
    lines = ["# Benchmarks", "", "| | |", "|---|---|"]
    lines += [f"| {name} | {value} |" for name, value in document["environment"].items()]
    for result in document["results"]:
        lines += ["", f"## {_title(result)}", ""]
        if "error" in result:
            lines.append(f"**Failed**: {result['error']}")
            continue
        lines += [_line(COLUMNS), _line(["---"] * 2 + ["---:"] * 3 + ["---"] * 2)]
        lines += [_line(_cells(row)) for row in result["rows"]]
        lines += [part for line in _words(result) for part in ("", line)]
    if document["environment"]["gpu"] == "none":
        lines += ["", "There was no GPU: its variants were skipped."]
    return "\n".join(lines) + "\n"


def _title(result: dict[str, Any]) -> str:
    device = "" if result["device"] == "cpu" else f" ({result['device']})"
    return f"{result['title']}{device}"


def _cells(row: dict[str, Any]) -> list[str]:
    ratio, goal = row.get("ratio"), row.get("goal", "")
    if goal:
        goal = f"{goal}: {'reached' if row['is_reached'] else 'missed'}"
    name = f"{row['name']} ({row['note']})" if "note" in row else row["name"]
    return [
        name,
        row["unit"],
        _number(row["min"]),
        _number(row["median"]),
        f"x{ratio:.2f}" if ratio is not None else "",
        goal,
        f"x{min(row['ratios']):.2f} to x{max(row['ratios']):.2f}" if ratio is not None else "",
    ]


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def _words(result: dict[str, Any]) -> list[str]:
    """What stands below a table."""
    seconds = f"{result['seconds']:.0f} s"
    load = f"load average {result['load_before']:.1f} before, {result['load_after']:.1f} after"
    lines = [f"{result['time']}, {result['repetitions']} repetitions, {seconds}; {load}."]
    if result["parity"]:
        errors = [f"{name} {error:.1e}" for name, error in result["parity"].items()]
        lines.append("Parity of this run: " + "; ".join(errors) + ".")
    return [*lines, *result["notes"]]


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"
