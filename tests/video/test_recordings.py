"""From videos to label shards and on to pose shards, by the commands."""

from pathlib import Path

import numpy as np
import pytest

from tests.prediction.filmed import walk
from tests.test_predict import film
from vibe_ray import prepare
from vibe_ray.body.skeletons import COCO_17, KEYPOINTS, indices
from vibe_ray.data.sequences import read_label_sequences, read_pose_sequences
from vibe_ray.geometry.cameras import pixels_to_crop


@pytest.mark.slow
def test_videos_become_training_data(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    raw = tmp_path / "raw"
    raw.mkdir()
    film(raw / "walk.mp4", walk())
    (raw / "broken.mp4").write_bytes(b"no video")
    labels, out = str(tmp_path / "labels"), str(tmp_path / "pose")
    command = ["videos", "--raw", str(raw), "--out", labels, "--fps", "20"]
    prepare.main(command)
    assert "left out broken.mp4: " in capsys.readouterr().out
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


def test_a_slow_video_is_left_out_with_its_rate(tmp_path: Path) -> None:
    from vibe_ray.video.recordings import read_video

    clip = film(tmp_path / "a.mp4", walk(3))
    with pytest.raises(ValueError, match=r"plays at 25 frames per second, 60 are asked for"):
        read_video(str(clip), "a", None, 60.0, "all")  # type: ignore[arg-type]
