"""From videos to label shards and on to pose shards, by the commands."""

import json
from pathlib import Path

import numpy as np
import pytest

from tests.prediction.filmed import walk, write_keypoints
from tests.test_predict import film
from vibe_ray import prepare
from vibe_ray.body.skeletons import COCO_17, KEYPOINTS, indices
from vibe_ray.data.recordings import read_each
from vibe_ray.data.sequences import read_label_sequences, read_pose_sequences
from vibe_ray.geometry.cameras import pixels_to_crop
from vibe_ray.video import recordings
from vibe_ray.video.keypoint_files import Keypoints
from vibe_ray.video.recordings import VideosRequest


@pytest.mark.slow
def test_videos_become_training_data(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    raw = tmp_path / "raw"
    raw.mkdir()
    film(raw / "walk.mp4", walk())
    odd = {"broken": b"no video", "empty": b"", "half": b"", "codec": b""}
    whole = (raw / "walk.mp4").read_bytes()
    odd["half"], odd["codec"] = whole[: len(whole) // 2], whole.replace(b"avc1", b"zzzz")
    for name, content in odd.items():
        (raw / f"{name}.mp4").write_bytes(content)
    labels, out = str(tmp_path / "labels"), str(tmp_path / "pose")
    command = ["videos", "--raw", str(raw), "--out", labels, "--fps", "20"]
    prepare.main(command)
    told = capsys.readouterr().out
    assert all(f"left out {name}.mp4: " in told for name in odd)
    assert "coded in a way that FFmpeg does not know" in told
    (one,) = read_label_sequences(labels)
    assert one.fps == 20
    assert one.video == str(raw / "walk.mp4")
    assert (np.diff(one.timestamps) > 0.03).all()
    assert one.num_frames == 19  # 0.92 s at 20 a second, both ends included
    true = walk().kp_2d[one.frame_index]
    side = one.box[:, 2].mean()
    assert np.linalg.norm(one.kp_2d - true, axis=-1)[:, 5:].mean() < 0.03 * side
    prepare.main(["features", "--labels", labels, "--out", out])
    (pose,) = read_pose_sequences(out)
    assert pose.features.shape == (19, 2048)
    rows = indices(COCO_17, KEYPOINTS)
    import torch

    crop = pixels_to_crop(torch.tensor(one.kp_2d), torch.tensor(one.box))
    np.testing.assert_allclose(pose.kp_2d[:, rows], crop, atol=1e-5)
    assert not pose.has_smpl.any()
    assert not pose.has_kp_3d.any()


def test_a_video_that_is_gone_or_breaks_its_reader_is_left_out_with_its_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a", "b", "c"):
        film(tmp_path / f"{name}.mp4", walk(12))
        write_keypoints(tmp_path / f"seen/{name}", walk(12))
    read_keypoints = recordings.read_keypoints

    def breaks_of_b(place: str) -> Keypoints:
        return [][0] if place.endswith("/b") else read_keypoints(place)

    found = VideosRequest(str(tmp_path), 20.0, str(tmp_path / "seen")).recordings("cpu")
    monkeypatch.setattr(recordings, "read_keypoints", breaks_of_b)
    (tmp_path / "a.mp4").unlink()
    (_, gone), (_, broken), (labels, _) = read_each(found.items)
    assert gone.startswith("no video at ")
    assert "in a way that its reader does not know (IndexError" in broken
    assert len(labels) == 1


def test_a_slow_video_is_left_out_with_its_rate(tmp_path: Path) -> None:
    from vibe_ray.video.recordings import read_video

    clip = film(tmp_path / "a.mp4", walk(3))
    with pytest.raises(ValueError, match=r"plays at 25 frames per second, 60 are asked for"):
        read_video(str(clip), "a", 60.0, lambda video, name: [])


def test_what_another_program_saw_becomes_training_data(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    raw, seen = tmp_path / "raw", tmp_path / "seen"
    (raw / "abseiling").mkdir(parents=True)
    clip = film(raw / "abseiling/walk.mp4", walk(12))
    (raw / "abseiling/alone.mp4").write_bytes(clip.read_bytes())
    write_keypoints(seen / "abseiling/walk", walk(12))
    command = ["videos", "--raw", str(raw), "--out", str(tmp_path / "labels"), "--keypoints"]
    prepare.main([*command, str(seen)])
    told = capsys.readouterr().out
    assert "left out abseiling/alone.mp4: no key-points of it: neither abseiling/alone nor" in told
    (one,) = read_label_sequences(str(tmp_path / "labels"))
    assert one.names.kp_2d == one.names.detected == COCO_17
    assert one.video == str(clip)
    np.testing.assert_allclose(one.kp_2d, walk(12).kp_2d, atol=2e-3)
    np.testing.assert_allclose(one.kp_2d_conf, 0.9, atol=1e-6)
    with pytest.raises(SystemExit):
        prepare.main([*command, str(tmp_path / "nowhere")])
    assert "no key-points of the 2 videos in" in capsys.readouterr().err


def test_key_points_of_two_videos_that_are_called_alike_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clip = film(tmp_path / "a.mp4", walk(12))
    (tmp_path / "a.mkv").write_bytes(clip.read_bytes())
    write_keypoints(tmp_path / "seen/a", walk(12))
    flags = ["--out", str(tmp_path / "labels"), "--keypoints", str(tmp_path / "seen")]
    with pytest.raises(SystemExit):
        prepare.main(["videos", "--raw", str(tmp_path), *flags])
    assert "the key-points of several videos would be called a: rename" in capsys.readouterr().err


def test_videos_of_one_set_have_the_same_key_points(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("a", "b"):
        film(tmp_path / f"{name}.mp4", walk(12))
    write_keypoints(tmp_path / "seen/a", walk(12))
    file = {"image_id": 0, "keypoints": [100.0, 50.0, 0.9] * 25}
    (tmp_path / "seen/b.json").write_text(json.dumps([file]))
    flags = ["--out", str(tmp_path / "labels"), "--keypoints", str(tmp_path / "seen")]
    prepare.main(["videos", "--raw", str(tmp_path), *flags])
    assert "left out b.mp4: its key-points are" in capsys.readouterr().out
