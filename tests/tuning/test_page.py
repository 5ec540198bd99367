"""The page of a search: self-contained, and saying what the ranking says."""

import re
from html import unescape
from html.parser import HTMLParser
from pathlib import Path

import pytest

from tests.tuning.made_up import made_up, subject
from vibe_ray.tuning.noise import RULE
from vibe_ray.tuning.page import render, summary
from vibe_ray.tuning.spaces import Space, load_space


class Page(HTMLParser):
    """Collects texts of cells, and what a browser would fetch."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.sources: list[str] = []
        self.cells: list[str] = []
        self.is_in_cell = False
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in ("td", "th"):
            self.cells.append("")
            self.is_in_cell = True
        self.sources += [value or "" for name, value in attrs if name in ("src", "href")]

    def handle_endtag(self, tag: str) -> None:
        self.is_in_cell &= tag not in ("td", "th")

    def handle_data(self, data: str) -> None:
        if self.is_in_cell:
            self.cells[-1] += data


def page(tmp_path: Path, space: Space, stopped: int = 0, failed: int = 0) -> str:
    ranked = made_up(tmp_path, space, stopped, failed)
    return render(ranked, subject(space), str(tmp_path), "python -m vibe_ray.tune --seeds 3")


@pytest.fixture(scope="module")
def attention(tmp_path_factory: pytest.TempPathFactory) -> str:
    """One candidate was stopped, one failed."""
    return page(tmp_path_factory.mktemp("search"), load_space("attention"), stopped=1, failed=1)


def test_the_page_holds_everything_itself(attention: str) -> None:
    sources = Page(attention).sources
    assert len(sources) >= 5
    assert all(source.startswith("data:image/") for source in sources)
    assert not re.search(r"<(script|link)\b", attention)


def test_ours_stand_beside_the_papers_withdrawn_and_the_corrected_numbers(attention: str) -> None:
    cells = Page(attention).cells
    assert "<s>53.7</s>" in attention
    assert "withdrawn by its authors" in attention
    assert "not to be compared" in attention
    assert "56.5608" in cells, "the anchor"
    assert RULE in unescape(attention)


def test_a_space_of_no_table_shows_no_published_numbers(tmp_path: Path) -> None:
    html = page(tmp_path, load_space("sequence_length"))
    assert "Published" not in html
    assert "paper" not in html


def test_verdicts_seeds_and_metrics_are_shown(tmp_path: Path) -> None:
    cells = Page(page(tmp_path, load_space("motion_prior"))).cells
    start = cells.index("frame baseline")
    assert cells[start + 1] == "better"
    assert cells[start + 3].startswith("-3.00")
    assert cells[start + 4] == "3"
    assert "baseline" in cells


def test_reasons_are_shown_and_escaped(attention: str) -> None:
    assert "not finite at step 7 &lt;&amp;&gt;" in attention
    assert "2 of 5 candidates have no result" in attention
    assert "stopped at epoch 2" in attention


def test_a_search_without_any_result_has_a_page(tmp_path: Path) -> None:
    assert "No trial finished." in page(tmp_path, load_space("motion_prior"), failed=4)


def test_the_summary_says_what_can_be_told(tmp_path: Path) -> None:
    ranked = made_up(tmp_path, load_space("motion_prior"))
    assert summary(ranked) == (
        "Best of 4 candidates by the median of 3 seed(s): frame baseline, 50.12 mm. It beats the "
        "baseline by 3.00 mm. 3 of 3 candidates can be told from the baseline."
    )


def test_settings_of_one_name_are_told_apart_in_the_title(tmp_path: Path) -> None:
    html = page(tmp_path, load_space("motion_prior"))
    title = "Search over kind, adversarial, losses.motion_prior, motion_prior (paper, Table 2)"
    assert f"<h1>{title}</h1>" in html
