"""From pixels to a trained VIBE by SPIN's image network, by the commands.

The sets of images and of videos are made on the spot; the network's weights are random, its shape
is the real one.
"""

import dataclasses
import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from tests.data import noise
from tests.features.resnets import naive_features, random_encoder, random_weights, spin_checkpoint
from tests.prediction.filmed import FPS, Filmed, pixels, walk, write_keypoints
from tests.test_predict import film
from tests.training.tiny import tiny
from vibe_ray import evaluate, people_in, predict, prepare
from vibe_ray.body.joints import BodyJoints
from vibe_ray.body.model import BodyConfig, load_body
from vibe_ray.body.params import SmplParams, pose_to_rotmat
from vibe_ray.data import journal
from vibe_ray.data.labels import LabelledSequence
from vibe_ray.data.sequences import read_pose_sequences
from vibe_ray.data.shards import ShardWriter, read_manifest
from vibe_ray.evaluation.metrics import pa_mpjpe_mm
from vibe_ray.features import image_encoder
from vibe_ray.features.image_encoder import normalize
from vibe_ray.inference import Predictor
from vibe_ray.training.launch import Launch, train_here
from vibe_ray.video.crops import crop_box
from vibe_ray.video.labels import label_track
from vibe_ray.video.reader import open_video

NUM_FRAMES = 12
CLIPS = 3


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Crops that the network sees in milliseconds, and batches that do not end with a clip."""
    monkeypatch.setattr(image_encoder, "CROP_SIZE", 64)
    monkeypatch.setattr(image_encoder, "BATCH_FRAMES", 4)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("spin") / "spin_model_checkpoint.pth.tar"
    torch.save(spin_checkpoint(), path)
    return str(path)


def clip(number: int) -> Filmed:
    return walk(NUM_FRAMES, start=NUM_FRAMES * number)


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Each clip as a video, and as a folder of images."""
    root = tmp_path_factory.mktemp("raw")
    for number in range(CLIPS):
        film(root / f"{number}.mp4", clip(number))
        (root / f"{number}").mkdir()
        for frame, picture in enumerate(pixels(clip(number))):
            Image.fromarray(picture).save(root / f"{number}/{frame}.png")
    return root


def labels(raw: Path, number: int, kind: str) -> LabelledSequence:
    """A clip with all that is known of it; in its last frame but one nobody is seen."""
    filmed = clip(number)
    found = label_track(filmed.track, filmed.facts, dataset=kind, sequence=f"clip_{number}")
    box = found.box.copy()
    box[-2] = 0
    images = tuple(str(raw / f"{number}/{frame}.png") for frame in range(NUM_FRAMES))
    params = SmplParams(torch.from_numpy(filmed.rotmat), torch.zeros(1, 10), torch.zeros(1, 3))
    known = np.ones(NUM_FRAMES, bool)
    return dataclasses.replace(
        found,
        video="" if kind == "images" else str(raw / f"{number}.mp4"),
        images=images if kind == "images" else (),
        box=box,
        pose=params.pose.numpy(),
        betas=np.tile(filmed.betas, (NUM_FRAMES, 1)),
        has_smpl=known,
    )


