"""The evaluate command: numbers, JSON, report, and what it refuses."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.data import noise
from tests.data.noise import F
from tests.training.tiny import tiny, tiny_prior, tiny_prior_state, tiny_state
from vibe_ray import evaluate
from vibe_ray.body.model import BodyConfig, load_body
from vibe_ray.data.sequences import read_pose_sequences
from vibe_ray.data.shards import ShardWriter
from vibe_ray.distributed.launch import train
from vibe_ray.evaluation.evaluator import evaluate as evaluate_sequences
from vibe_ray.evaluation.protocols import PROTOCOLS
from vibe_ray.runs.snapshots import load_generator
from vibe_ray.training.launch import Launch

NUM_FRAMES = (23, 8, 12)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A test split of three sequences in which all is known."""
    root = tmp_path_factory.mktemp("test_data")
    with ShardWriter(str(root / "open_3d/test"), noise.header("open_3d/test")) as writer:
        for number, num_frames in enumerate(NUM_FRAMES):
            known = dict.fromkeys(("has_smpl", "has_kp_3d", "valid"), np.ones(num_frames, bool))
            writer.write(noise.pose_sequence(f"s{number}", num_frames, number, **known))
    return root


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Two seeds of a network, and one that sees each frame by itself."""
    folder = tmp_path_factory.mktemp("checkpoints")
    configs = (
        tiny(seed=0),
        tiny(seed=1),
        tiny(generator__temporal_encoder__kind="none", losses__adversarial=0.0),
    )
    for number, config in enumerate(configs):
        (folder / str(number)).mkdir()
        state = tiny_state(config)
        for head in (state.generator.regressor.decpose, state.generator.regressor.decshape):
            torch.nn.init.normal_(head.weight, std=0.1)
        state.snapshot({}).write(folder / str(number))
    return [str(folder / str(number)) for number in range(len(configs))]


def expected_metrics(checkpoint: str, data: Path, protocol: str = "open") -> dict[str, float]:
    _, generator = load_generator(Path(checkpoint))
    sequences = read_pose_sequences(str(data / "open_3d/test"))
    body = load_body(BodyConfig())
    metrics: dict[str, float] = evaluate_sequences(
        generator, sequences, body, PROTOCOLS[protocol], window_length=5
    ).metrics
    return metrics


def written(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text())
    return content


def refusal(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    with pytest.raises(SystemExit) as exit_info:
        evaluate.main(argv)
    assert exit_info.value.code == 2
    return capsys.readouterr().err


def test_json_holds_the_evaluation_of_the_generator(
    checkpoints: list[str], data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "metrics.json"
    evaluate.main([checkpoints[0], "--data", str(data), "--json", str(path)])
    found = written(path)
    assert found["vibe"] == pytest.approx(expected_metrics(checkpoints[0], data), rel=1e-4)
    assert "frame_baseline" not in found
    assert found["num_frames"] == sum(NUM_FRAMES)
    assert found["checkpoints"] == checkpoints[:1]
    out = capsys.readouterr().out
    assert "PA-MPJPE" in out
    assert f"{found['vibe']['pa_mpjpe_mm']:.1f}" in out
    assert "56.5" in out  # the published table stands beside


def test_seeds_give_medians_beside_a_baseline(
    checkpoints: list[str], data: Path, tmp_path: Path
) -> None:
    path, (*seeds, baseline) = tmp_path / "metrics.json", checkpoints
    flags = ["--data", str(data), "--json", str(path), "--baseline", baseline]
    evaluate.main([*seeds, *flags])
    found = written(path)
    metrics = [expected_metrics(checkpoint, data) for checkpoint in seeds]
    for name, value in found["vibe"].items():
        assert value == pytest.approx(np.median([m[name] for m in metrics]), rel=1e-4)
    assert found["frame_baseline"] == pytest.approx(expected_metrics(baseline, data), rel=1e-4)


@pytest.mark.parametrize("protocol", sorted(PROTOCOLS))
def test_every_protocol(checkpoints: list[str], data: Path, tmp_path: Path, protocol: str) -> None:
    path = tmp_path / "metrics.json"
    flags = ["--data", str(data), "--json", str(path), "--protocol", protocol]
    evaluate.main([checkpoints[0], *flags])
    expected = expected_metrics(checkpoints[0], data, protocol)
    assert written(path)["vibe"] == pytest.approx(expected, rel=1e-3)
    assert ("pve_mm" in expected) == (protocol != "joints")


def test_a_runs_folder_stands_for_its_best_checkpoint_and_has_curves(
    shards: str, data: Path, tmp_path: Path
) -> None:
    result = train(tiny(data__root=shards), Launch(name="run", storage=str(tmp_path), workers=0))
    of_run, of_best = tmp_path / "run.json", tmp_path / "best.json"
    report = tmp_path / "report.html"
    flags = ["--data", str(data)]
    evaluate.main([result.run_dir, *flags, "--json", str(of_run), "--report", str(report)])
    evaluate.main([result.best, *flags, "--json", str(of_best)])
    assert written(of_run)["vibe"] == written(of_best)["vibe"]
    html = report.read_text()
    assert "VIBE on held-out motion" in html
    assert f"{written(of_run)['vibe']['pa_mpjpe_mm']:.1f}" in html
    assert html.count("<img") + html.count("<svg") >= 2  # curves, and pictures of two sequences
    assert "http://" not in html.replace("http://www.w3.org", "")  # nothing is loaded from outside


def test_the_validation_split(checkpoints: list[str], shards: str, tmp_path: Path) -> None:
    path = tmp_path / "metrics.json"
    flags = ["--data", shards, "--split", "validation", "--json", str(path)]
    evaluate.main([checkpoints[0], *flags])
    assert 0 < written(path)["num_frames"] <= 50


def test_a_sequence_in_which_nothing_is_known(
    checkpoints: list[str], data: Path, tmp_path: Path
) -> None:
    shutil.copytree(data, tmp_path / "data")
    shutil.rmtree(tmp_path / "data/open_3d/test")
    header = noise.header("open_3d/test")
    with ShardWriter(str(tmp_path / "data/open_3d/test"), header) as writer:
        for name, known in (("all", np.ones(20, bool)), ("none", np.zeros(20, bool))):
            known_names: dict[str, Any] = dict.fromkeys(("has_smpl", "has_kp_3d", "valid"), known)
            writer.write(noise.pose_sequence(name, 20, **known_names))
    path, report = tmp_path / "metrics.json", tmp_path / "report.html"
    flags = ["--data", str(tmp_path / "data"), "--json", str(path), "--report", str(report)]
    evaluate.main([checkpoints[0], *flags])
    assert written(path)["num_frames"] == 20
    assert report.exists()


def test_features_of_another_width(
    checkpoints: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    header = noise.header("open_3d/test", feature_dim=F + 1)
    features = np.zeros((20, F + 1), np.float16)
    with ShardWriter(str(tmp_path / "open_3d/test"), header) as writer:
        writer.write(noise.pose_sequence("a", 20, features=features))
    assert refusal(capsys, checkpoints[0], "--data", str(tmp_path)) == (
        f"python -m vibe_ray.evaluate: {tmp_path}/open_3d/test has features of width 17, "
        f"{checkpoints[0]} was trained on 16: evaluate on data of the same frame encoder\n"
    )


def test_features_of_another_frame_encoder(
    checkpoints: list[str], data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other"
    shutil.copytree(checkpoints[0], other)
    (other / "manifest.json").write_text('{"encoder_id": "resnet"}')
    assert refusal(capsys, str(other), "--data", str(data)) == (
        f"python -m vibe_ray.evaluate: {data}/open_3d/test has features of frame encoder 'noise', "
        f"{other} was trained on those of 'resnet': evaluate on data of the same one\n"
    )


def test_nan_in_features(
    checkpoints: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    features = np.full((20, F), np.nan, np.float16)
    header = noise.header("open_3d/test")
    with ShardWriter(str(tmp_path / "open_3d/test"), header) as writer:
        writer.write(noise.pose_sequence("a", 20, features=features))
    error = refusal(capsys, checkpoints[0], "--data", str(tmp_path))
    assert "prepare validate" in error
    assert "'a'" in error


def test_a_motion_prior(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tiny_prior_state(tiny_prior()).snapshot({}).write(tmp_path)
    error = refusal(capsys, str(tmp_path), "--data", str(data))
    assert f"{tmp_path} holds a motion prior, which estimates no bodies" in error
    assert len(error.splitlines()) == 1


def test_bad_names_are_told_in_one_line(
    checkpoints: list[str], data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--data", str(data)]
    error = refusal(capsys, checkpoints[0], *flags, "--protocol", "opne")
    assert error == (
        "python -m vibe_ray.evaluate: no protocol 'opne', expected one of open, joints, sequence, "
        "vibe_compat\n"
    )
    error = refusal(capsys, str(tmp_path / "none"), *flags)
    assert f"no checkpoint at {tmp_path}/none" in error
    error = refusal(capsys, checkpoints[0], "--data", str(tmp_path / "none"))
    assert f"no data set at {tmp_path}/none/open_3d/test" in error
