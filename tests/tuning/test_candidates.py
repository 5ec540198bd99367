"""Which candidates are tried: all of a grid, or draws, and which of them is the baseline."""

import itertools
from collections.abc import Callable

import pytest

from vibe_ray.config import TrainConfig
from vibe_ray.settings import override
from vibe_ray.tuning.candidates import (
    RECIPE_LABEL,
    Candidate,
    Trial,
    baseline,
    draws,
    grid,
    plan_trials,
)
from vibe_ray.tuning.spaces import Space, log_uniform, make_space

ADVERSARIAL = [0.0, 0.5, 2.0]
PATIENCE = [3, 5]
SPACE = make_space({"losses.adversarial": ADVERSARIAL, "optim.lr_patience": PATIENCE})
RANGES = make_space({"losses.pose": log_uniform(1, 100), "optim.lr_patience": PATIENCE})
BASE = TrainConfig()


def test_a_grid_is_all_combinations() -> None:
    found = [tuple(item.settings.values()) for item in grid(BASE, SPACE)]
    assert found == list(itertools.product(ADVERSARIAL, PATIENCE))
    assert grid(BASE, SPACE)[1].label == "adversarial=0.0, lr_patience=5"


def test_a_limit_draws_the_beginning_of_what_a_higher_one_draws_and_the_baseline() -> None:
    whole = grid(BASE, SPACE)
    for limit in range(1, len(whole)):
        some, more = grid(BASE, SPACE, limit), grid(BASE, SPACE, limit + 1)
        assert len(some) == limit
        assert all(item in more for item in some)
        assert all(item in whole for item in some), "a draw numbers nothing anew"
        assert baseline(BASE, some) == baseline(BASE, whole)
    assert grid(BASE, SPACE, 100) == whole


def test_a_range_makes_no_grid() -> None:
    with pytest.raises(ValueError, match=r"losses\.pose is a range.*--search random"):
        grid(BASE, RANGES)


def test_the_baseline_is_the_recipe_or_the_first() -> None:
    assert baseline(BASE, grid(BASE, SPACE)).settings == {
        "losses.adversarial": 0.5,
        "optim.lr_patience": 5,
    }
    assert baseline(override(BASE, {"losses.adversarial": 7}), grid(BASE, SPACE)).number == 0


def test_draws_begin_with_the_recipe_and_are_the_same_every_time() -> None:
    found = draws(BASE, RANGES, 5)
    assert found[0] == Candidate(
        number=0,
        label=RECIPE_LABEL,
        settings={"losses.pose": BASE.losses.pose, "optim.lr_patience": BASE.optim.lr_patience},
    )
    assert override(BASE, found[0].settings) == BASE
    assert [item.number for item in found] == list(range(5))
    assert draws(BASE, RANGES, 8)[:5] == found
    assert draws(override(BASE, {"seed": 1}), RANGES, 5)[1:] != found[1:]
    for item in found[1:]:
        assert 1 <= item.settings["losses.pose"] <= 100
        assert item.settings["optim.lr_patience"] in PATIENCE


def test_draws_from_few_combinations_repeat_none() -> None:
    found = draws(BASE, SPACE, 100)
    assert len({str(override(BASE, item.settings)) for item in found}) == len(found) == 6


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ({"losses.adversarail": [1.0]}, "did you mean 'losses.adversarial'"),
        ({"epochs": [1, "many"]}, "epochs is 'many', expected int"),
        ({"optim.lr_patience": [2.5]}, "optim.lr_patience is 2.5, expected int"),
        ({"losses.pose": [1.0, -1.0]}, "expected a number >= 0"),
    ],
)
def test_settings_are_checked_before_anything_runs(
    space: dict[str, list[object]], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        grid(BASE, make_space(space))
    with pytest.raises(ValueError, match=message):
        draws(BASE, make_space(space), 1)


def test_both_ends_of_a_range_are_checked() -> None:
    with pytest.raises(ValueError, match="expected a number >= 0"):
        draws(BASE, make_space({"losses.pose": log_uniform(1, 10), "losses.betas": [-1.0]}), 1)
    with pytest.raises(ValueError, match=r"epochs is 1\.5, expected int"):
        draws(BASE, make_space({"epochs": log_uniform(1.5, 10)}), 1)


def test_trials_are_candidates_times_seeds_with_their_configs() -> None:
    base = TrainConfig(seed=7, epochs=3)
    trials = plan_trials(base, grid(base, SPACE), num_seeds=2)
    assert len({trial.name for trial in trials}) == len(trials) == 12
    assert [trial.seed for trial in trials] == [7] * 6 + [8] * 6
    for trial in trials:
        changes = {**trial.candidate.settings, "seed": trial.seed}
        assert trial.config(base) == override(base, changes)


def test_names_hold_number_and_seed() -> None:
    candidate = Candidate(number=12, label="", settings={})
    assert Trial(candidate=candidate, seed=3).name == "candidate_012_seed_3"


@pytest.mark.parametrize("candidates", [grid, lambda base, space: draws(base, space, 3)])
def test_a_precision_that_each_trial_would_measure_is_refused(
    candidates: Callable[[TrainConfig, Space], list[Candidate]],
) -> None:
    with pytest.raises(ValueError, match="precision is 'auto', but a search compares"):
        candidates(override(BASE, {"precision": "auto"}), SPACE)
    with pytest.raises(ValueError, match="precision is 'auto', but a search compares"):
        candidates(BASE, make_space({"precision": ["fp32", "auto"]}))
    assert candidates(BASE, make_space({"precision": ["fp32", "bf16"]}))
