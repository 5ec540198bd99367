"""One HTML page that shows what was run and what came out: no external file, script or font.

The layout and colors are in `report.html`; this file fills it. Colors are set for every element, so
the page is dark text on white in a browser set to dark, too.
"""

import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from importlib.metadata import version
from pathlib import Path
from string import Template
from typing import Literal

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
from vibe_ray.evaluation.tables import (
    published_cells,
    published_metrics,
    published_source,
    published_title,
)
from vibe_ray.reports.markup import div, image, section, table

TEMPLATE = Path(__file__).with_name("report.html")
HEADLINE_METRICS = ("pa_mpjpe_mm", "mpjpe_mm", "accel_error_mm_per_frame2")
SEQUENCE_METRICS = ("pa_mpjpe_mm", "accel_error_mm_per_frame2")
PACKAGES = ("vibe_ray", "torch", "ray", "numpy")
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
class Picture:
    title: str
    caption: str
    data: bytes
    kind: Literal["png", "svg"]


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


def environment_facts() -> dict[str, str]:
    """Versions and machine, for `Report.facts`."""
    return {
        "Versions": ", ".join(f"{name} {version(name)}" for name in PACKAGES)
        + f", Python {platform.python_version()}",
        "Machine": f"{platform.machine()}, {platform.system()}",
    }


def write_report(path: str, report: Report) -> None:
    """Write the page to a path or object storage, whole or not at all."""
    storage.write_bytes_atomic(path, render(report).encode())


def render(report: Report) -> str:
    """Return the page."""
    body = [
        _tiles(report.comparison),
        section("Results", _results(report.comparison), "results"),
        *(_picture(picture) for picture in report.pictures),
        curves_section(report.curves),
        _sequences(report.results),
        published_section(report.comparison),
        facts_section(report.facts),
        section("What the numbers mean", _meanings(report.comparison)),
    ]
    return page(report.title, report.summary, body)


def page(title: str, summary: str, sections: Sequence[str]) -> str:
    """Return a page of sections, which are HTML."""
    return Template(TEMPLATE.read_text(encoding="utf-8")).substitute(
        title=escape(title), summary=escape(summary), body="\n".join(sections)
    )


def _tiles(comparison: Comparison) -> str:
    """The headline numbers of the last method, beside the baseline's."""
    baseline, method = comparison.methods[0], comparison.methods[-1]
    tiles = []
    for metric in HEADLINE_METRICS:
        before, after = summarize(baseline, metric), summarize(method, metric)
        if before is None or after is None:
            continue
        lines = div("name", escape(f"{method.name}, {TITLES[metric]}"))
        lines += div("value", f"{after.median:.1f}")
        if method is not baseline:
            change = percent(change_percent(metric, before, after))
            verdict = judge(metric, before, after)
            text = escape(f"{baseline.name}: {before.median:.1f}")
            lines += div("from", f"{text} &nbsp; {_change(change, verdict)}")
        tiles.append(div("tile", lines))
    return div("tiles", "".join(tiles))


def _results(comparison: Comparison) -> str:
    body = [
        [
            escape(TITLES[row.metric]),
            *(_value(summary) for summary in row.summaries),
            *(_change(c, v) for c, v in zip(row.changes, row.verdicts, strict=True)),
        ]
        for row in rows(comparison)
    ]
    notes = "".join(f"<li>{escape(note)}</li>" for note in comparison.notes)
    titles = [escape(title) for title in header(comparison)]
    return table(titles, body) + f'<ul class="notes">{notes}</ul>'


def _value(summary: Summary | None) -> str:
    """The median, with the range over seeds on a line of its own to stay narrow."""
    if summary is None:
        return NOT_MEASURED
    return f"{summary.median:.1f}" + div("small", summary.range_text)


def _change(text: str, verdict: Verdict) -> str:
    return f'<span class="change {verdict}">{text} {SIGNS[verdict]}</span>'


def _picture(picture: Picture) -> str:
    caption = f'<p class="small">{escape(picture.caption)}</p>'
    content = div("scroll", image(picture.data, picture.kind, picture.title))
    # Strips of meshes keep their size on a phone and scroll; plots shrink.
    css = "strip" if picture.kind == "png" else "plot"
    return section(escape(picture.title), caption + content, css)


def curves_section(curves: Mapping[str, bytes], above: str = "") -> str:
    """Plots side by side, below other HTML."""
    if not curves:
        return ""
    plots = "".join(
        f"<figure><figcaption>{escape(title)}</figcaption>{image(svg, 'svg', title)}</figure>"
        for title, svg in curves.items()
    )
    return section("Learning curves", above + div("curves", plots))


def _sequences(results: Mapping[str, EvaluationResult]) -> str:
    """Every sequence by every method, folded away."""
    if not results:
        return ""
    columns = [(name, metric) for metric in SEQUENCE_METRICS for name in results]
    titles = ["Sequence", "Frames", *(f"{name}, {TITLES[metric]}" for name, metric in columns)]
    body = []
    for same in zip(*(result.per_sequence for result in results.values()), strict=True):
        by_name = dict(zip(results, same, strict=True))
        values = [by_name[name].metrics.get(metric) for name, metric in columns]
        numbers = [NOT_MEASURED if value is None else f"{value:.1f}" for value in values]
        body.append([escape(same[0].sequence), str(same[0].num_frames), *numbers])
    content = table([escape(title) for title in titles], body)
    summary = f"<summary>{len(body)} sequences</summary>"
    return section("Sequence by sequence", f"<details>{summary}{content}</details>")


def published_section(comparison: Comparison) -> str:
    """The published numbers, and whether ours may be compared with them."""
    if not comparison.published:
        return ""
    names = published_metrics(comparison)
    titles = ["Method", "Training", *(TITLES[name] for name in names)]
    body, css = [], {}
    for number, result in enumerate(comparison.published):
        name, *cells = (escape(cell) for cell in published_cells(result, names))
        source = f'<div class="small">{escape(published_source(result))}</div>'
        body.append([name + source, *cells])
        css[number] = "withdrawn" if result.withdrawn else ""
    warning = ""
    if not comparison.is_comparable:
        text = f"Other data and another body: not to be compared with {comparison.dataset}."
        warning = f'<p class="warning">{escape(text)}</p>'
    return section(
        escape(published_title(comparison)),
        warning + table([escape(t) for t in titles], body, num_text_columns=2, row_css=css),
        "published",
    )


def facts_section(facts: Mapping[str, str]) -> str:
    """What was run."""
    rows = [[escape(name), f"<code>{escape(value)}</code>"] for name, value in facts.items()]
    return section("What was run", table((), rows, 2), "facts")


def _meanings(comparison: Comparison) -> str:
    names = [name for name in comparison.metrics if name in MEANINGS]
    entries = {TITLES[name]: MEANINGS[name] for name in names}
    if comparison.protocol in PROTOCOLS:
        entries[f"Protocol {comparison.protocol}"] = PROTOCOLS[comparison.protocol].description
    items = "".join(f"<dt>{escape(k)}</dt><dd>{escape(v)}</dd>" for k, v in entries.items())
    return f"<dl>{items}</dl>"
