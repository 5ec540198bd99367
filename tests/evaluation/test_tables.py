import io
import json

from rich.console import Console

from tests.evaluation.test_comparison import comparison
from vibe_ray.evaluation.published import ANCHOR, DATASET, PUBLISHED
from vibe_ray.evaluation.tables import (
    published_rich_table,
    published_source,
    published_title,
    rich_table,
    to_dict,
)


def printed(table: object, width: int = 220) -> str:
    console = Console(width=width, file=io.StringIO(), record=True)
    console.print(table)
    return console.export_text()


def test_the_console_shows_values_changes_and_the_warning() -> None:
    text = printed(rich_table(comparison()))
    (line,) = [line for line in text.splitlines() if "PA-MPJPE" in line]
    assert [cell.strip() for cell in line.strip("│").split("│")][1:] == [
        "50.0",
        "40.0",
        "-20.0 % ✓",
    ]
    assert "NOT comparable" in " ".join(text.split())


def test_the_console_shows_published_numbers_with_their_state() -> None:
    text = printed(published_rich_table(comparison()))
    assert "NOT comparable with open_3d/test" in text
    assert "56.5608" in text
    (line,) = [line for line in text.splitlines() if "51.9" in line]
    assert "(withdrawn)" in line


def test_nothing_of_the_published_numbers_is_cut_in_80_columns() -> None:
    text = printed(published_rich_table(comparison()), width=80)
    assert "…" not in text
    words = set(text.split())
    for result in PUBLISHED:
        assert {*published_source(result).split(), *result.method.split()} <= words


def test_json_keeps_numbers_unrounded() -> None:
    plain = json.loads(json.dumps(to_dict(comparison()), allow_nan=False))
    vibe = plain["methods"]["VIBE"]
    assert vibe["metrics"]["pa_mpjpe_mm"]["median"] == 40.0
    assert vibe["runs"] == [{"pa_mpjpe_mm": 40.0}]
    assert plain["published_is_comparable"] is False
    assert plain["published"][0]["metrics"] == ANCHOR.metrics


def test_on_3dpw_the_published_numbers_are_comparable() -> None:
    assert published_title(comparison(DATASET)) == "Published, 3DPW test"


def test_on_published_data_by_another_protocol_they_are_not() -> None:
    title = published_title(comparison("MPI-INF-3DHP test", "open"))
    assert title == "Published, MPI-INF-3DHP test (NOT comparable with protocol open)"
    by_its_own = comparison("MPI-INF-3DHP test", "mpi_inf_3dhp")
    assert published_title(by_its_own) == "Published, MPI-INF-3DHP test"
    assert to_dict(by_its_own)["published_is_comparable"] is True
    assert "89.0" in printed(published_rich_table(by_its_own))
