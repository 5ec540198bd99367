"""Running a search: how many trials at once, what is refused, and one tiny search on Ray."""

import json
from pathlib import Path

import pytest

from vibe_ray.config import TrainConfig, override
from vibe_ray.recipes import smoke
from vibe_ray.training.loop import SCORE
from vibe_ray.training.reporting import read_metrics
from vibe_ray.tuning.ranking import Outcome
from vibe_ray.tuning.search import Search, check_search, num_concurrent, run_search
from vibe_ray.tuning.spaces import Space, Trial, plan_trials


@pytest.mark.parametrize(
    ("cpus", "gpus", "workers", "expected"),
    [
        (3, 0, 1, 2),
        (3, 0, 2, 1),
        (3, 0, 0, 2),
        (64, 0, 4, 14),
        (64, 8, 4, 2),
        (64, 8, 1, 8),
        (2, 0, 0, 1),
    ],
)
def test_trials_at_once(cpus: float, gpus: float, workers: int, expected: int) -> None:
    assert num_concurrent(cpus, gpus, workers) == expected


@pytest.mark.parametrize("workers", range(1, 9))
@pytest.mark.parametrize("cpus", [9, 16, 63, 200])
def test_running_trials_leave_room_for_their_readers(cpus: int, workers: int) -> None:
    trials = num_concurrent(cpus, 0, workers)
    assert trials >= 1
    assert cpus - trials * workers >= max(1, 0.5 * trials)


@pytest.fixture
def config(noise_data: Path) -> TrainConfig:
    return override(
        smoke(),
        {
            "data.root": str(noise_data),
            "initial_regressor": "scratch",
            "generator.feature_dim": 32,
            "generator.regressor.hidden_dim": 16,
            "steps_per_epoch": 2,
        },
    )


def trials_of(config: TrainConfig) -> list[Trial]:
    return plan_trials(config, {"losses.adversarial": [0.0, 0.5]}, num_seeds=2)


def test_data_that_fit_no_candidate_are_found_first(config: TrainConfig, tmp_path: Path) -> None:
    trials = plan_trials(config, {"data.window_length": [16, 99]}, 1)
    with pytest.raises(ValueError, match="99"):
        check_search(trials, Search(name="search", storage=str(tmp_path)))


def test_features_of_another_width_are_found_first(config: TrainConfig, tmp_path: Path) -> None:
    trials = plan_trials(config, {"generator.feature_dim": [32, 33]}, 1)
    with pytest.raises(ValueError, match="width 32"):
        check_search(trials, Search(name="search", storage=str(tmp_path)))


def test_the_folder_of_another_search_is_refused(config: TrainConfig, tmp_path: Path) -> None:
    (tmp_path / "search").mkdir()
    with pytest.raises(ValueError, match="exists already: --name NAME"):
        check_search(trials_of(config), Search(name="search", storage=str(tmp_path)))


def test_a_storage_that_cannot_be_written_is_refused(config: TrainConfig, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(PermissionError, match="cannot write"):
        check_search(trials_of(config), Search(name="search", storage=str(tmp_path / "file")))


def test_fewer_than_no_workers_are_refused(config: TrainConfig, tmp_path: Path) -> None:
    search = Search(name="search", storage=str(tmp_path), workers_per_trial=-1)
    with pytest.raises(ValueError, match="--workers-per-trial is -1, expected 0"):
        check_search(trials_of(config), search)


def check_run(outcome: Outcome, run_dir: Path, epochs: int) -> None:
    metrics = read_metrics(str(run_dir))
    assert len(metrics) == epochs
    assert outcome.score == min(epoch[SCORE] for epoch in metrics)
    assert outcome.checkpoint is not None
    written = json.loads((Path(outcome.checkpoint) / "config.json").read_text())
    assert written["seed"] == outcome.seed
    assert written["losses"]["adversarial"] == outcome.settings["losses.adversarial"]


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.usefixtures("ray_cluster")
def test_a_search_ranks_what_trained_and_tells_what_failed(
    config: TrainConfig, tmp_path: Path
) -> None:
    search = Search(name="search", storage=str(tmp_path), workers_per_trial=0)
    space: Space = {
        ("losses.adversarial", "optim.generator_lr"): [(0.0, 1e-4), (0.5, 1e30)],
    }
    result = run_search(plan_trials(config, space, num_seeds=2), search)
    good, bad = result.ranked
    assert (good.num_seeds, good.num_failed, bad.num_seeds, bad.num_failed) == (2, 0, 0, 2)
    for outcome in good.trials:
        check_run(outcome, tmp_path / "search/trials" / outcome.name, config.epochs)
    for outcome in bad.trials:
        assert "was not finite at step" in str(outcome.error)
    plain = json.loads(Path(result.path).read_text())
    assert plain["best"]["checkpoint"] == good.checkpoint


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.usefixtures("ray_cluster")
def test_trials_train_with_workers_of_ray_train(config: TrainConfig, tmp_path: Path) -> None:
    search = Search(name="search", storage=str(tmp_path), workers_per_trial=1)
    trials = plan_trials(config, {"losses.adversarial": [0.0, 0.5]}, num_seeds=1)
    result = run_search(trials, search)
    assert [row.num_failed for row in result.ranked] == [0, 0]
    for row in result.ranked:
        for outcome in row.trials:
            check_run(outcome, tmp_path / "search/trials" / outcome.name, config.epochs)
