"""Running a search: how many trials at once, what is refused, and tiny searches on Ray."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from tests.data import noise
from vibe_ray.config import TrainConfig
from vibe_ray.distributed.launch import train
from vibe_ray.distributed.search import prepare_search, run_search
from vibe_ray.recipes import motion_prior, smoke
from vibe_ray.runs.log import SCORE, read_metrics
from vibe_ray.settings import override
from vibe_ray.training.launch import Launch
from vibe_ray.tuning.plan import Search
from vibe_ray.tuning.ranking import Outcome, Ranked
from vibe_ray.tuning.spaces import Space, log_uniform, make_space

TWO = make_space({"losses.adversarial": [0.0, 0.5]})


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


def search(tmp_path: Path, **changes: Any) -> Search:
    known: dict[str, Any] = {"name": "search", "storage": str(tmp_path), "workers_per_trial": 0}
    return Search(**{**known, **changes})


def refused(
    config: TrainConfig, space: Space, where: Search, kind: type[Exception] = ValueError
) -> str:
    with pytest.raises(kind) as error:
        prepare_search(config, space, where)
    assert not Path(where.directory, "search.json").exists(), "a refused search claims no folder"
    return str(error.value)


def test_data_that_fit_no_candidate_are_found_first(config: TrainConfig, tmp_path: Path) -> None:
    space = make_space({"data.window_length": [16, 99]})
    assert "99" in refused(config, space, search(tmp_path))


def test_features_of_another_width_are_found_first(config: TrainConfig, tmp_path: Path) -> None:
    space = make_space({"generator.feature_dim": [32, 33]})
    assert "width 32" in refused(config, space, search(tmp_path))


def test_a_folder_of_something_else_is_refused(config: TrainConfig, tmp_path: Path) -> None:
    (tmp_path / "search").mkdir()
    (tmp_path / "search/notes.txt").write_text("mine")
    assert "is no search: --name NAME" in refused(config, TWO, search(tmp_path))


def test_a_search_that_the_cluster_refuses_leaves_its_name_free(
    config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def connect(workers: int, device: str, flag: str) -> None:
        raise ValueError(f"{flag} is {workers}, but the cluster has 2 CPUs, one for readers")

    monkeypatch.setattr("vibe_ray.distributed.search.connect", connect)
    where = search(tmp_path, workers_per_trial=1)
    for _ in range(2):
        with pytest.raises(ValueError, match="--workers-per-trial is 1, but the cluster has 2 CPU"):
            run_search(config, TWO, where)


def test_a_storage_that_cannot_be_written_is_refused(config: TrainConfig, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(PermissionError, match="cannot write"):
        prepare_search(config, TWO, search(tmp_path / "file"))


def test_more_workers_than_the_machine_has_are_refused(
    config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ray.is_initialized", lambda: False)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    text = refused(config, TWO, search(tmp_path, workers_per_trial=500))
    assert text.startswith("--workers-per-trial is 500, but this machine has")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"workers_per_trial": -1}, "--workers-per-trial is -1, expected 0 or more"),
        ({"num_seeds": 0}, "--seeds is 0, expected 1 or more"),
        ({"num_trials": -1}, "--trials is -1, expected 0 or more"),
    ],
)
def test_counts_are_checked(tmp_path: Path, changes: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        search(tmp_path, **changes)


def test_a_search_that_was_prepared_is_known_again(config: TrainConfig, tmp_path: Path) -> None:
    prepare_search(config, TWO, search(tmp_path)).claim()
    with pytest.raises(ValueError, match="--resume continues it"):
        prepare_search(config, TWO, search(tmp_path))
    again = prepare_search(config, TWO, search(tmp_path, resume=True, num_seeds=5))
    assert len(again.candidates) == 2
    other = override(config, {"epochs": 5})
    with pytest.raises(ValueError, match="another search: epochs 2 -> 5"):
        prepare_search(other, TWO, search(tmp_path, resume=True))


def check_run(outcome: Outcome, tmp_path: Path, epochs: int) -> None:
    metrics = read_metrics(str(tmp_path / "search/trials" / outcome.trial.name))
    assert len(metrics) == outcome.num_epochs == epochs
    assert outcome.score == min(epoch[SCORE] for epoch in metrics)
    assert outcome.checkpoint is not None
    written = json.loads((Path(outcome.checkpoint) / "config.json").read_text())
    assert written["seed"] == outcome.trial.seed
    settings = outcome.trial.candidate.settings
    assert written["losses"]["adversarial"] == settings["losses.adversarial"]


def scores(ranked: list[Ranked]) -> list[tuple[str, int, float | None]]:
    return [
        (row.candidate.label, outcome.trial.seed, outcome.score)
        for row in ranked
        for outcome in row.outcomes
    ]


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.usefixtures("ray_cluster")
def test_a_search_ranks_what_trained_and_tells_what_failed(
    config: TrainConfig, tmp_path: Path
) -> None:
    settings = ("losses.adversarial", "optim.generator_lr")
    space = make_space({settings: {"good": (0.0, 1e-4), "bad": (0.5, 1e30)}})
    ranked = run_search(config, space, search(tmp_path, num_seeds=2)).ranked
    good, bad = ranked
    assert (good.num_seeds, good.num_failed, bad.num_seeds, bad.num_failed) == (2, 0, 0, 2)
    for outcome in good.outcomes:
        check_run(outcome, tmp_path, config.epochs)
    for outcome in bad.outcomes:
        assert "was not finite at step" in str(outcome.error)
    assert not (tmp_path / "search/tune").exists(), "Tune's own files go"

    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "search/trials").rglob("*")}
    again = run_search(config, space, search(tmp_path, num_seeds=2, resume=True)).ranked
    assert scores(again) == scores(ranked)
    after = {path: path.stat().st_mtime_ns for path in (tmp_path / "search/trials").rglob("*")}
    assert after == before, "nothing is run again"


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.usefixtures("ray_cluster")
def test_workers_of_ray_train_give_what_a_run_in_this_process_gives(
    config: TrainConfig, tmp_path: Path
) -> None:
    own = train(
        override(config, {"losses.adversarial": 0.0}),
        Launch(name="own", storage=str(tmp_path), workers=0),
    )
    space = make_space({"losses.adversarial": [0.0]})
    where = search(tmp_path, num_seeds=1, workers_per_trial=1)
    (row,) = run_search(config, space, where).ranked
    check_run(row.outcomes[0], tmp_path, config.epochs)
    assert row.median == pytest.approx(min(epoch[SCORE] for epoch in own.metrics))


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.usefixtures("ray_cluster")
def test_asha_stops_trials_and_seeds_are_spent_on_those_that_are_left(
    config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vibe_ray.distributed.search.num_concurrent", lambda *_: 1)
    rates = {"still": 1e-12, "wild": 0.1, "wilder": 0.2}
    settings = ("losses.adversarial", "optim.generator_lr")
    space = make_space({settings: {label: (0.0, rate) for label, rate in rates.items()}})
    where = search(tmp_path, num_seeds=2, scheduler="asha")
    ranked = run_search(config, space, where).ranked
    states = {row.candidate.label: [o.state for o in row.outcomes] for row in ranked}
    assert states == {
        "still": ["finished", "finished"],
        "wild": ["stopped"],
        "wilder": ["stopped"],
    }
    assert all(row.outcomes[0].num_epochs == 1 for row in ranked[1:])
    again = run_search(config, space, dataclasses.replace(where, resume=True)).ranked
    assert scores(again) == scores(ranked)


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.usefixtures("ray_cluster")
def test_optuna_proposes_and_is_taken_up_again(config: TrainConfig, tmp_path: Path) -> None:
    space = make_space({"losses.adversarial": log_uniform(0.01, 10)})
    where = search(tmp_path, num_seeds=1, search="optuna", num_trials=2)
    ranked = run_search(config, space, where).ranked
    assert sorted(row.candidate.number for row in ranked) == [0, 1]
    assert all(row.num_seeds == 1 for row in ranked)
    more = dataclasses.replace(where, resume=True, num_trials=3)
    again = run_search(config, space, more).ranked
    assert set(scores(ranked)) < set(scores(again))
    assert len(again) == 3


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.usefixtures("ray_cluster")
def test_motion_priors_are_searched_by_what_they_lose(tmp_path: Path) -> None:
    for split, lengths in (("train", (40, 30)), ("val", (20, 33))):
        noise.write(str(tmp_path / "data"), f"motion/{split}", lengths)
    small = {"epochs": 2, "steps_per_epoch": 2, "prior.hidden_dim": 8, "data.motion_batch_size": 4}
    config = override(motion_prior(), {"data.root": str(tmp_path / "data"), **small})
    space = make_space({"optim.prior_lr": {"slow": 1e-9, "fast": 1e-2}})
    where = search(tmp_path, num_seeds=1, scheduler="asha")
    for outcome in (o for row in run_search(config, space, where).ranked for o in row.outcomes):
        metrics = read_metrics(str(tmp_path / "search/trials" / outcome.trial.name))
        losses = [epoch["val/reconstruction_mm"] for epoch in metrics]
        assert outcome.score == min(losses[: outcome.num_epochs])
