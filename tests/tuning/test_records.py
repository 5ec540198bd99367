"""A search's folder: what it says about each trial, and which other searches it refuses."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from vibe_ray import storage
from vibe_ray.config import TrainConfig
from vibe_ray.runs.log import SCORE, write_failure
from vibe_ray.settings import override
from vibe_ray.tuning.candidates import Candidate, Trial, grid
from vibe_ray.tuning.records import (
    Subject,
    check_directory,
    hash_data,
    read_outcome,
    run_dir,
    write_lost,
    write_search,
    write_stopped,
)
from vibe_ray.tuning.spaces import make_space

BASE = TrainConfig(epochs=2, steps_per_epoch=3)
SPACE = make_space({"losses.adversarial": [0.0, 0.5]})
TRIAL = Trial(candidate=Candidate(number=1, label="", settings={}), seed=0)


def subject(**changes: Any) -> Subject:
    known: dict[str, Any] = {
        **{"base": BASE, "space": SPACE, "scheduler": "none", "search": "grid"},
        "data_hashes": {"open_3d/val": "abc"},
    }
    return Subject(**{**known, **changes})


def write_run(directory: str, scores: list[float], checkpoints: list[int]) -> None:
    folder = run_dir(directory, TRIAL)
    rows = [
        {"epoch": epoch, "step": 3 * epoch, SCORE: score}
        for epoch, score in enumerate(scores, start=1)
    ]
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    storage.write_bytes_atomic(storage.join(folder, "metrics.jsonl"), lines.encode())
    for step in checkpoints:
        storage.write_json(storage.join(folder, f"step_{step:07d}", "manifest.json"), {})


@pytest.fixture(params=["local", "s3"])
def directory(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    root = str(tmp_path) if request.param == "local" else request.getfixturevalue("s3")
    return storage.join(root, "search")


def test_a_trial_that_has_not_begun_is_unfinished(directory: str) -> None:
    assert read_outcome(directory, TRIAL, BASE).state == "unfinished"


def test_a_finished_run_is_known_from_its_own_files(directory: str) -> None:
    write_run(directory, [50.0, 51.0], [3, 6])
    outcome = read_outcome(directory, TRIAL, BASE)
    assert (outcome.state, outcome.score, outcome.num_epochs) == ("finished", 50.0, 2)
    assert outcome.metrics[SCORE] == 50.0
    assert outcome.checkpoint is not None
    assert outcome.checkpoint.endswith("candidate_001_seed_0/step_0000003")


@pytest.mark.parametrize(("scores", "steps"), [([50.0], [3]), ([50.0, 49.0], [3]), ([], [])])
def test_a_run_without_its_last_epoch_or_checkpoint_goes_on(
    directory: str, scores: list[float], steps: list[int]
) -> None:
    write_run(directory, scores, steps)
    outcome = read_outcome(directory, TRIAL, BASE)
    assert (outcome.state, outcome.num_epochs) == ("unfinished", len(scores))


def test_a_stopped_trial_stays_stopped_at_what_was_heard_of_it(directory: str) -> None:
    write_run(directory, [50.0, 49.0], [3, 6])
    write_stopped(directory, TRIAL, 1)
    outcome = read_outcome(directory, TRIAL, BASE)
    assert (outcome.state, outcome.score, outcome.num_epochs) == ("stopped", 50.0, 1)


def test_a_diverged_run_has_failed_for_good_and_a_lost_one_goes_on(directory: str) -> None:
    write_run(directory, [50.0], [3])
    write_lost(directory, TRIAL, "the node died")
    outcome = read_outcome(directory, TRIAL, BASE)
    assert (outcome.state, outcome.error) == ("unfinished", "the node died")
    write_failure(run_dir(directory, TRIAL), FloatingPointError("loss not finite at step 5"))
    outcome = read_outcome(directory, TRIAL, BASE)
    assert (outcome.state, outcome.error) == ("failed", "loss not finite at step 5")
    assert outcome.score is None


def test_a_run_whose_disk_was_full_goes_on(directory: str) -> None:
    write_run(directory, [50.0], [3])
    write_failure(run_dir(directory, TRIAL), storage.DiskFullError("no room for a/b"))
    outcome = read_outcome(directory, TRIAL, BASE)
    assert (outcome.state, outcome.error) == ("unfinished", "no room for a/b")


def test_a_search_is_taken_up_again_only_if_asked_for(directory: str) -> None:
    assert check_directory(directory, subject(), resume=False) == []
    write_search(directory, subject(), grid(BASE, SPACE))
    assert check_directory(directory, subject(), resume=True) == grid(BASE, SPACE)
    with pytest.raises(ValueError, match=r"stands in .* already: --resume continues it"):
        check_directory(directory, subject(), resume=False)


def test_there_must_be_something_to_resume(directory: str) -> None:
    with pytest.raises(FileNotFoundError, match=r"nothing to resume: no search\.json"):
        check_directory(directory, subject(), resume=True)


def test_a_folder_of_something_else_is_refused(directory: str) -> None:
    storage.write_json(storage.join(directory, "run.json"), {})
    with pytest.raises(ValueError, match="is no search: --name NAME"):
        check_directory(directory, subject(), resume=False)


@pytest.mark.parametrize("resume", [True, False])
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"scheduler": "asha"}, "--scheduler none -> asha"),
        ({"search": "random"}, "--search grid -> random"),
        ({"base": override(BASE, {"epochs": 3})}, "epochs 2 -> 3"),
        ({"space": make_space({"epochs": [1]})}, "space epochs nothing -> .*losses.adversarial"),
        ({"space": make_space({"losses.adversarial": [0.1]})}, "space losses.adversarial {"),
        ({"data_hashes": {"open_3d/val": "xyz"}}, 'manifest of open_3d/val "abc" -> "xyz"'),
    ],
)
def test_another_search_is_refused_with_what_differs(
    tmp_path: Path, changes: dict[str, Any], message: str, resume: bool
) -> None:
    write_search(str(tmp_path), subject(), [])
    with pytest.raises(ValueError, match=f"holds another search: .*{message}"):
        check_directory(str(tmp_path), subject(**changes), resume)


def test_candidates_keep_their_numbers(directory: str) -> None:
    """A space with the same entries in another order means other candidates."""
    planned = grid(BASE, SPACE)
    write_search(directory, subject(), planned)
    assert check_directory(directory, subject(), True, planned) == planned
    turned = [
        dataclasses.replace(a, settings=b.settings)
        for a, b in zip(planned, reversed(planned), strict=True)
    ]
    with pytest.raises(ValueError, match=r"candidate 0 of .* was .* and is now .*in its order"):
        check_directory(directory, subject(), True, turned)


def test_two_dimensional_sets_that_no_step_takes_are_not_asked_for(noise_data: Path) -> None:
    changes = {"data.root": str(noise_data), "data.ratio_2d": 0.0, "data.pose_2d": ("none/train",)}
    assert "none/train" not in hash_data(override(BASE, changes))


def test_data_that_decide_a_score_are_hashed(noise_data: Path) -> None:
    config = override(BASE, {"data.root": str(noise_data)})
    found = hash_data(config)
    assert sorted(found) == ["motion/train", "open_2d/train", "open_3d/train", "open_3d/val"]
    assert len(set(found.values())) == 4
