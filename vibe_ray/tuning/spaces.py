"""A search space: which settings are tried. No Ray.

A space is a Python file with a dict `SPACE`: dotted setting names to what is tried of them. Every
combination of all entries is one candidate:

    from vibe_ray.tuning.spaces import log_uniform

    SPACE = {
        "losses.adversarial": [0.0, 0.5, 2.0],
        "optim.generator_lr": log_uniform(1e-4, 1e-2),
        ("data.window_length", "data.window_stride"): {"short": (16, 16), "long": (32, 32)},
    }

A list holds values. A dict holds values, too, under the names that tables give them. A range is
drawn from, so a space with one cannot be tried whole. A key that is a tuple of names moves its
settings together. A file may also say `PAPER = "Table 3"`, the table of VIBE's paper whose
published rows belong beside its results.
"""

import json
import math
import random
import runpy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vibe_ray.evaluation.published import PAPER_TABLES

SHIPPED = Path(__file__).parents[2] / "tune_spaces"
"""The spaces that come with the package; a command names them without folder and ending."""

Settings = dict[str, Any]


@dataclass(frozen=True)
class Range:
    """Numbers from `low` to `high`, each as likely, or each ratio of them as likely."""

    low: float
    high: float
    is_log: bool = False

    def __post_init__(self) -> None:
        if not self.low < self.high or not math.isfinite(self.high - self.low):
            raise ValueError(f"a range from {self.low} to {self.high}: expected low < high")
        if self.is_log and self.low <= 0:
            raise ValueError(f"a logarithmic range from {self.low}: expected one above 0")

    def draw(self, generator: random.Random) -> float:
        """Draw a number."""
        if not self.is_log:
            return rounded(generator.uniform(self.low, self.high))
        return rounded(math.exp(generator.uniform(math.log(self.low), math.log(self.high))))


def uniform(low: float, high: float) -> Range:
    """Numbers from `low` to `high`, each as likely."""
    return Range(low, high)


def log_uniform(low: float, high: float) -> Range:
    """Numbers from `low` to `high`, as likely to be below as above their geometric mean."""
    return Range(low, high, is_log=True)


def rounded(number: float) -> float:
    """Cut a drawn number to what people can read and type again."""
    return float(f"{number:.4g}")


@dataclass(frozen=True)
class Choice:
    """One of the alternatives of an entry."""

    label: str
    settings: Settings


@dataclass(frozen=True)
class Entry:
    """A setting, or several that move together, and what is tried of them."""

    names: tuple[str, ...]
    choices: tuple[Choice, ...] = ()
    range: Range | None = None
    """Instead of choices, for a single setting."""
    short: str = ""
    """What the setting of a range is called in tables."""

    @property
    def key(self) -> str:
        """The setting's name, or all of them."""
        return ", ".join(self.names)

    def at(self, value: float) -> Choice:
        """Return the choice of a number of the range."""
        return Choice(f"{self.short}={value}", {self.names[0]: value})

    def draw(self, generator: random.Random) -> Choice:
        """Draw one alternative."""
        if self.range is not None:
            return self.at(self.range.draw(generator))
        return generator.choice(self.choices)


@dataclass(frozen=True)
class Space:
    entries: tuple[Entry, ...]
    paper: str = ""
    """Name of a table in `published.PAPER_TABLES`."""

    @property
    def has_ranges(self) -> bool:
        """Whether it cannot be tried whole."""
        return any(entry.range is not None for entry in self.entries)

    @property
    def names(self) -> list[str]:
        """All settings, in order."""
        return [name for entry in self.entries for name in entry.names]

    def to_dict(self) -> dict[str, Any]:
        """Return what is tried as plain JSON values, entry by entry."""
        return json.loads(json.dumps({entry.key: _plain(entry) for entry in self.entries}))


