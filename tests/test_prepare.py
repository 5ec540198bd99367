"""The prepare command, from raw files to shards, and what it says of bad ones."""

import sys
import types
from pathlib import Path

import numpy as np
import pytest

from tests.data import noise
from tests.data.sources.test_amass import make_npz
from tests.models.test_official import DISCRIMINATOR, GENERATOR, released_vibe, save
from tests.training.tiny import tiny_prior, tiny_prior_state
from vibe_ray import evaluate, prepare, storage
from vibe_ray.config import TrainConfig
from vibe_ray.data import journal
from vibe_ray.data.labels import LabelledSequence
from vibe_ray.data.recordings import Recording, Recordings
from vibe_ray.data.sequences import read_label_sequences, read_motion_sequences
from vibe_ray.data.shards import ShardWriter, read_manifest
from vibe_ray.data.sources import Source
from vibe_ray.features.frame_encoder import load_encoder
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


@pytest.mark.parametrize("source", ["amass", "bvh", "amc", "deepmimic"])
def test_no_recordings(tmp_path: Path, capsys: pytest.CaptureFixture[str], source: str) -> None:
    raw, out = tmp_path / "raw", tmp_path / "out"
    error = refusal(capsys, source, "--raw", str(raw), "--out", str(out))
    assert error.startswith("python -m vibe_ray.prepare: ")
    assert str(raw) in error
    assert not (out / "manifest.json").exists()


@pytest.mark.parametrize("source", ["amass", "videos"])
@pytest.mark.parametrize("fps", ["0", "-25", "nan", "inf"])
def test_a_rate_that_is_none_is_told_before_anything_is_read(
    source: str, fps: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    error = refusal(capsys, source, "--raw", "x", "--out", str(tmp_path / "out"), f"--fps={fps}")
    assert f"argument --fps: {fps} frames per second: expected a positive number" in error
    assert not (tmp_path / "out").exists()


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
        f"python -m vibe_ray.prepare: no data set at or below {tmp_path}: no manifest.json found; "
        "give a folder that `python -m vibe_ray.prepare` has written to\n"
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
    assert "--captures is 1 and --heldout 8, must be 0 or more, and of the first not 1" in error


def test_what_was_left_out_is_told_at_the_end(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    raw, out = tmp_path / "raw", tmp_path / "out"
    raw.mkdir()
    (raw / "good.npz").write_bytes(make_npz())
    (raw / "bad.npz").write_bytes(b"<html>")
    prepare.main(["amass", "--raw", str(raw), "--out", str(out)])
    assert capsys.readouterr().out.splitlines()[-3:] == [
        "left out bad.npz: not an .npz file, or cut off after 6 bytes: download it again",
        "left out 1 of 2 recordings",
        f"{out}: 1 clips, 0.0 minutes",
    ]
    assert "not an .npz" in (out / "skipped.json").read_text()


def test_a_conversion_cut_off_reads_no_finished_file_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal, "SAVE_S", 0.0)
    raw = tmp_path / "raw"
    raw.mkdir()
    for name in ("a", "b", "c", "d"):
        (raw / f"{name}.npz").write_bytes(make_npz())
    (raw / "b.npz").write_bytes(b"<html>")
    read: list[str] = []
    read_bytes = storage.read_bytes

    def counted(path: str) -> bytes:
        if path.endswith(".npz"):
            if path.endswith("d.npz") and "d.npz" not in read:
                read.append("d.npz")
                raise SystemExit(9)  # as a kill would end it
            read.append(Path(path).name)
        return read_bytes(path)

    flags = ["amass", "--raw", str(raw), "--out"]
    prepare.main([*flags, str(tmp_path / "whole")])
    monkeypatch.setattr(storage, "read_bytes", counted)
    with pytest.raises(SystemExit):
        prepare.main([*flags, str(tmp_path / "killed")])
    assert read == ["a.npz", "b.npz", "c.npz", "d.npz"]
    prepare.main([*flags, str(tmp_path / "killed")])
    assert read[4:] == ["d.npz"]
    whole, killed = (
        {path.name: path.read_bytes() for path in (tmp_path / name).iterdir()}
        for name in ("whole", "killed")
    )
    assert whole == killed
    prepare.main([*flags, str(tmp_path / "killed"), "--fps", "50"])  # other settings: all anew
    assert read[5:] == ["a.npz", "b.npz", "c.npz", "d.npz"]


def test_a_labels_source_is_a_module_and_a_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A made-up data set: a file per video, with the number of its frames; one is damaged."""
    module = types.ModuleType("vibe_ray.data.sources.toy")

    def read_sequences(root: str, split: str) -> Recordings[LabelledSequence]:
        def recording(path: str) -> Recording[LabelledSequence]:
            name = Path(path).stem

            def read() -> list[LabelledSequence]:
                num_frames = int(Path(path).read_text())
                video = f"{root}/{name}.mp4"
                return [
                    noise.labelled_sequence(name, num_frames, n, person=str(n), video=video)
                    for n in range(2)
                ]

            return Recording(f"{name}.toy", path, read)

        paths = storage.list_files(f"{root}/{split}", ".toy")
        known = {"names": noise.NAMES, "fps": noise.FPS}
        return Recordings(root, [recording(path) for path in paths], **known)

    module.read_sequences = read_sequences  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr(prepare, "SOURCES", (Source("toy", "labels", "toy videos"),))
    raw, labels, out = (str(tmp_path / name) for name in ("raw", "labels", "out"))
    (tmp_path / "raw/val").mkdir(parents=True)
    for name, text in {"a": "30", "b": "cut off", "c": "12"}.items():
        (tmp_path / f"raw/val/{name}.toy").write_text(text)

    prepare.main(["toy", "--raw", raw, "--out", labels, "--split", "val"])
    assert capsys.readouterr().out.splitlines()[-2:] == [
        "left out 1 of 3 recordings",
        f"{labels}: 4 clips, 0.1 minutes",
    ]
    found = [(s.key, s.num_frames, s.video) for s in read_label_sequences(labels)]
    assert found == [
        (("a", "0"), 30, f"{raw}/a.mp4"),
        (("a", "1"), 30, f"{raw}/a.mp4"),
        (("c", "0"), 12, f"{raw}/c.mp4"),
        (("c", "1"), 12, f"{raw}/c.mp4"),
    ]
    prepare.main(["features", "--labels", labels, "--out", out])
    assert capsys.readouterr().out.splitlines()[-1] == f"{out}: 4 clips, 0.1 minutes"
    manifest = read_manifest(out, "pose")
    assert (manifest.dataset, manifest.split, manifest.num_frames) == ("toy", "val", 84)
    assert manifest.encoder_id == load_encoder("open").id


def test_features_of_what_are_no_labels(shards: str, capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["--labels", f"{shards}/motion/train", "--out", "out"]
    assert "holds motion shards, expected labels shards" in refusal(capsys, "features", *flags)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("bvh", {"--names", "--source-fps"}),
        ("amc", {"--names", "--source-fps"}),
        ("amass", {"--source-fps"}),
        ("deepmimic", set()),
    ],
)
def test_a_source_is_asked_only_what_it_has_a_use_for(
    source: str, expected: set[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        prepare.main([source, "--help"])
    text = capsys.readouterr().out
    assert {flag for flag in ("--names", "--source-fps") if flag in text} == expected
