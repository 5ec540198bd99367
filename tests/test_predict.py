"""The whole command: from pixels to files."""

import json
from pathlib import Path

import av
import numpy as np
import pytest
import torch

from tests.prediction.filmed import FOCAL, FPS, Filmed, pixels, walk, write_keypoints
from vibe_ray import predict
from vibe_ray.body.skeletons import COCO_17, KEYPOINTS
from vibe_ray.evaluation.metrics import pa_mpjpe_mm

LIMBS = COCO_17[5:]


def film(path: Path, filmed: Filmed) -> Path:
    with av.open(str(path), "w") as output:
        stream = output.add_stream("libx264", rate=int(FPS), options={"crf": "12"})
        frames = pixels(filmed)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        for picture in frames:
            output.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        output.mux(stream.encode())
    return path


def pa_mpjpe(folder: Path, filmed: Filmed) -> float:
    """Of the limbs' joints in every frame."""
    from vibe_ray.prediction.estimate import Estimator

    with np.load(folder / "people.npz") as data:
        frames = data["frame"]
        estimator = Estimator.load()
        from vibe_ray.body.params import pose_to_rotmat

        betas, pose = torch.from_numpy(data["betas"]), torch.from_numpy(data["pose"])
        points = estimator.keypoints(betas, pose_to_rotmat(pose))
    rows = [KEYPOINTS.index(name) for name in LIMBS]
    true = torch.from_numpy(filmed.kp_3d[frames][:, [COCO_17.index(name) for name in LIMBS]])
    return float(pa_mpjpe_mm(points[:, rows], true.float()).mean())


@pytest.mark.slow
def test_a_rendered_person_is_found_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Through pixels, detector and tracker; and with the true key-points of the same frames."""
    filmed = walk()
    clip = film(tmp_path / "clip.mp4", filmed)
    common = [str(clip), "--focal", str(FOCAL)]
    predict.main([*common, "--out", str(tmp_path / "seen")])
    keypoints = write_keypoints(tmp_path / "k", filmed)
    predict.main([*common, "--out", str(tmp_path / "given"), "--keypoints", str(keypoints),
                  "--files", "npz"])  # fmt: skip
    seen, given = (tmp_path / name / "clip" for name in ("seen", "given"))
    summary = json.loads((seen / "summary.json").read_text())
    (person,) = summary["people"]
    assert person["coverage"] == 1
    assert person["num_frames"] == 24
    assert {file.name for file in seen.iterdir()} == {*summary["files"], "summary.json"}
    told = capsys.readouterr().out
    assert "clip.mp4: 1 person in 24 frames" in told
    assert "  person 0: frames 0 to 23, 100% of the video, " in told
    by_detector, by_truth = pa_mpjpe(seen, filmed), pa_mpjpe(given, filmed)
    assert by_detector < 90  # millimeters; a mean pose is at 140
    assert by_truth < 80


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["nowhere.mp4"], "nothing was predicted: no video at "),
        (["clip.mp4", "--people", "0"], "0 people; expected all, largest or a number"),
        (["clip.mp4", "--focal", "5", "--fov", "50"], "both a focal length and a field of view"),
        (["clip.mp4", "--files", "npz,fbx"], "files ['fbx'] are not known"),
        (["clip.mp4", "--checkpoint", "nowhere"], "no checkpoint at "),
        (["text.mp4"], "could not be read as a video"),
        (["clip.mp4", "--out", "text.mp4"], "cannot write to text.mp4"),
    ],
)
def test_bad_input_is_told_in_one_line(
    arguments: list[str],
    told: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("text.mp4").write_text("This is no video.")
    film(Path("clip.mp4"), walk(2))
    with pytest.raises(SystemExit) as ended:
        predict.main(arguments)
    assert ended.value.code == 2
    error = capsys.readouterr().err
    assert told in error
    assert error.count("\n") == 1


def test_one_bad_video_does_not_end_the_others(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "videos"
    folder.mkdir()
    film(folder / "good.mp4", walk(12))
    (folder / "bad.mp4").write_bytes(b"nothing")
    keypoints = write_keypoints(tmp_path / "k", walk(12))
    predict.main([str(folder), "--out", str(tmp_path / "out"), "--files", "npz",
                  "--keypoints", str(keypoints)])  # fmt: skip
    assert (tmp_path / "out/good/summary.json").is_file()
    assert not (tmp_path / "out/bad/summary.json").exists()
    told = capsys.readouterr().out
    assert "good.mp4: 1 person in 12 frames" in told
    assert "bad.mp4: skipped: " in told
