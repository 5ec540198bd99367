import base64
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from tests.evaluation.toy_sequences import MakeSequence, Noise
from vibe_ray.body.model import BodyArrays
from vibe_ray.evaluation.comparison import Comparison, Method
from vibe_ray.evaluation.evaluator import evaluate
from vibe_ray.evaluation.protocols import PROTOCOLS
from vibe_ray.evaluation.published import PUBLISHED
from vibe_ray.reports.evaluation_page import Report, render, write_report
from vibe_ray.reports.pages import Picture, environment_facts

VOID = {"meta", "img", "br"}


class Page(HTMLParser):
    """Checks that tags close, and collects what a browser would fetch or show."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.sources: list[str] = []
        self.cells: list[str] = []
        self.tags: set[str] = set()
        self.feed(html)
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        if tag not in VOID:
            self.open.append(tag)
        if tag in ("td", "th"):
            self.cells.append("")
        self.sources += [value or "" for name, value in attrs if name in ("src", "href", "srcset")]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if {"td", "th"} & set(self.open):
            self.cells[-1] += data


@pytest.fixture
def report(body: BodyArrays, make_sequence: MakeSequence, network: Noise) -> Report:
    results = {
        name: evaluate(
            network, [make_sequence(20, noise=noise)], body, PROTOCOLS["joints"], window_length=8
        )
        for name, noise in (("Frame baseline", 0.2), ("VIBE", 0.1))
    }
    methods = tuple(Method(name=name, runs=(r.metrics,)) for name, r in results.items())
    return Report(
        title="VIBE <on> open data",
        summary="One sequence & two methods.",
        facts={"Command": "python -m vibe_ray.evaluate x"} | environment_facts(),
        comparison=Comparison(dataset="open_3d/test", protocol="joints", methods=methods),
        curves={"PA-MPJPE": b"<svg/>"},
        pictures=[Picture(title="Strip", caption="Front", data=b"\x89PNG", kind="png")],
        results=results,
    )


def test_the_page_needs_nothing_but_itself(report: Report) -> None:
    html = render(report)
    page = Page(html)
    assert not re.search(r"https?:|//[a-z]|url\(|@import", html)
    assert not page.tags & {"script", "link", "iframe", "object", "embed", "form"}
    assert "default-src 'none'; img-src data:" in html
    assert all(source.startswith("data:image/") for source in page.sources)
    images = [base64.b64decode(source.split(",")[1]) for source in page.sources]
    assert images == [b"\x89PNG", b"<svg/>"]


def test_the_numbers_are_the_results(report: Report) -> None:
    cells = Page(render(report)).cells
    before, after = (method.runs[0] for method in report.comparison.methods)
    for title, metric in (
        ("PA-MPJPE (mm)", "pa_mpjpe_mm"),
        ("Accel. error (mm/frame²)", "accel_error_mm_per_frame2"),
    ):
        start = cells.index(title)
        change = 100 * (after[metric] / before[metric] - 1)
        assert cells[start + 1 : start + 4] == [
            f"{before[metric]:.1f}",
            f"{after[metric]:.1f}",
            f"{change:+.1f} % ✓",
        ]
    row = cells.index("walk_0")
    assert cells[row + 1 : row + 4] == [
        "20",
        f"{before['pa_mpjpe_mm']:.1f}",
        f"{after['pa_mpjpe_mm']:.1f}",
    ]


def test_published_numbers_are_fenced_off(report: Report) -> None:
    html = render(report)
    assert "NOT comparable with open_3d/test" in html
    assert html.count('<tr class="withdrawn">') == sum(r.withdrawn for r in PUBLISHED)
    without = replace(report, comparison=replace(report.comparison, published=()))
    assert "Published" not in render(without)


def test_text_is_escaped(report: Report) -> None:
    html = render(report)
    assert "VIBE &lt;on&gt; open data" in html
    assert "One sequence &amp; two methods." in html


def test_optional_parts_are_left_out(report: Report) -> None:
    html = render(replace(report, curves={}, pictures=(), results={}))
    assert "Learning curves" not in html
    assert "Sequence by sequence" not in html
    assert "<img" not in html


def test_one_method_alone_has_no_changes(report: Report) -> None:
    alone = replace(report.comparison, methods=report.comparison.methods[:1])
    assert '<span class="change' not in render(replace(report, comparison=alone, results={}))


def test_the_page_is_written_whole(report: Report, tmp_path: Path) -> None:
    path = tmp_path / "reports" / "demo.html"
    write_report(str(path), report)
    write_report(str(path), report)
    assert path.read_text(encoding="utf-8") == render(report)
    assert list(path.parent.iterdir()) == [path]


def test_colors_do_not_follow_a_dark_browser(report: Report) -> None:
    html = render(report)
    assert '<meta name="color-scheme" content="only light">' in html
    assert re.search(r"body \{[^}]*background: #f3f5f8;\s*color: #1f2933", html)
