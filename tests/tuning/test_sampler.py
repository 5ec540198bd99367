"""Optuna's proposals: within the space, never twice, and better as scores come in."""

import math
import sys

import pytest

from vibe_ray.config import TrainConfig
from vibe_ray.settings import override
from vibe_ray.tuning.candidates import Candidate, recipe_candidate
from vibe_ray.tuning.sampler import Sampler, check_installed
from vibe_ray.tuning.spaces import log_uniform, make_space

BASE = TrainConfig()
SPACE = make_space(
    {
        "losses.pose": log_uniform(0.1, 1000),
        ("discriminator.pool", "discriminator.attention_layers"): {
            "concat": ("concat", 2),
            "two": ("attention", 2),
        },
    }
)


def score(candidate: Candidate) -> float:
    """Best at a pose weight of 3 with attention."""
    pool = 1.0 if candidate.settings["discriminator.pool"] == "concat" else 0.0
    return abs(math.log10(candidate.settings["losses.pose"] / 3)) + pool


def search(sampler: Sampler, start: int, stop: int) -> list[Candidate]:
    found = []
    for number in range(start, stop):
        candidate = sampler.ask(number)
        assert candidate is not None
        sampler.tell(candidate, score(candidate))
        found.append(candidate)
    return found


def test_proposals_come_closer_to_what_scores_well() -> None:
    found = search(Sampler(BASE, SPACE), 0, 40)
    assert all(0.1 <= item.settings["losses.pose"] <= 1000 for item in found)
    early, late = (sorted(map(score, part))[5] for part in (found[:10], found[-10:]))
    assert late < early
    assert found == search(Sampler(BASE, SPACE), 0, 40), "the same every time"


def test_a_search_taken_up_again_knows_what_it_was_told() -> None:
    before = search(Sampler(BASE, SPACE), 0, 30)
    again = Sampler(BASE, SPACE, len(before))
    for candidate in before:
        again.tell(candidate, score(candidate))
    after = search(again, 30, 40)
    assert sorted(map(score, after))[5] < sorted(map(score, before[:10]))[5]
    configs = {str(override(BASE, item.settings)) for item in before + after}
    assert len(configs) == 40


def test_candidates_outside_the_space_and_failures_are_no_harm() -> None:
    sampler = Sampler(BASE, make_space({"losses.pose": log_uniform(1, 2)}))
    sampler.tell(recipe_candidate(BASE, make_space({"losses.pose": [60.0]})), 50.0)
    failed = sampler.ask(1)
    assert failed is not None
    sampler.tell(failed, None)
    assert sampler.ask(2) is not None


def test_a_space_of_few_combinations_is_exhausted() -> None:
    space = make_space({"losses.adversarial": [0.0, 0.5, 1.0]})
    sampler = Sampler(BASE, space)
    sampler.tell(recipe_candidate(BASE, space), 50.0)
    found = [sampler.ask(number) for number in (1, 2)]
    assert {item.settings["losses.adversarial"] for item in found if item} == {0.0, 1.0}
    assert sampler.ask(3) is None


def test_what_is_missing_is_said_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(ImportError, match=r"pip install 'vibe_ray\[search\]'.*--search random"):
        check_installed()
