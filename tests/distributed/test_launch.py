"""Launching: what is refused before anything starts, and runs in this process and on Ray."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from tests.data import noise
from tests.training.tiny import (
    NO_DROPOUT,
    largest_difference,
    power_failing,
    tiny,
    tiny_frames,
    tiny_prior,
)
from vibe_ray import storage
from vibe_ray.config import TrainConfig
from vibe_ray.data.shards import ShardWriter
from vibe_ray.distributed.launch import fastest_of_workers, train
from vibe_ray.inference import Predictor
from vibe_ray.runs.checkpoints import find_checkpoint
from vibe_ray.training.launch import Launch, RunResult
from vibe_ray.training.state import TrainState


def launch(storage_path: Path | str, name: str = "run", **changes: object) -> Launch:
    return Launch(**{"name": name, "storage": str(storage_path), "workers": 0, **changes})  # type: ignore[arg-type]


def final_weights(result: RunResult) -> dict[str, dict[str, Tensor]]:
    with storage.local_copy(result.last) as directory:
        return {path.name: load_file(path) for path in directory.glob("*.safetensors")}


def rows(result: RunResult) -> list[dict[str, float]]:
    return [
        {name: value for name, value in row.items() if not name.startswith("system/")}
        for row in result.metrics
    ]


def refused(config: TrainConfig, where: Launch, kind: type[Exception] = ValueError) -> str:
    with pytest.raises(kind) as error:
        train(config, where)
    return str(error.value)


@pytest.fixture(scope="module")
def finished(shards: str, tmp_path_factory: pytest.TempPathFactory) -> RunResult:
    return train(tiny(data__root=shards), launch(tmp_path_factory.mktemp("runs")))


def test_a_run_leaves_checkpoints_and_metrics(finished: RunResult) -> None:
    folder = Path(finished.run_dir)
    assert {p.name for p in folder.iterdir()} == {
        *("run.json", "metrics.jsonl", "tensorboard", "owner-00001.json"),
        *("step_0000003", "step_0000006"),
    }
    assert [(row["epoch"], row["step"]) for row in finished.metrics] == [(1, 3), (2, 6)]
    assert Path(finished.last).name == "step_0000006"
    best = min(finished.metrics, key=lambda row: row["val/pa_mpjpe_mm"])
    manifest = json.loads((Path(finished.best) / "manifest.json").read_text())
    assert manifest["metrics"] == best
    assert manifest["data_hash"] == json.loads((folder / "run.json").read_text())["data_hash"]
    assert find_checkpoint(finished.run_dir) == finished.best
    Predictor.from_checkpoint(finished.last)


@pytest.mark.parametrize("minutes", [0.0, -1.0, float("nan")])
def test_a_watch_without_time_is_refused(minutes: float, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"--hang-minutes is .*, expected more than 0"):
        launch(tmp_path, hang_minutes=minutes)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_told_before_the_name_is_taken(
    shards: str, tmp_path: Path
) -> None:
    message = refused(tiny(data__root=shards, device="cuda"), launch(tmp_path))
    assert "no GPU that torch can use" in message
    assert not (tmp_path / "run").exists()


def test_a_run_equals_itself(finished: RunResult, shards: str, tmp_path: Path) -> None:
    again = train(tiny(data__root=shards), launch(tmp_path))
    assert rows(again) == rows(finished)
    for name, weights in final_weights(finished).items():
        assert largest_difference(final_weights(again)[name], weights) == 0
    other = train(tiny(data__root=shards, seed=1), launch(tmp_path, "other"))
    assert rows(other) != rows(finished)


@pytest.mark.parametrize("step", [1, 4])
def test_a_run_that_was_cut_off_ends_as_if_it_was_not(
    finished: RunResult, shards: str, tmp_path: Path, step: int
) -> None:
    config = tiny(data__root=shards)
    with power_failing(TrainState, step):
        train(config, launch(tmp_path))
    result = train(config, launch(tmp_path, resume=True))
    assert rows(result) == rows(finished)
    for name, weights in final_weights(finished).items():
        assert largest_difference(final_weights(result)[name], weights) == 0


def test_a_run_whose_start_is_gone_can_be_resumed(
    finished: RunResult, shards: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = shutil.copytree(finished.last, tmp_path / "start")
    config = tiny(data__root=shards, initial_regressor=str(start), optim__average_decay=0.9)
    expected = train(config, launch(tmp_path, "whole"))
    with power_failing(TrainState, 4):
        train(config, launch(tmp_path))
    shutil.rmtree(start)
    found = train(config, launch(tmp_path, resume=True))
    assert rows(found) == rows(expected)
    for name, weights in final_weights(expected).items():
        assert largest_difference(final_weights(found)[name], weights) == 0


def test_a_run_begins_with_the_precision_that_is_fastest_and_goes_on_with_it(
    finished: RunResult, shards: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    auto = tiny(data__root=shards, precision="auto")
    monkeypatch.setattr("vibe_ray.training.launch.fastest", lambda device: "bf16")
    with power_failing(TrainState, 4):
        train(auto, launch(tmp_path))
    monkeypatch.setattr("vibe_ray.training.launch.fastest", lambda device: "fp32")
    found = train(auto, launch(tmp_path, resume=True))
    expected = train(tiny(data__root=shards, precision="bf16"), launch(tmp_path, "plain"))
    assert rows(found) == rows(expected) != rows(finished)
    saved = json.loads((Path(found.run_dir) / "run.json").read_text())
    assert saved["config"]["precision"] == "bf16"


def test_a_finished_run_taken_up_again_is_left_as_it_is(
    finished: RunResult, shards: str, tmp_path: Path
) -> None:
    shutil.copytree(finished.run_dir, tmp_path / "run")
    result = train(tiny(data__root=shards), launch(tmp_path, resume=True))
    assert result.metrics == finished.metrics


def test_a_finished_run_needs_no_cluster_to_mend_its_log(
    finished: RunResult, shards: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was killed between its last checkpoint and the log's last line."""
    monkeypatch.setattr("vibe_ray.distributed.launch.connect", None)
    shutil.copytree(finished.run_dir, tmp_path / "run")
    log = tmp_path / "run/metrics.jsonl"
    log.write_text(log.read_text().splitlines(keepends=True)[0])
    result = train(tiny(data__root=shards), launch(tmp_path, resume=True, workers=2))
    assert result.metrics == finished.metrics


