"""The page of an evaluation: headline, results, pictures, curves, and what the numbers mean."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from vibe_ray import storage
from vibe_ray.evaluation.comparison import (
    NOT_MEASURED,
    SIGNS,
    Comparison,
    Summary,
    Verdict,
    change_percent,
    header,
    judge,
    percent,
    rows,
    summarize,
)
from vibe_ray.evaluation.protocols import PROTOCOLS, TITLES
from vibe_ray.evaluation.scores import EvaluationResult
from vibe_ray.reports.pages import (
    TEMPLATES,
    Cell,
    Picture,
    Table,
    published_table,
    render_page,
)

TEMPLATE = TEMPLATES / "evaluation.html"
HEADLINE_METRICS = ("pa_mpjpe_mm", "mpjpe_mm", "accel_error_mm_per_frame2")
SEQUENCE_METRICS = ("pa_mpjpe_mm", "accel_error_mm_per_frame2")
MEANINGS = {
    "mpjpe_mm": "mean distance of 14 joints from the true ones, both centered on the hips.",
    "pa_mpjpe_mm": "the same after the best rotation, scale and shift of each frame: errors of the "
    "pose alone.",
    "pve_mm": "mean distance of all vertices of the mesh, shape included.",
    "accel_error_mm_per_frame2": "distance between predicted and true acceleration: jitter, and "
    "motion smoothed away.",
    "accel_mm_per_frame2": "size of the predicted acceleration (VIBE's ACCEL); good when near that "
    "of the truth.",
    "pck_150mm_percent": "share of joints nearer than 150 mm to the true ones.",
    "auc_percent": "the same, averaged over thresholds from 0 to 150 mm.",
}


@dataclass(frozen=True, kw_only=True)
class Report:
    """What a page shows, top to bottom."""

    title: str
    summary: str
    """What was done and what came out, in a sentence or two."""
    facts: Mapping[str, str]
    """What was run: command, recipe, seeds, data; see `environment_facts` for versions."""
    comparison: Comparison
    curves: Mapping[str, bytes] = field(default_factory=dict)
    """Title -> SVG; see `figures.learning_curves`."""
    pictures: Sequence[Picture] = ()
    results: Mapping[str, EvaluationResult] = field(default_factory=dict)
    """Method -> one evaluation, listed sequence by sequence; all on the same sequences."""


@dataclass(frozen=True, kw_only=True)
class Tile:
    """One headline number."""

    name: str
    value: str
    baseline: str = ""
    change: Cell | None = None
    """From the baseline, where there is another method."""


def write_report(path: str, report: Report) -> None:
    """Write the page to a path or object storage, whole or not at all."""
    storage.write_bytes_atomic(path, render(report).encode())


def render(report: Report) -> str:
    """Return the page."""
    return render_page(
        TEMPLATE,
        title=report.title,
        summary=report.summary,
        tiles=_tiles(report.comparison),
        results=_results(report.comparison),
        notes=report.comparison.notes,
        pictures=report.pictures,
        curves=report.curves,
        sequences=_sequences(report.results),
        published=published_table(report.comparison),
        facts=report.facts,
        meanings=_meanings(report.comparison),
    )


def _tiles(comparison: Comparison) -> list[Tile]:
    """The headline numbers of the last method, beside the baseline's."""
    baseline, method = comparison.methods[0], comparison.methods[-1]
    tiles = []
    for metric in HEADLINE_METRICS:
        before, after = summarize(baseline, metric), summarize(method, metric)
        if before is None or after is None:
            continue
        tile = Tile(name=f"{method.name}, {TITLES[metric]}", value=f"{after.median:.1f}")
        if method is not baseline:
            change = percent(change_percent(metric, before, after))
            tile = replace(
                tile,
                baseline=f"{baseline.name}: {before.median:.1f}",
                change=_change(change, judge(metric, before, after)),
            )
        tiles.append(tile)
    return tiles


def _results(comparison: Comparison) -> Table:
    body: list[list[str | Cell]] = [
        [
            TITLES[row.metric],
            *(_value(summary) for summary in row.summaries),
            *(_change(c, v) for c, v in zip(row.changes, row.verdicts, strict=True)),
        ]
        for row in rows(comparison)
    ]
    return Table(titles=header(comparison), rows=body)


def _value(summary: Summary | None) -> Cell:
    """The median, with the range over seeds on a line of its own to stay narrow."""
    if summary is None:
        return Cell(NOT_MEASURED)
    return Cell(f"{summary.median:.1f}", small=summary.range_text)


def _change(text: str, verdict: Verdict) -> Cell:
    return Cell(f"{text} {SIGNS[verdict]}", css=f"change {verdict}")


def _sequences(results: Mapping[str, EvaluationResult]) -> Table | None:
    """Every sequence by every method."""
    if not results:
        return None
    columns = [(name, metric) for metric in SEQUENCE_METRICS for name in results]
    body = []
    for same in zip(*(result.per_sequence for result in results.values()), strict=True):
        by_name = dict(zip(results, same, strict=True))
        values = [by_name[name].metrics.get(metric) for name, metric in columns]
        numbers = [NOT_MEASURED if value is None else f"{value:.1f}" for value in values]
        body.append([same[0].sequence, str(same[0].num_frames), *numbers])
    titles = ["Sequence", "Frames", *(f"{name}, {TITLES[metric]}" for name, metric in columns)]
    return Table(titles=titles, rows=body)


def _meanings(comparison: Comparison) -> dict[str, str]:
    meanings = {TITLES[name]: MEANINGS[name] for name in comparison.metrics if name in MEANINGS}
    if comparison.protocol in PROTOCOLS:
        meanings[f"Protocol {comparison.protocol}"] = PROTOCOLS[comparison.protocol].description
    return meanings