def load_space(path: str) -> Space:
    """Run a space file and return what is in it.

    Args:
        path: Of a file, or the name of one that comes with the package.

    Raises:
        FileNotFoundError: No such file.
        ValueError: No `SPACE` in it, an empty one, or one of another form.
    """
    file = Path(path) if Path(path).is_file() else SHIPPED / f"{path}.py"
    if not file.is_file():
        names = ", ".join(sorted(item.stem for item in SHIPPED.glob("*.py")))
        raise FileNotFoundError(
            f"no search space {path}: expected a Python file with SPACE = {{...}}, or one of the "
            f"package's: {names}"
        )
    content = runpy.run_path(str(file))
    paper = content.get("PAPER", "")
    if paper and paper not in PAPER_TABLES:
        raise ValueError(f"{path}: PAPER is {paper!r}, expected one of {', '.join(PAPER_TABLES)}")
    try:
        return make_space(content.get("SPACE"), paper)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def make_space(space: Any, paper: str = "") -> Space:
    """Check a space's form; what its settings are and may be is `candidates`' to check.

    Raises:
        ValueError: Empty, or of another form than the module's docstring shows.
    """
    if not isinstance(space, Mapping) or not space:
        raise ValueError(f"SPACE is {space!r}, expected a dict of setting names to lists")
    short = short_names([name for key in space for name in _names(key)])
    entries = tuple(_entry(key, values, short) for key, values in space.items())
    names = [name for entry in entries for name in entry.names]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"{', '.join(twice)} stands in several entries, expected once")
    return Space(entries, paper)


def _names(key: Any) -> tuple[str, ...]:
    names = key if isinstance(key, tuple) else (key,)
    if not names or not all(isinstance(name, str) for name in names):
        raise ValueError(f"key {key!r}, expected a setting's name or a tuple of names")
    if "seed" in names:
        raise ValueError("'seed' is no setting to search over: --seeds repeats over seeds")
    return names


def short_names(names: Sequence[str]) -> dict[str, str]:
    """Cut names to as many of their last parts as tell them from all others."""
    return {name: _cut(name, [other for other in names if other != name]) for name in names}


def _cut(name: str, others: Sequence[str]) -> str:
    parts = name.split(".")
    ends = (".".join(parts[-count:]) for count in range(1, len(parts) + 1))
    return next((end for end in ends if not any(_ends(other, end) for other in others)), name)


def _ends(name: str, end: str) -> bool:
    return f".{name}".endswith(f".{end}")


def _entry(key: Any, values: Any, short: Mapping[str, str]) -> Entry:
    names = _names(key)
    if isinstance(values, Range) and len(names) == 1:
        return Entry(names, range=values, short=short[names[0]])
    if not isinstance(values, list | dict) or not values:
        raise ValueError(
            f"{key!r} is {values!r}, expected a list with at least one value, a dict of names to "
            "values, or uniform or log_uniform for a single setting"
        )
    labels = values if isinstance(values, dict) else [None] * len(values)
    listed = list(values.values() if isinstance(values, dict) else values)
    if isinstance(key, tuple):
        for value in listed:
            if not isinstance(value, tuple | list) or len(value) != len(key):
                raise ValueError(f"{value!r} under {key!r}, expected {len(key)} values")
    else:
        listed = [(value,) for value in listed]
    choices = []
    for label, value in zip(labels, listed, strict=True):
        settings = dict(zip(names, value, strict=True))
        named = ", ".join(f"{short[name]}={item}" for name, item in settings.items())
        choices.append(Choice(label or named, settings))
    return Entry(names, tuple(choices))


def _plain(entry: Entry) -> Any:
    if entry.range is not None:
        kind = "log_uniform" if entry.range.is_log else "uniform"
        return {kind: [entry.range.low, entry.range.high]}
    return {choice.label: list(choice.settings.values()) for choice in entry.choices}


def choice_labels(choices: Sequence[Choice]) -> str:
    """Name a combination."""
    return ", ".join(choice.label for choice in choices)
