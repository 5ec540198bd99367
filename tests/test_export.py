"""The table of exports."""

import importlib
from pathlib import Path

import numpy as np
import pytest

from tests.export.conftest import wild_motion
from vibe_ray.body.model import BodyConfig, load_body
from vibe_ray.export import EXPORTS, Export
from vibe_ray.export.animation import ViewCamera

FOLDER = Path(importlib.import_module("vibe_ray.export").__path__[0])
SETTINGS = {
    "camera": ViewCamera(np.eye(3), np.zeros(3), 640, 480, 500.0),
    "fps": 25.0,
    "names": "mixamo",
    "of another export": 1,
}


def by_name(export: Export) -> str:
    return export.name


def test_names_and_endings_are_of_one_export_each() -> None:
    assert len({export.name for export in EXPORTS}) == len(EXPORTS)
    assert len({export.suffix for export in EXPORTS}) == len(EXPORTS)


def test_every_writer_of_the_folder_has_its_row() -> None:
    writers = {
        path.stem for path in FOLDER.glob("*.py") if f"def write_{path.stem}(" in path.read_text()
    }
    assert writers == {export.name for export in EXPORTS}


@pytest.mark.parametrize("export", EXPORTS, ids=by_name)
def test_a_row_writes_with_the_settings_that_are_its_own(export: Export, tmp_path: Path) -> None:
    if export.name == "usda":
        pytest.importorskip("pxr")
    body, motion = load_body(BodyConfig()), wild_motion(3)
    path = tmp_path / f"person{export.suffix}"
    export.write(str(path), motion, body, **SETTINGS)
    assert path.stat().st_size > 1000
    export.writer()(
        str(tmp_path / "again"),
        motion,
        body,
        **{name: SETTINGS[name] for name in export.keywords},
    )
    assert (tmp_path / "again").read_bytes() == path.read_bytes()


def test_the_table_alone_imports_no_writer() -> None:
    import subprocess
    import sys

    code = (
        "import sys, vibe_ray.export; print(sorted({'numpy', 'pxr', 'torch'} & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "[]\n"
