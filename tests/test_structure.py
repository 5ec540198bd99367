"""The house's own rules that no linter knows."""

import ast
import importlib
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from vibe_ray.recipes import RECIPES
from vibe_ray.settings import override
from vibe_ray.tuning.plan import Search, SearchKind, first_candidates
from vibe_ray.tuning.spaces import load_space

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "vibe_ray"
MODULES = sorted(PACKAGE.rglob("*.py"))
SPACES = sorted((ROOT / "tune_spaces").glob("*.py"))
COMMANDS = sorted(path.stem for path in PACKAGE.glob("*.py") if "def main(" in path.read_text())
DOCUMENTS = ("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md")
MADE_UP_FILES = {"my_space.py"}
TESTS_OF_THE_WHOLE = {"integration", "benchmarks"}
TESTS_OF_FILES = {"test_cluster.py", "test_face.py", "test_structure.py"}


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", [*MODULES, *SPACES], ids=name)
def test_every_module_says_what_it_is_for(path: Path) -> None:
    assert ast.get_docstring(ast.parse(path.read_text())), f"{name(path)} has no docstring"


def test_every_test_stands_where_its_module_does() -> None:
    strays = []
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        relative = path.relative_to(ROOT / "tests")
        if relative.parts[0] in TESTS_OF_THE_WHOLE or relative.name in TESTS_OF_FILES:
            continue
        module = PACKAGE / relative.parent / relative.name.removeprefix("test_")
        if not module.is_file() and not module.with_suffix("").is_dir():
            strays.append(f"{name(path)}: no {name(module)}")
    assert not strays


def files_named_in(text: str) -> set[str]:
    """Python files in a text; `a/{b,c}.py` are two."""
    found = set()
    for path in re.findall(r"[\w./-]*(?:\{[\w,]+\})?[\w-]*\.py\b", text):
        before, _, rest = path.rpartition("{")
        parts, brace, after = rest.partition("}")
        found |= {before + part + after for part in parts.split(",")} if brace else {path}
    return found


def test_files_named_are_found() -> None:
    text = "see `a/b.py`, `c/{d,e}.py` ([f](g/h.py)); x.pyc and numpy are none"
    assert files_named_in(text) == {"a/b.py", "c/d.py", "c/e.py", "g/h.py"}


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_file_that_a_document_names_exists(document: str) -> None:
    named = files_named_in((ROOT / document).read_text()) - MADE_UP_FILES
    assert named
    lost = [file for file in named if not any((at / file).is_file() for at in (ROOT, PACKAGE))]
    assert not lost, f"{document} names {sorted(lost)}"


HTML = re.compile(
    r"</[a-z]+[1-6]?>|<(?:div|p|span|table|img|a|b|br|t[dhr]|h[1-6])(?: [^>]*)?>|&\w+;"
)


def test_html_is_recognized() -> None:
    for text in ("x</td>", '<div class="y">', "<br>", "a &nbsp; b", "<h2>"):
        assert HTML.search(text)
    for text in ("a < b and c > d", "<name>", "--set <a.b=v>", "x & y;", "<stdin>"):
        assert not HTML.search(text)


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_html_stands_in_templates_alone(path: Path) -> None:
    texts = [
        node.value
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    ]
    assert not [text for text in texts if HTML.search(text)]


def test_ray_has_one_room() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    contracts = project["tool"]["importlinter"]["contracts"]
    (may,) = (c["allowed_importers"] for c in contracts if c.get("protected_modules") == ["ray"])
    assert may == ["vibe_ray.distributed"]


@pytest.mark.parametrize("path", SPACES, ids=name)
@pytest.mark.parametrize("recipe", sorted(RECIPES))
def test_every_space_names_settings_of_every_recipe(path: Path, recipe: str) -> None:
    base, space = RECIPES[recipe](), load_space(path.stem)
    kind: SearchKind = "random" if space.has_ranges else "grid"
    found = first_candidates(base, space, Search(name="any", search=kind))
    assert len({str(override(base, item.settings)) for item in found}) == len(found) > 1


def test_the_commands_are_those_at_the_root() -> None:
    assert {"prepare", "train", "tune", "evaluate", "serve"} <= set(COMMANDS)
    assert set(COMMANDS) <= {"prepare", "train", "tune", "evaluate", "predict", "serve", "doctor"}


@pytest.mark.parametrize("command", COMMANDS)
def test_help_carries_an_example_and_few_flags(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    main = importlib.import_module(f"vibe_ray.{command}").main
    with pytest.raises(SystemExit) as exit_info:
        main(["--help"])
    assert exit_info.value.code == 0
    text = capsys.readouterr().out
    assert f"example:\n  python -m vibe_ray.{command}" in text
    assert text.count("\n  --") <= 13


def test_a_command_runs_as_a_module_and_asking_for_help_imports_little() -> None:
    """Neither Ray, nor PyTorch's compiler, nor half of SciPy, which take seconds."""
    code = (
        "import runpy, sys; sys.argv = ['train', '--help']\n"
        "unwanted = 'ray', 'torch._dynamo', 'scipy.signal', 'scipy.stats'\n"
        "try: runpy.run_module('vibe_ray.train', run_name='__main__')\n"
        "except SystemExit: print([m for m in unwanted if m in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.endswith("[]\n")
