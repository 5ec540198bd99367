from importlib import resources
from pathlib import Path

import numpy as np
import pytest

from vibe_ray.body.model import BodyConfig, load_body
from vibe_ray.data.sources import open_motion
from vibe_ray.data.sources.ground import Ground
from vibe_ray.data.sources.open_motion import build
from vibe_ray.data.sources.plausible import clean_pieces


def test_the_motion_is_clean_and_stands_on_the_floor() -> None:
    clips = open_motion.load_open_motion()
    arrays = load_body(BodyConfig())
    assert [clip.name for clip in clips] == sorted(clip.name for clip in clips)
    assert sum(len(clip.pose) for clip in clips) / build.FPS > 50
    for clip in clips:
        assert (clip.dataset, clip.fps) == ("cmu", 30.0)
        assert len(clip.pose) >= 16
        assert clip.pose.dtype == clip.trans.dtype == np.float32
        whole = clean_pieces(clip.pose, clip.trans, clip.fps, arrays.rest_joints()[0])
        assert whole == [slice(0, len(clip.pose))]
        poses = clip.pose.reshape(-1, 24, 3)
        assert poses[:, [4, 5], 0].min() > -0.2  # knees bend backward only
        assert poses[:, 18, 1].max() < 0.2
        assert poses[:, 19, 1].min() > -0.2
    jumping = next(clip for clip in clips if clip.name == "01/01_01")
    heights = Ground(arrays).foot_heights(jumping)
    assert abs(np.percentile(heights, 5)) < 0.005
    assert heights.max() > 0.1  # it jumps


def test_the_file_is_small_and_carries_its_credit() -> None:
    package = resources.files(open_motion)
    assert Path(str(package / open_motion.FILE)).stat().st_size < 1_000_000
    notice = (package / "NOTICE").read_text()
    assert "mocap.cs.cmu.edu" in notice
    assert "NSF EIA-0196217" in notice


def test_the_builder_writes_what_the_loader_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "07_02.bvh"
    source.write_text(_stepping_bvh())
    out = tmp_path / open_motion.FILE
    build.main(["--bvh", str(source), "--out", str(out)])
    monkeypatch.setattr(resources, "files", lambda package: tmp_path)
    (clip,) = open_motion.load_open_motion()
    assert clip.name == "07/07_02"
    assert len(clip.pose) == 60


def test_the_builder_reports_bad_input(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "x.bvh").write_text("nothing")
    with pytest.raises(SystemExit):
        build.main(["--bvh", str(tmp_path / "x.bvh"), "--out", str(tmp_path / "out.npz")])
    assert "not a BVH file" in capsys.readouterr().err


def _stepping_bvh() -> str:
    """The smallest skeleton that is a person, two seconds of it swaying."""
    limb = "JOINT {0}{1} {{ OFFSET {2} CHANNELS 1 Xrotation {3} }}"

    def leg(side: str, x: int) -> str:
        foot = limb.format(side, "Ankle", "0 -40 0", "End Site { OFFSET 0 -5 12 }")
        knee = limb.format(side, "Knee", "0 -40 0", foot)
        return limb.format(side, "Hip", f"{x} -5 0", knee)

    def arm(side: str, x: int) -> str:
        wrist = limb.format(side, "Wrist", f"{x} 0 0", f"End Site {{ OFFSET {x} 0 0 }}")
        elbow = limb.format(side, "Elbow", f"{x} 0 0", wrist)
        return limb.format(side, "Shoulder", f"{x} 25 0", elbow)

    head = limb.format("", "Head", "0 40 0", "End Site { OFFSET 0 9 0 }")
    chest = limb.format("", "Chest", "0 20 0", " ".join([head, arm("Left", 20), arm("Right", -20)]))
    hierarchy = (
        "HIERARCHY ROOT Hips { OFFSET 0 0 0 CHANNELS 3 Xposition Yposition Zposition "
        + " ".join([leg("Left", 9), leg("Right", -9), chest])
        + " }"
    )
    frames = [
        " ".join(["0", "90", "0", *[f"{5 * np.sin(frame / 8):.5f}"] * 14]) for frame in range(60)
    ]
    return "\n".join([hierarchy, "MOTION", "Frames: 60", "Frame Time: 0.0333333", *frames, ""])
