"""Which candidates does a search try, and with which seeds? Pure functions. No Ray.

A grid tries every combination, a random search draws them; both know all candidates before anything
runs. Which one is the **baseline**, with which all others are compared: the recipe itself if it is
among them; else, in a grid, the first, and in another search the recipe comes in as the first.
"""

import itertools
import random
from collections.abc import Sequence
from dataclasses import dataclass

from vibe_ray.config import TrainConfig
from vibe_ray.settings import override, to_dict
from vibe_ray.tuning.spaces import Choice, Entry, Settings, Space, choice_labels

RECIPE_LABEL = "the recipe"


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """One combination of settings; trials of it differ in their seed alone."""

    number: int
    label: str
    settings: Settings


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One training run of a search."""

    candidate: Candidate
    seed: int

    @property
    def name(self) -> str:
        """Name of the trial's run, the same whenever the same search is planned."""
        return f"candidate_{self.candidate.number:03d}_seed_{self.seed}"

    def config(self, base: TrainConfig) -> TrainConfig:
        """Return the run's config."""
        return override(base, {**self.candidate.settings, "seed": self.seed})


def grid(base: TrainConfig, space: Space, limit: int = 0) -> list[Candidate]:
    """Return every combination of the space's alternatives, the last entry's changing fastest.

    Args:
        base: What the settings are changes of.
        space: Without ranges.
        limit: Try so many of them, drawn without replacement; 0 means all. The baseline is always
            among them. A lower limit draws the beginning of what a higher one draws, and a draw
            numbers nothing anew.

    Raises:
        ValueError: An unknown setting (with the nearest one), a value of a wrong type, or a range.
    """
    if space.has_ranges:
        entry = next(entry for entry in space.entries if entry.range is not None)
        raise ValueError(
            f"{entry.key} is a range, which no grid can try whole: --search random draws from it"
        )
    check_ends(base, space)
    combinations = itertools.product(*(entry.choices for entry in space.entries))
    found = [_candidate(number, choices) for number, choices in enumerate(combinations)]
    for candidate in found:
        override(base, candidate.settings)
    if not 0 < limit < len(found):
        return found
    first = baseline(base, found)
    others = [candidate for candidate in found if candidate is not first]
    random.Random(0).shuffle(others)
    return sorted([first, *others[: limit - 1]], key=lambda candidate: candidate.number)


def draws(base: TrainConfig, space: Space, num: int) -> list[Candidate]:
    """Return the recipe and drawn combinations, `num` in all; more of them begin with the same.

    Fewer are returned where the space has no more.

    Raises:
        ValueError: An unknown setting (with the nearest one), or a value of a wrong type.
    """
    check_ends(base, space)
    generator = random.Random(base.seed)
    found = [recipe_candidate(base, space)]
    tried = {str(override(base, found[0].settings))}
    drawn_before: set[str] = set()
    for _ in range(100 * num):
        if len(found) == num:
            break
        drawn = _candidate(len(found), [entry.draw(generator) for entry in space.entries])
        if (settings := str(drawn.settings)) in drawn_before:
            continue  # a config takes a millisecond to make, a draw none
        drawn_before.add(settings)
        config = str(override(base, drawn.settings))
        if config not in tried:
            tried.add(config)
            found.append(drawn)
    return found


def check_ends(base: TrainConfig, space: Space) -> None:
    """Check every alternative, and both ends of every range.

    Raises:
        ValueError: An unknown setting (with the nearest one), or a value of a wrong type; or a
            precision that each trial would find for itself, beside others.
    """
    configs = [override(base, choice.settings) for e in space.entries for choice in _ends(e)]
    if any(config.precision == "auto" for config in (base, *configs)):
        raise ValueError(
            "precision is 'auto', but a search compares runs of one precision: give fp32, tf32 or "
            "bf16"
        )


def _ends(entry: Entry) -> Sequence[Choice]:
    if entry.range is None:
        return entry.choices
    return entry.at(entry.range.low), entry.at(entry.range.high)


def recipe_candidate(base: TrainConfig, space: Space) -> Candidate:
    """Return the recipe as it is, as candidate 0."""
    settings: Settings = {}
    for name in space.names:
        value = to_dict(base)
        for part in name.split("."):
            value = value[part]
        settings[name] = value
    return Candidate(number=0, label=RECIPE_LABEL, settings=settings)


def baseline(base: TrainConfig, candidates: Sequence[Candidate]) -> Candidate:
    """Return the candidate with which all others are compared."""
    same = (item for item in candidates if override(base, item.settings) == base)
    return next(same, candidates[0])


def plan_trials(base: TrainConfig, candidates: Sequence[Candidate], num_seeds: int) -> list[Trial]:
    """Return the trials of candidates, seed by seed, so that early ones cover all candidates.

    The recipe's seed is the first one.
    """
    return [
        Trial(candidate=candidate, seed=base.seed + offset)
        for offset in range(num_seeds)
        for candidate in candidates
    ]


def _candidate(number: int, choices: Sequence[Choice]) -> Candidate:
    settings = {name: value for choice in choices for name, value in choice.settings.items()}
    return Candidate(number=number, label=choice_labels(choices), settings=settings)
