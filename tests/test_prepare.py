"""The prepare command, from raw files to shards, and what it says of bad ones."""

from pathlib import Path

import numpy as np
import pytest

from tests.data import noise
from tests.data.sources.test_amass import make_npz
from tests.models.test_official import DISCRIMINATOR, GENERATOR, released_vibe, save
from tests.training.tiny import tiny_prior, tiny_prior_state
from vibe_ray import evaluate, prepare
from vibe_ray.config import TrainConfig
from vibe_ray.data.sequences import read_motion_sequences
from vibe_ray.data.shards import ShardWriter, read_manifest
from vibe_ray.runs.snapshots import load_generator

EXPORTED_PRIOR = ("prior.safetensors", "out/prior.safetensors")


def refusal(capsys: pytest.CaptureFixture[str], *argv: str, code: int = 2) -> str:
    with pytest.raises(SystemExit) as exit_info:
        prepare.main(argv)
    assert exit_info.value.code == code
    return capsys.readouterr().err


def test_amass_becomes_motion_shards(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    raw, out = tmp_path / "raw", str(tmp_path / "out")
    for name in ("KIT/3/walk", "CMU/01/jump"):
        (raw / name).parent.mkdir(parents=True)
        (raw / name).with_suffix(".npz").write_bytes(make_npz())  # 301 frames at 120 fps
    prepare.main(["amass", "--raw", str(raw), "--out", out, "--split", "val"])
    assert capsys.readouterr().out.splitlines()[-1] == f"{out}: 2 clips, 0.1 minutes"
    manifest = read_manifest(out, "motion")
    assert (manifest.dataset, manifest.split, manifest.fps) == ("amass", "val", 25.0)
    assert manifest.converter == "amass"
    sequences = list(read_motion_sequences(out))
    assert [s.name for s in sequences] == ["CMU/01/jump", "KIT/3/walk"]
    # 2.5 seconds at 25 fps; the left index finger's swing, resampled by time.
    assert len(sequences[0].pose) == 63
    times = np.arange(63) / 25
    expected = 0.1 * np.sin(times * 1.0 + 66)
    np.testing.assert_allclose(sequences[0].pose[:, 66], expected, atol=2e-3)


def test_another_frame_rate(tmp_path: Path) -> None:
    (tmp_path / "walk.npz").write_bytes(make_npz())
    flags = ["--raw", str(tmp_path), "--out", str(tmp_path / "out"), "--fps", "50"]
    prepare.main(["amass", *flags])
    (sequence,) = read_motion_sequences(str(tmp_path / "out"))
    assert (sequence.fps, len(sequence.pose)) == (50.0, 126)


@pytest.mark.parametrize("source", ["amass", "bvh", "amc"])
def test_no_recordings(tmp_path: Path, capsys: pytest.CaptureFixture[str], source: str) -> None:
    raw, out = tmp_path / "raw", tmp_path / "out"
    error = refusal(capsys, source, "--raw", str(raw), "--out", str(out))
    assert error.startswith("python -m vibe_ray.prepare: ")
    assert str(raw) in error
    assert not (out / "manifest.json").exists()


def write_motion(path: Path, split: str, *poses: np.ndarray) -> None:
    with ShardWriter(str(path), noise.header(f"motion/{split}")) as writer:
        for number, pose in enumerate(poses):
            writer.write(noise.motion_sequence(f"{split}_{number}", len(pose), pose=pose))


def test_validate_counts_what_is_well(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_motion(tmp_path / "train", "train", np.zeros((40, 72)), np.ones((30, 72)))
    prepare.main(["validate", str(tmp_path)])
    assert capsys.readouterr().out == f"{tmp_path}: no errors, 0 warnings\n"


def test_validate_finds_nan_and_ends_in_exit_code_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pose = np.zeros((40, 72))
    pose[3, 5] = np.nan
    write_motion(tmp_path / "train", "train", np.zeros((40, 72)))
    write_motion(tmp_path / "val", "val", np.zeros((40, 72)), pose)
    with pytest.raises(SystemExit) as exit_info:
        prepare.main(["validate", str(tmp_path)])
    assert exit_info.value.code == 1
    assert capsys.readouterr().out == (
        f"error: {tmp_path}/val: val_1: 1 values of pose are NaN or infinite: prepare it anew\n"
    )


def test_validate_where_there_is_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert refusal(capsys, "validate", str(tmp_path)) == (
        f"python -m vibe_ray.prepare: no data set at or below {tmp_path}: no manifest.json found\n"
    )


def test_import_checkpoint_writes_what_evaluate_takes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = TrainConfig(generator=GENERATOR, discriminator=DISCRIMINATOR)
    monkeypatch.setattr("vibe_ray.runs.imports.released", lambda: config)
    raw = save(released_vibe(), tmp_path / "vibe_model_wo_3dpw.pth.tar")
    out = tmp_path / "out"
    prepare.main(["import-checkpoint", "--raw", str(raw), "--out", str(out)])
    assert "'stated_pa_mpjpe_mm': 56.5" in capsys.readouterr().out
    assert load_generator(out)[0] == config
    features, header = np.zeros((25, 12), np.float16), noise.header("open_3d/test", feature_dim=12)
    with ShardWriter(str(tmp_path / "open_3d/test"), header) as writer:
        writer.write(noise.pose_sequence("a", 25, features=features))
    path = tmp_path / "metrics.json"
    evaluate.main([str(out), "--data", str(tmp_path), "--json", str(path)])
    assert path.exists()


def test_import_of_a_file_that_is_not_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--raw", str(tmp_path / "vibe.pth.tar"), "--out", str(tmp_path / "out")]
    error = refusal(capsys, "import-checkpoint", *flags)
    assert f"no checkpoint at {tmp_path}/vibe.pth.tar" in error


def test_export_of_what_is_no_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["--checkpoint", str(tmp_path / "run"), "--out", str(tmp_path / "out")]
    assert f"no checkpoint at {tmp_path}/run" in refusal(capsys, "export", *flags)


def test_export_writes_what_fits_in_half(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny_prior_state(tiny_prior()).snapshot({"step": 0}).write(tmp_path)
    prepare.main(["export", "--checkpoint", str(tmp_path), "--out", str(tmp_path / "out")])
    assert capsys.readouterr().out.startswith(f"{tmp_path}/out: {{'step': 0, 'seed': 0")
    sizes = [(tmp_path / name).stat().st_size for name in EXPORTED_PRIOR]
    assert sizes[1] < 0.6 * sizes[0]


def test_an_encoder_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["--out", str(tmp_path / "out"), "--encoder", str(tmp_path / "none")]
    assert str(tmp_path / "none") in refusal(capsys, "open", *flags)


def test_too_few_captures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    error = refusal(capsys, "open", "--out", str(tmp_path / "out"), "--captures", "1")
    assert error == "python -m vibe_ray.prepare: --captures is 1, must be at least 2\n"