def test_a_run_in_an_object_store(
    finished: RunResult, shards: str, s3: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tiny(data__root=shards)
    with power_failing(TrainState, 4):
        train(config, launch(f"{s3}/runs"))
    result = train(config, launch(f"{s3}/runs", resume=True))
    assert result.last == f"{s3}/runs/run/step_0000006"
    assert rows(result) == rows(finished)
    for name, weights in final_weights(finished).items():
        assert largest_difference(final_weights(result)[name], weights) == 0


def test_only_the_best_and_the_latest_checkpoints_stay(
    shards: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores = iter([70.0, 60.0, 65.0, 66.0, 67.0])
    monkeypatch.setattr(TrainState, "validate", lambda self: {"pa_mpjpe_mm": next(scores)})
    config = tiny(data__root=shards, epochs=5, steps_per_epoch=1, checkpoints_kept=3)
    result = train(config, launch(tmp_path))
    kept = sorted(path.name for path in Path(result.run_dir).glob("step_*"))
    assert kept == ["step_0000002", "step_0000004", "step_0000005"]
    assert len(result.metrics) == 5


def test_without_a_discriminator_no_motion_decides_anything(shards: str, tmp_path: Path) -> None:
    result = train(tiny(data__root=shards, losses__adversarial=0.0), launch(tmp_path))
    assert list(final_weights(result)) == ["generator.safetensors"]


@pytest.mark.parametrize("parts", [1, 2])
def test_without_a_discriminator_no_motion_is_needed(
    parts: int, shards: str, tmp_path: Path
) -> None:
    shutil.copytree(shards, tmp_path / "data", ignore=shutil.ignore_patterns("motion"))
    alone = {"losses__adversarial": 0.0, "optim__accumulate": parts}
    motionless = tiny(data__root=str(tmp_path / "data"), data__motion_batch_size=0, **alone)
    found = train(motionless, launch(tmp_path))
    expected = train(tiny(data__root=shards, **alone), launch(tmp_path, "with_motion"))
    assert rows(found) == rows(expected)
    for name, weights in final_weights(expected).items():
        assert largest_difference(final_weights(found)[name], weights) == 0


def test_a_name_that_is_taken(finished: RunResult, shards: str) -> None:
    where = Path(finished.run_dir)
    assert refused(tiny(data__root=shards), launch(where.parent)) == (
        f"a run stands in {where} already: --resume continues it, --name NAME starts another"
    )


def test_resuming_with_another_config(finished: RunResult, shards: str) -> None:
    where = Path(finished.run_dir)
    config = tiny(data__root=shards, optim__generator_lr=0.5, seed=3)
    assert refused(config, launch(where.parent, resume=True)) == (
        f"cannot resume {where} with another config: seed 0 -> 3, optim.generator_lr 0.001 -> 0.5"
    )


def test_resuming_on_other_data(finished: RunResult, tmp_path: Path, shards: str) -> None:
    data = tmp_path / "data"
    shutil.copytree(shards, data)
    shutil.copytree(finished.run_dir, tmp_path / "run")
    facts = json.loads((tmp_path / "run/run.json").read_text())
    facts["config"]["data"]["root"] = str(data)
    (tmp_path / "run/run.json").write_text(json.dumps(facts))
    shutil.rmtree(data / "motion/train")
    noise.write(str(data), "motion/train", (100,))
    assert refused(tiny(data__root=str(data)), launch(tmp_path, resume=True)) == (
        f"cannot resume {tmp_path}/run: the manifests of data.motion[0] have changed since it began"
    )


def test_nothing_to_resume(shards: str, tmp_path: Path) -> None:
    message = refused(
        tiny(data__root=shards), launch(tmp_path, resume=True), kind=FileNotFoundError
    )
    assert message == f"nothing to resume: no run.json in {tmp_path}/run"
    assert not list(tmp_path.iterdir())


def test_storage_that_cannot_be_written(shards: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    below = tmp_path / "file" / "runs"
    message = refused(tiny(data__root=shards), launch(below), kind=PermissionError)
    assert message.startswith(f"cannot write to {below}: [Errno 20] Not a directory")
    assert message.endswith("; give another folder")


def test_more_workers_than_cpus(
    shards: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr("ray.is_initialized", lambda: False)
    monkeypatch.setattr(os, "cpu_count", lambda: 3)
    assert refused(tiny(data__root=shards), launch(tmp_path, workers=4)) == (
        "--workers is 4, but this machine has 3 CPUs: ask for fewer, or set RAY_ADDRESS to a "
        "larger one"
    )
    assert not list(tmp_path.iterdir())  # the name is still free


def test_more_workers_than_windows(
    shards: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "a large cluster")
    monkeypatch.setattr("vibe_ray.distributed.cluster.check_address", lambda: None)
    config = tiny(data__root=shards, data__batch_size=6, data__motion_batch_size=5)
    assert refused(config, launch(tmp_path, workers=6)) == (
        "6 workers for data.batch_size 6 and data.motion_batch_size 5: each worker needs a window "
        "of both"
    )


def test_fewer_workers_than_none(shards: str, tmp_path: Path) -> None:
    assert refused(tiny(data__root=shards), launch(tmp_path, workers=-1)) == (
        "--workers is -1, expected 0 (in this process) or more"
    )


def test_an_unknown_protocol(shards: str, tmp_path: Path) -> None:
    config = tiny(data__root=shards, validation__protocol="jionts")
    assert refused(config, launch(tmp_path)) == (
        "validation.protocol is 'jionts', expected one of human36m_p1, human36m_p2, joints, "
        "mpi_inf_3dhp, open, sequence, vibe_compat"
    )


def test_missing_data(tmp_path: Path) -> None:
    config = tiny(data__root=str(tmp_path / "none"))
    message = refused(config, launch(tmp_path / "runs"), kind=FileNotFoundError)
    assert f"{tmp_path}/none/open_2d/train" in message
    assert not (tmp_path / "runs").exists()


def test_missing_validation_data(shards: str, tmp_path: Path) -> None:
    config = tiny(data__root=shards, data__validation="open_3d/vla")
    message = refused(config, launch(tmp_path / "runs"), kind=FileNotFoundError)
    assert "open_3d/vla" in message


def test_shards_of_another_schema_version(shards: str, tmp_path: Path) -> None:
    shutil.copytree(shards, tmp_path / "data")
    path = tmp_path / "data/open_3d/train/manifest.json"
    manifest = json.loads(path.read_text())
    path.write_text(json.dumps({**manifest, "schema_version": 2}))
    message = refused(tiny(data__root=str(tmp_path / "data")), launch(tmp_path / "runs"))
    assert "open_3d/train" in message
    assert "version 2" in message


def test_features_of_another_width(shards: str, tmp_path: Path) -> None:
    config = tiny(data__root=shards, generator__feature_dim=2048)
    assert refused(config, launch(tmp_path)) == (
        f"{shards}/open_2d/train has features of width 16 (encoder 'noise'), the generator expects "
        "2048: set generator.feature_dim, or prepare the data with the other encoder"
    )


def test_no_usable_window(shards: str, tmp_path: Path) -> None:
    config = tiny(data__root=shards, data__window_length=91)
    assert refused(config, launch(tmp_path)) == (
        f"no usable window in {shards}/open_2d/train: windows have 91 frames, the longest clip 90; "
        "set data.window_length lower"
    )


def test_a_missing_body(shards: str, tmp_path: Path) -> None:
    config = tiny(data__root=shards, body__path=str(tmp_path / "SMPL_NEUTRAL.pkl"))
    message = refused(config, launch(tmp_path / "runs"), kind=FileNotFoundError)
    assert "SMPL_NEUTRAL.pkl" in message


def test_a_foreign_body(shards: str, tmp_path: Path) -> None:
    path = tmp_path / "body.npz"
    np.savez(path, v_template=np.zeros((10, 3)))
    message = refused(tiny(data__root=shards, body__path=str(path)), launch(tmp_path / "runs"))
    assert str(path) in message


def test_a_regressor_that_does_not_fit(finished: RunResult, shards: str, tmp_path: Path) -> None:
    config = tiny(
        data__root=shards, generator__regressor__hidden_dim=5, initial_regressor=finished.last
    )
    message = refused(config, launch(tmp_path))
    assert message.startswith(f"the regressor in {finished.last} does not fit: ")


def test_nan_in_features_names_the_sequence(shards: str, tmp_path: Path) -> None:
    data = tmp_path / "data"
    shutil.copytree(shards, data)
    shutil.rmtree(data / "open_3d/train")
    features = np.full((70, noise.F), np.nan, np.float16)
    with ShardWriter(str(data / "open_3d/train"), noise.header("open_3d/train")) as writer:
        writer.write(noise.pose_sequence("a", 70, features=features))
    assert refused(tiny(data__root=str(data)), launch(tmp_path / "runs")) == (
        f"{data}/open_3d/train: features of sequence 'a' hold NaN or infinity; "
        "`python -m vibe_ray.prepare validate` lists all such sequences"
    )


@pytest.mark.ray
@pytest.mark.slow
def test_two_workers_on_ray_compute_what_this_process_does(
    ray_cluster: None, shards: str, tmp_path: Path
) -> None:
    config = tiny(data__root=shards, **NO_DROPOUT)
    alone = train(config, launch(tmp_path, "alone"))
    together = train(config, launch(tmp_path, "together", workers=2))
    for found, expected in zip(rows(together), rows(alone), strict=True):
        assert found.keys() >= expected.keys()
        assert {name: found[name] for name in expected} == pytest.approx(expected, rel=1e-4)
    for name, weights in final_weights(alone).items():
        assert largest_difference(final_weights(together)[name], weights) < 1e-4
    folder = Path(together.run_dir)
    assert {path.name for path in folder.glob("step_*")} == {"step_0000003", "step_0000006"}
    for step in ("step_0000003", "step_0000006"):
        names = {path.name for path in (folder / step).iterdir()}
        assert names >= {"config.json", "generator.safetensors", "trainer.pt", "manifest.json"}
    assert (folder / "tensorboard").is_dir()


@pytest.mark.ray
@pytest.mark.long
@pytest.mark.parametrize(("make_config", "rel"), [(tiny_prior, 1e-4), (tiny_frames, 1e-3)])
def test_two_workers_on_ray_train_other_networks_as_this_process_does(
    ray_cluster: None, make_config: Callable[..., TrainConfig], rel: float, tmp_path: Path
) -> None:
    for split, lengths in (("train", (30, 17, 8)), ("val", (13, 4, 21, 5))):
        noise.write(str(tmp_path), f"motion/{split}", lengths)
    config = make_config(data__root=str(tmp_path))
    alone = train(config, launch(tmp_path, "alone"))
    together = train(config, launch(tmp_path, "together", workers=2))
    for found, expected in zip(rows(together), rows(alone), strict=True):
        assert {name: found[name] for name in expected} == pytest.approx(expected, rel=rel)


@pytest.mark.ray
def test_a_worker_says_which_precision_is_fastest(ray_cluster: None, tmp_path: Path) -> None:
    found = fastest_of_workers(tiny(precision="auto"), launch(tmp_path, workers=1))
    assert found in ("fp32", "bf16", "tf32")


@pytest.mark.ray
def test_a_worker_that_cannot_measure_is_told_in_one_line(
    ray_cluster: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(device: torch.device) -> str:
        raise RuntimeError(f"no kernel for {device}")

    monkeypatch.setattr("vibe_ray.distributed.launch.fastest", broken)
    with pytest.raises(ChildProcessError, match=r"no kernel for cpu\): name it yourself"):
        fastest_of_workers(tiny(precision="auto"), launch(tmp_path, workers=1))


def test_ray_loads_what_feeds_a_run_without_torch() -> None:
    code = "import sys, vibe_ray.distributed.feed; print('torch' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "False\n"
