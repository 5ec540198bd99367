"""One HTML page that shows what was run and what came out: no external file, script or font.

A page is a template, in `templates/` beside the code that fills it, and a function that gives it
text, numbers and pictures. No HTML is written here: Jinja2 escapes whatever is filled in, and a
name that a template uses and was not given is an error. `base.html` has the layout and the colors,
which are set for every element: the page is dark text on white in a browser set to dark, too.
"""

import base64
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Literal

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from vibe_ray.evaluation.comparison import Comparison
from vibe_ray.evaluation.protocols import TITLES
from vibe_ray.evaluation.tables import (
    published_cells,
    published_metrics,
    published_source,
    published_title,
)

TEMPLATES = Path(__file__).parent / "templates"
PACKAGES = ("vibe_ray", "torch", "ray", "numpy")

ImageKind = Literal["png", "svg"]
MIME: dict[ImageKind, str] = {"png": "image/png", "svg": "image/svg+xml"}


@dataclass(frozen=True)
class Cell:
    """One cell of a table, where there is more to say than its text."""

    text: str
    small: str = ""
    """A line below, in small print."""
    css: str = ""
    """Class of the text, as `better`."""
    is_struck: bool = False
    """No longer held to be true."""


@dataclass(frozen=True, kw_only=True)
class Table:
    titles: Sequence[str]
    rows: Sequence[Sequence[str | Cell]]
    """Each as long as the titles."""
    num_text_columns: int = 1
    """How many columns are text; the rest are numbers, aligned right."""
    row_css: Mapping[int, str] = field(default_factory=dict)
    """Number of a row -> its class."""


@dataclass(frozen=True, kw_only=True)
class Picture:
    title: str
    caption: str
    data: bytes
    kind: ImageKind


@dataclass(frozen=True, kw_only=True)
class PublishedTable:
    """Others' numbers, and whether ours may be compared with them."""

    title: str
    warning: str
    """Empty if they may."""
    table: Table


def render_page(template: Path, **context: object) -> str:
    """Fill a template.

    Args:
        template: Its path; it may extend and import those of its own folder and of `TEMPLATES`.
        context: What it names: `title` and `summary`, which `base.html` shows, and its own.

    Raises:
        jinja2.UndefinedError: The template names something that is not given.
    """
    return _environment(template.parent).get_template(template.name).render(**context)


def data_uri(data: bytes, kind: ImageKind) -> str:
    """A picture as an address that holds it whole, for pages that fetch nothing.

    It is made of letters, digits and `:/;,+=` alone, whatever the picture is.
    """
    return f"data:{MIME[kind]};base64,{base64.b64encode(data).decode()}"


def environment_facts() -> dict[str, str]:
    """Versions and machine, among what a page says was run."""
    return {
        "Versions": ", ".join(f"{name} {version(name)}" for name in PACKAGES)
        + f", Python {platform.python_version()}",
        "Machine": f"{platform.machine()}, {platform.system()}",
    }


def published_table(comparison: Comparison) -> PublishedTable | None:
    """The published numbers of a comparison, if it has any."""
    if not comparison.published:
        return None
    names = published_metrics(comparison)
    body: list[list[str | Cell]] = []
    for result in comparison.published:
        name, *cells = published_cells(result, names)
        body.append([Cell(name, small=published_source(result)), *cells])
    withdrawn = [number for number, r in enumerate(comparison.published) if r.withdrawn]
    warning = f"Other data and another body: not to be compared with {comparison.dataset}."
    return PublishedTable(
        title=published_title(comparison),
        warning="" if comparison.is_comparable else warning,
        table=Table(
            titles=["Method", "Training", *(TITLES[name] for name in names)],
            rows=body,
            num_text_columns=2,
            row_css=dict.fromkeys(withdrawn, "withdrawn"),
        ),
    )


@cache
def _environment(folder: Path) -> Environment:
    environment = Environment(
        loader=FileSystemLoader([folder, TEMPLATES]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["data_uri"] = data_uri
    return environment
