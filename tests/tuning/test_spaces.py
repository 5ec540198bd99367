"""Search spaces: what a space file may hold, and the trials that follow from it."""

import itertools
from pathlib import Path

import pytest

from vibe_ray.config import TrainConfig, override
from vibe_ray.tuning.spaces import Space, candidates, load_space, plan_trials

ADVERSARIAL = [0.0, 0.5, 2.0]
PATIENCE = [3, 5]
SPACE: Space = {"losses.adversarial": ADVERSARIAL, "optim.lr_patience": PATIENCE}


def write(tmp_path: Path, text: str) -> str:
    path = tmp_path / "space.py"
    path.write_text(text)
    return str(path)


def test_a_file_is_plain_python(tmp_path: Path) -> None:
    path = write(tmp_path, "SPACE = {'losses.adversarial': [x / 2 for x in range(3)]}\n")
    assert load_space(path) == {"losses.adversarial": [0.0, 0.5, 1.0]}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "SPACE is None, expected a dict"),
        ("SPACE = {}", "expected a dict of setting names"),
        ("SPACE = [1]", "expected a dict of setting names"),
        ("SPACE = {'epochs': []}", "expected a list with at least one value"),
        ("SPACE = {'epochs': 3}", "expected a list with at least one value"),
        ("SPACE = {3: [1]}", "key 3, expected a setting's name"),
        ("SPACE = {'seed': [1, 2]}", "--seeds repeats over seeds"),
        ("SPACE = {('epochs', 'seed'): [(1, 2)]}", "--seeds repeats over seeds"),
        ("SPACE = {('epochs', 'steps_per_epoch'): [(1, 2, 3)]}", "expected 2 values"),
        ("SPACE = {('epochs', 'steps_per_epoch'): [7]}", "expected 2 values"),
    ],
)
def test_another_form_is_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load_space(write(tmp_path, text))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no search space .*nowhere\.py"):
        load_space(str(tmp_path / "nowhere.py"))


def test_candidates_are_all_combinations() -> None:
    found = [tuple(settings.values()) for settings in candidates(SPACE)]
    assert found == list(itertools.product(ADVERSARIAL, PATIENCE))


def test_a_tuple_of_names_moves_together() -> None:
    space: Space = {("epochs", "steps_per_epoch"): [(1, 10), (2, 5)], "losses.adversarial": [0.0]}
    assert candidates(space) == [
        {"epochs": 1, "steps_per_epoch": 10, "losses.adversarial": 0.0},
        {"epochs": 2, "steps_per_epoch": 5, "losses.adversarial": 0.0},
    ]


def test_trials_are_candidates_times_seeds_with_their_configs() -> None:
    base = TrainConfig(seed=7, epochs=3)
    trials = plan_trials(base, SPACE, num_seeds=2)
    assert len(trials) == len({trial.name for trial in trials}) == 12
    assert [trial.seed for trial in trials] == [7] * 6 + [8] * 6
    for trial in trials:
        assert trial.config == override(base, {**trial.settings, "seed": trial.seed})


def test_a_limit_draws_the_same_candidates_every_time() -> None:
    first, again = (plan_trials(TrainConfig(), SPACE, 2, limit=3) for _ in range(2))
    assert first == again
    chosen = {trial.candidate for trial in first}
    assert len(chosen) == 3
    whole = {trial.name: trial for trial in plan_trials(TrainConfig(), SPACE, 2)}
    assert all(whole[trial.name] == trial for trial in first), "a draw renames nothing"


def test_a_limit_beyond_the_space_is_the_space() -> None:
    assert len(plan_trials(TrainConfig(), SPACE, 1, limit=100)) == 6


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ({"losses.adversarail": [1.0]}, "did you mean 'losses.adversarial'"),
        ({"epochs": [1, "many"]}, "epochs is 'many', expected int"),
        ({"optim.lr_patience": [2.5]}, "optim.lr_patience is 2.5, expected int"),
    ],
)
def test_settings_are_checked_before_anything_runs(space: Space, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        plan_trials(TrainConfig(), space, 1)


@pytest.mark.parametrize(("seeds", "limit"), [(0, 0), (1, -1)])
def test_counts_are_checked(seeds: int, limit: int) -> None:
    with pytest.raises(ValueError, match="expected at least"):
        plan_trials(TrainConfig(), SPACE, seeds, limit)
