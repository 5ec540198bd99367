"""Whose is a run's name, and where does a run start from?"""

import json
import shutil
from pathlib import Path

import pytest

from tests.training.tiny import tiny
from vibe_ray import storage
from vibe_ray.data.mixing import make_plan
from vibe_ray.runs.claims import check_name, claim_name, pinned
from vibe_ray.runs.log import SCORE, RunLog
from vibe_ray.settings import override


def finish(run_dir: Path, **scores: float) -> None:
    """Write what a run with these checkpoints leaves, as far as finding them goes."""
    rows = []
    for name, score in scores.items():
        storage.write_bytes_atomic(f"{run_dir}/{name}/manifest.json", b"{}")
        step = int(name.removeprefix("step_"))
        rows.append({"step": step, "epoch": step // 10, SCORE: score})
    RunLog(str(run_dir)).restart(rows)


def test_paths_mean_the_same_in_another_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/someone")
    config = override(
        tiny(),
        {"data.root": "data/open", "body.path": "~/smpl.npz", "initial_regressor": "scratch"},
    )
    found = pinned(config)
    assert found.data.root == f"{tmp_path}/data/open"
    assert found.body.path == "/home/someone/smpl.npz"
    assert found.initial_regressor == "scratch"
    remote = override(config, {"data.root": "s3://bucket/open", "body.path": "open"})
    assert pinned(remote) == remote


def test_a_run_that_another_starts_from_may_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    config = tiny(motion_prior="runs/prior", initial_regressor="runs/prior/last")
    finish(tmp_path / "runs/prior", step_0000010=5.0, step_0000020=6.0)
    before = pinned(config)
    assert before.motion_prior == f"{tmp_path}/runs/prior/step_0000010"
    assert before.initial_regressor == f"{tmp_path}/runs/prior/step_0000020"
    finish(tmp_path / "runs/prior", step_0000010=5.0, step_0000020=6.0, step_0000030=4.0)
    assert pinned(before) == before
    assert pinned(config).motion_prior == f"{tmp_path}/runs/prior/step_0000030"


@pytest.mark.parametrize("named", ["", "/", "/best", "/step_0000010"])
def test_a_run_that_is_resumed_stays_with_what_it_began_with(
    named: str, shards: str, tmp_path: Path
) -> None:
    config = tiny(data__root=shards, initial_regressor=f"{tmp_path}/start{named}")
    finish(tmp_path / "start", step_0000010=5.0)
    before = pinned(config)
    claim_name(f"{tmp_path}/run", before, make_plan(config.data, config.seed))
    shutil.rmtree(tmp_path / "start/step_0000010")
    finish(tmp_path / "start", step_0000010=5.0, step_0000020=4.0)
    shutil.rmtree(tmp_path / "start/step_0000010")  # pruned: no longer the best
    assert pinned(config, f"{tmp_path}/run") == before
    other = override(config, {"initial_regressor": f"{tmp_path}/start/step_0000020"})
    assert pinned(other, f"{tmp_path}/run").initial_regressor.endswith("step_0000020")


def test_a_run_stays_with_the_precision_that_was_found_when_it_began(
    shards: str, tmp_path: Path
) -> None:
    auto = tiny(data__root=shards, precision="auto")
    assert pinned(auto, str(tmp_path)).precision == "auto"
    begun = override(pinned(auto), {"precision": "bf16"})
    claim_name(str(tmp_path), begun, make_plan(begun.data, begun.seed))
    resumed = pinned(auto, str(tmp_path))
    assert resumed == begun
    check_name(str(tmp_path), True, resumed, make_plan(begun.data, begun.seed))
    assert pinned(auto).precision == "auto"


def test_a_start_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"motion_prior is '.*none': no checkpoint at"):
        pinned(tiny(motion_prior=f"{tmp_path}/none"))


def test_moved_data_are_the_same_and_other_validation_is_not(shards: str, tmp_path: Path) -> None:
    config = tiny(data__root=shards)
    plan = make_plan(config.data, config.seed)
    run_dir = str(tmp_path / "run")
    claim_name(run_dir, config, plan)
    moved = tmp_path / "moved"
    moved.symlink_to(shards)
    check_name(run_dir, True, override(config, {"data.root": str(moved)}), plan)
    with pytest.raises(ValueError, match=r"another config: optim\.generator_lr"):
        check_name(run_dir, True, override(config, {"optim.generator_lr": 0.5}), plan)

    facts = json.loads((tmp_path / "run/run.json").read_text())
    facts["data_hashes"]["validation"] = "another"
    storage.write_json(f"{run_dir}/run.json", facts)
    with pytest.raises(ValueError, match=r"manifests of data\.validation have changed"):
        check_name(run_dir, True, config, plan)
