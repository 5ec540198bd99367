"""The few HTML pieces that the report is made of. Whoever passes text in has escaped it."""

import base64
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Literal

MIME = {"png": "image/png", "svg": "image/svg+xml"}


def div(css: str, content: str) -> str:
    """A block with a CSS class."""
    return f'<div class="{css}">{content}</div>'


def section(title: str, content: str, css: str = "") -> str:
    """A card with a heading."""
    return f'<section class="{css}"><h2>{title}</h2>{content}</section>'


def image(data: bytes, kind: Literal["png", "svg"], description: str) -> str:
    """A picture inside the page itself, as a data URI."""
    source = f"data:{MIME[kind]};base64,{base64.b64encode(data).decode()}"
    return f'<img src="{source}" alt="{escape(description, quote=True)}">'


def table(
    titles: Sequence[str],
    rows: Iterable[Sequence[str]],
    num_text_columns: int = 1,
    row_css: Mapping[int, str] | None = None,
) -> str:
    """A table that scrolls sideways where the screen is narrow.

    Args:
        titles: Of the columns; empty for none.
        rows: Cells, as many as titles.
        num_text_columns: How many columns are text; the rest are numbers, aligned right.
        row_css: Row number -> CSS class.
    """
    head = "".join(_cell("th", title, i >= num_text_columns) for i, title in enumerate(titles))
    body = ""
    for number, row in enumerate(rows):
        cells = "".join(_cell("td", cell, i >= num_text_columns) for i, cell in enumerate(row))
        body += f'<tr class="{(row_css or {}).get(number, "")}">{cells}</tr>'
    header = f"<thead><tr>{head}</tr></thead>" if titles else ""
    return div("scroll", f"<table>{header}<tbody>{body}</tbody></table>")


def _cell(tag: str, content: str, is_number: bool) -> str:
    css = ' class="number"' if is_number else ""
    return f"<{tag}{css}>{content}</{tag}>"
