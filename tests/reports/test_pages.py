import base64
import re
from html.parser import HTMLParser
from pathlib import Path

import jinja2
import pytest

from vibe_ray.evaluation.comparison import Comparison, Method
from vibe_ray.evaluation.published import DATASET
from vibe_ray.reports.pages import Cell, Table, data_uri, published_table, render_page

HOSTILE = """</td><script>alert('x')</script> "quoted" onload='y' {{ title }} &amp;"""


class Page(HTMLParser):
    """What a browser makes of a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def fill(folder: Path, content: str, **context: object) -> str:
    """A page of its own, which uses the shared pieces."""
    path = folder / "page.html"
    path.write_text(
        '{% extends "base.html" %}{% import "macros.html" as ui %}\n'
        f"{{% block content %}}{content}{{% endblock %}}"
    )
    return render_page(path, title="T", summary="S", **context)


@pytest.mark.parametrize("kind", ["png", "svg"])
def test_a_picture_is_in_its_address_which_no_page_has_to_escape(kind: str) -> None:
    everything = bytes(range(256)) * 3
    address = data_uri(everything, kind)
    head, data = address.split(",")
    assert head == {"png": "data:image/png;base64", "svg": "data:image/svg+xml;base64"}[kind]
    assert base64.b64decode(data) == everything
    assert re.fullmatch(r"[\w:/;,+=]+", address, re.ASCII)


def test_a_template_extends_the_shared_ones_from_a_folder_of_its_own(tmp_path: Path) -> None:
    html = fill(tmp_path, "{{ ui.notes(notes) }}", notes=["one", "two"])
    assert html.startswith("<!doctype html>")
    assert "<title>T</title>" in html
    assert re.findall(r"<li>(\w+)</li>", html) == ["one", "two"]


def test_a_name_that_nobody_gave_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(jinja2.UndefinedError, match="'lost' is undefined"):
        fill(tmp_path, "{{ lost }}")


def every_piece(folder: Path, text: str) -> Page:
    table = Table(titles=[text], rows=[[text], [Cell(text, small=text, css=text)]])
    pieces = (
        "{{ ui.table(table) }}{{ ui.notes([text]) }}{{ ui.facts({text: text}) }}"
        '{{ ui.image(text.encode(), "svg", text) }}{{ ui.curves({text: text.encode()}) }}'
        "{% call ui.card(text, text) %}{{ text }}{% endcall %}"
    )
    return Page(fill(folder, pieces, table=table, text=text))


def test_every_piece_escapes_hostile_text(tmp_path: Path) -> None:
    hostile, harmless = every_piece(tmp_path, HOSTILE), every_piece(tmp_path, "walk")
    assert [(tag, list(attributes)) for tag, attributes in hostile.tags] == [
        (tag, list(attributes)) for tag, attributes in harmless.tags
    ]
    assert hostile.text.count(HOSTILE) == harmless.text.count("walk") == 10


def test_numbers_are_aligned_right_and_rows_styled(tmp_path: Path) -> None:
    table = Table(titles=["a", "b"], rows=[["x", "1"], ["y", "2"]], row_css={1: "faint"})
    html = fill(tmp_path, "{{ ui.table(table) }}", table=table)
    assert '<th>a</th>\n<th class="number">b</th>' in html
    assert '<td>x</td>\n<td class="number">1</td>' in html
    assert re.search(r'<tr class="faint">\s*<td>y</td>', html)


def test_cells_say_more_than_their_text(tmp_path: Path) -> None:
    row = [Cell("1", small="0 to 2"), Cell("2", css="better"), Cell("3", is_struck=True)]
    table = Table(titles="abc", rows=[row], num_text_columns=3)
    html = fill(tmp_path, "{{ ui.table(table) }}", table=table)
    assert '<td>1<div class="small">0 to 2</div></td>' in html
    assert '<td><span class="better">2</span></td>' in html
    assert "<td><s>3</s></td>" in html


def test_a_comparison_on_the_papers_data_has_no_warning() -> None:
    methods = (Method(name="a", runs=({"mpjpe_mm": 1.0},)),)
    same = Comparison(dataset=DATASET, protocol="vibe_compat", methods=methods)
    found = published_table(same)
    assert found is not None
    assert not found.warning
    other = published_table(Comparison(dataset="x", protocol="open", methods=methods))
    assert other is not None
    assert "not to be compared with x" in other.warning
