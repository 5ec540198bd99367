"""A search space: which settings are tried, and the trials that follow. No Ray.

A space is a Python file with a dict `SPACE`: dotted setting names to lists of values. Every
combination of all lists is one candidate. A key that is a tuple of names moves these together:

    SPACE = {
        "losses.adversarial": [0.0, 0.5, 2.0],
        ("data.window_length", "data.window_stride"): [(16, 16), (32, 32)],
    }
"""

import itertools
import random
import runpy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vibe_ray.config import TrainConfig, override

Space = Mapping[str | tuple[str, ...], Sequence[Any]]
Settings = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One training run of a search."""

    candidate: int
    """Number of the combination of settings; trials of one candidate differ in seed alone."""
    settings: Settings
    seed: int
    config: TrainConfig

    @property
    def name(self) -> str:
        """Name of the trial's run, the same whenever the same search is planned."""
        return f"candidate_{self.candidate:03d}_seed_{self.seed}"


def load_space(path: str) -> Space:
    """Run a space file and return its `SPACE`.

    Raises:
        FileNotFoundError: No such file.
        ValueError: No `SPACE` in it, an empty one, or one of another form.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(
            f"no search space {path}: expected a Python file with SPACE = {{...}}"
        )
    space = runpy.run_path(path).get("SPACE")
    if not isinstance(space, Mapping) or not space:
        raise ValueError(f"{path}: SPACE is {space!r}, expected a dict of setting names to lists")
    for key, values in space.items():
        _check_entry(path, key, values)
    return space


def _check_entry(path: str, key: Any, values: Any) -> None:
    names = key if isinstance(key, tuple) else (key,)
    if not names or not all(isinstance(name, str) for name in names):
        raise ValueError(f"{path}: key {key!r}, expected a setting's name or a tuple of names")
    if "seed" in names:
        raise ValueError(f"{path}: 'seed' is no setting to search over: --seeds repeats over seeds")
    if not isinstance(values, list) or not values:
        raise ValueError(f"{path}: {key!r} is {values!r}, expected a list with at least one value")
    if isinstance(key, tuple):
        for value in values:
            if not isinstance(value, tuple | list) or len(value) != len(key):
                raise ValueError(f"{path}: {value!r} under {key!r}, expected {len(key)} values")


def candidates(space: Space) -> list[Settings]:
    """Return every combination of the space's values, the last key's changing fastest."""
    return [
        {name: value for part in parts for name, value in part.items()}
        for parts in itertools.product(*(_alternatives(*entry) for entry in space.items()))
    ]


def _alternatives(key: str | tuple[str, ...], values: Sequence[Any]) -> list[Settings]:
    if isinstance(key, tuple):
        return [dict(zip(key, value, strict=True)) for value in values]
    return [{key: value} for value in values]


def plan_trials(config: TrainConfig, space: Space, num_seeds: int, limit: int = 0) -> list[Trial]:
    """Return the trials of a grid search, seed by seed, so that early ones cover all candidates.

    Args:
        config: What the settings are changes of; its seed is the first one.
        space: See the module's docstring.
        num_seeds: Repetitions of every candidate.
        limit: Try this many candidates, drawn without replacement; 0 means all of them. The draw
            is the same every time.

    Raises:
        ValueError: An unknown setting (with the nearest one), or a value of a wrong type.
    """
    if num_seeds < 1 or limit < 0:
        raise ValueError(f"--seeds is {num_seeds} and --trials {limit}, expected at least 1 and 0")
    numbered = list(enumerate(candidates(space)))
    if 0 < limit < len(numbered):
        numbered = sorted(random.Random(0).sample(numbered, limit), key=lambda item: item[0])
    return [
        Trial(
            candidate=number,
            settings=settings,
            seed=config.seed + offset,
            config=override(config, {**settings, "seed": config.seed + offset}),
        )
        for offset in range(num_seeds)
        for number, settings in numbered
    ]