@pytest.fixture(scope="module", params=["images", "videos"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def labelled(raw: Path, kind: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    out = str(tmp_path_factory.mktemp(kind))
    names = labels(raw, 0, kind).names
    with ShardWriter(out, noise.header("labels/train", names=names, raw=str(raw))) as writer:
        for number in range(CLIPS):
            writer.write(labels(raw, number, kind))
    return out


def flags(labelled: str, weights: str, out: Path) -> list[str]:
    return ["features", "--labels", labelled, "--encoder", "resnet50", "--weights", weights,
            "--out", str(out)]  # fmt: skip


def frames_of(found: LabelledSequence) -> list[Any]:
    if found.images:
        return [np.array(Image.open(path)) for path in found.images]
    with open_video(found.video) as video:
        return [frame.pixels for frame in video.frames()]


def crops_of(found: LabelledSequence, rows: list[int]) -> torch.Tensor:
    frames = frames_of(found)
    crops = np.stack([crop_box(frames[row], found.box[row], 64) for row in rows])
    return normalize(torch.from_numpy(crops))


def test_labels_of_pixels_become_features_by_the_command(
    raw: Path, kind: str, labelled: str, weights: str, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    prepare.main(flags(labelled, weights, tmp_path))
    assert capsys.readouterr().out.splitlines()[-1] == f"{tmp_path}: 3 clips, 0.0 minutes"
    manifest = read_manifest(str(tmp_path), "pose")
    assert manifest.encoder_id == random_encoder().id
    assert manifest.feature_dim == 2048
    unseen = NUM_FRAMES - 2
    rows = [row for row in range(NUM_FRAMES) if row != unseen]
    for number, sequence in enumerate(read_pose_sequences(str(tmp_path))):
        assert sequence.encoder_id == manifest.encoder_id
        assert not sequence.features[unseen].any()
        assert np.flatnonzero(~sequence.has_smpl).tolist() == [unseen]
        truth = naive_features(random_weights(), crops_of(labels(raw, number, kind), rows))
        np.testing.assert_allclose(sequence.features[rows], truth, atol=1e-3, rtol=1e-3)  # float16


@pytest.fixture
def cut(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Counts crops in its only element; the second one is before which of them to die."""
    counts = [0, -1]
    original = image_encoder.crop_box

    def counted(*args: Any) -> Any:
        if counts[0] == counts[1]:
            raise SystemExit(9)  # as a kill would end it
        counts[0] += 1
        return original(*args)

    monkeypatch.setattr(image_encoder, "crop_box", counted)
    monkeypatch.setattr(journal, "SAVE_S", 0.0)
    return counts


@pytest.mark.slow
def test_killed_at_any_moment_and_run_again_it_ends_the_same_and_repeats_no_clip(
    kind: str, labelled: str, weights: str, tmp_path: Path, cut: list[int]
) -> None:
    prepare.main(flags(labelled, weights, tmp_path / "whole"))
    of_clip = NUM_FRAMES - 1
    assert cut[0] == CLIPS * of_clip
    for moment in random.Random(kind).sample(range(CLIPS * of_clip), 3):
        out = tmp_path / f"killed_{moment}"
        cut[:] = [0, moment]
        with pytest.raises(SystemExit):
            prepare.main(flags(labelled, weights, out))
        cut[:] = [0, -1]
        prepare.main(flags(labelled, weights, out))
        assert cut[0] == CLIPS * of_clip - moment // of_clip * of_clip
        assert noise.contents(out) == noise.contents(tmp_path / "whole")
    cut[:] = [0, 0]
    prepare.main(flags(labelled, weights, tmp_path / "whole"))  # finished: nothing is looked at


def test_the_videos_moved_are_found_by_raw(
    raw: Path, kind: str, labelled: str, weights: str, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    command = flags(labelled, weights, tmp_path / "out")
    with pytest.raises(SystemExit):
        prepare.main([*command, "--raw", str(tmp_path / "nowhere")])
    assert "if it was moved, say where to with --raw" in capsys.readouterr().err
    (tmp_path / "moved").symlink_to(raw)
    prepare.main([*command, "--raw", str(tmp_path / "moved")])
    assert read_manifest(str(tmp_path / "out"), "pose").num_clips == CLIPS


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["--encoder", "resnet50"], "--encoder resnet50 needs --weights FILE"),
        (["--encoder", "open", "--weights", "x"], "--weights are for --encoder resnet50"),
        (["--encoder", "resnet50", "--weights", "nowhere"], "no checkpoint at nowhere"),
    ],
)
def test_which_weights_is_told(
    labelled: str, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    changes: list[str], message: str,
) -> None:  # fmt: skip
    with pytest.raises(SystemExit):
        prepare.main(["features", "--labels", labelled, "--out", str(tmp_path), *changes])
    assert message in capsys.readouterr().err


@pytest.mark.slow
def test_a_vibe_of_its_features_predicts_a_video(
    raw: Path, kind: str, labelled: str, weights: str, tmp_path: Path
) -> None:
    """Import the encoder, encode, train, predict; the prediction is that of the crops' features."""
    encoder = str(tmp_path / "encoder")
    prepare.main(["import-checkpoint", "--raw", weights, "--architecture", "resnet50",
                  "--out", encoder])  # fmt: skip
    data = tmp_path / "data"
    prepare.main(["features", "--labels", labelled, "--encoder", encoder,
                  "--out", str(data / "pixels/train")])  # fmt: skip
    noise.write(str(data), "motion/train", (60, 50))
    one_set = {"pose_2d": ("pixels/train",), "pose_3d": ("pixels/train",)}
    config = tiny(
        generator__feature_dim=2048,
        epochs=1,
        data__root=str(data),
        data__validation="pixels/train",
        **{f"data__{name}": value for name, value in one_set.items()},
    )
    run = train_here(config, Launch(name="run", storage=str(tmp_path), workers=0))

    filmed = clip(1)
    video = str(raw / "1.mp4") if kind == "videos" else str(raw / "1")
    keypoints = write_keypoints(tmp_path / "keypoints", filmed)
    out = tmp_path / "out"
    predict.main([video, "--out", str(out), "--checkpoint", run.best, "--encoder", encoder,
                  "--keypoints", str(keypoints), "--fps", str(FPS), "--files", "npz",
                  "--set", "smooth=false", "--set", "fit=false",
                  "--set", "flip=false"])  # fmt: skip
    with np.load(out / "1/people.npz") as people:
        pose, frames = people["pose"], people["frame"]
    assert frames.tolist() == list(range(NUM_FRAMES))
    shown = dataclasses.replace(labels(raw, 1, kind), box=filmed.track.boxes)
    features = naive_features(random_weights(), crops_of(shown, list(range(NUM_FRAMES))))
    params = Predictor.from_checkpoint(run.best).predict(features.half(), "sequence")
    np.testing.assert_allclose(pose, params.pose.numpy().reshape(pose.shape), atol=5e-3)


@pytest.mark.slow
@pytest.mark.parametrize(
    "kind", ["videos", pytest.param("images", marks=pytest.mark.long)], indirect=True
)
def test_its_people_are_measured_as_a_prediction_finds_them(
    raw: Path, labelled: str, kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """By the real detector; the errors are those of who `people_in` finds, who is one person."""
    path = tmp_path / "as_run.json"
    evaluate.main(["open", "--videos", labelled, "--set", "fit=false", "--json", str(path)])
    found = json.loads(path.read_text())
    body = BodyJoints.evaluation(load_body(BodyConfig()))
    errors: list[float] = []
    for number in range(CLIPS):
        source = str(raw / (f"{number}.mp4" if kind == "videos" else f"{number}"))
        (person,) = people_in(source, fit="false", fps=FPS)
        seen = set(person.track.frames[~person.track.filled].tolist()) - {NUM_FRAMES - 2}
        rows = sorted(seen)
        truth = labels(raw, number, kind)
        true = body(torch.tensor(truth.betas[rows]), pose_to_rotmat(torch.tensor(truth.pose[rows])))
        own = person.rotmat[np.array(rows) - person.track.frames[0]]
        betas = torch.from_numpy(np.tile(person.betas, (len(rows), 1)))
        errors += pa_mpjpe_mm(body(betas, torch.from_numpy(own)), true).tolist()
    assert found["num_known"] == CLIPS * (NUM_FRAMES - 1)
    assert found["num_found"] == len(errors) > found["num_known"] / 2
    assert found["metrics"]["pa_mpjpe_mm"] == pytest.approx(np.mean(errors), rel=1e-3)
    assert f"found in {len(errors)} of" in capsys.readouterr().out
