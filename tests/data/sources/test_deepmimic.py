import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest

from vibe_ray.body.skeletons import SMPL_JOINTS
from vibe_ray.data.sources import deepmimic
from vibe_ray.data.sources.conversion import ConversionConfig

IDENTITY = [1.0, 0.0, 0.0, 0.0]


def make_clip(num_frames: int = 40, duration: float = 0.05) -> str:
    """Somebody glides forward and to the right; the right knee and both elbows bend."""
    frames = []
    for frame in range(num_frames):
        bend = 0.02 * frame
        frames.append(
            [
                *(duration * (1 + frame % 2), 0.1 * frame, 0.9, 0.05 * frame, *IDENTITY),
                *(*IDENTITY, *IDENTITY),  # chest, neck
                *(*IDENTITY, -bend, *IDENTITY, *IDENTITY, 1.5 * bend),  # right leg and arm
                *(*IDENTITY, 0.0, *IDENTITY, *IDENTITY, bend),  # left leg and arm
            ]
        )
    return json.dumps({"Loop": "none", "Frames": frames})


def test_hinges_bend_the_human_way_and_arms_hang(tmp_path: Path) -> None:
    (tmp_path / "clip.txt").write_text(make_clip())
    (sequence,) = deepmimic.read_sequences(str(tmp_path))
    assert (sequence.dataset, sequence.name, sequence.fps) == ("deepmimic", "clip", 25.0)
    # 39 frames of 0.05 and 0.1 seconds in turn lead to the last one: 2.9 seconds.
    assert len(sequence.pose) == 73
    last = dict(zip(SMPL_JOINTS, sequence.pose[-1].reshape(24, 3), strict=True))
    bend = 0.02 * 39
    first = dict(zip(SMPL_JOINTS, sequence.pose[0].reshape(24, 3), strict=True))
    knee = (last["right_knee"] - first["right_knee"])[0]
    assert knee == pytest.approx(bend, abs=0.02)
    np.testing.assert_allclose(last["left_knee"], first["left_knee"], atol=1e-5)
    assert last["left_elbow"][1] - first["left_elbow"][1] == pytest.approx(-bend, abs=0.05)
    assert last["right_elbow"][1] - first["right_elbow"][1] == pytest.approx(1.5 * bend, abs=0.05)
    shoulders = first["left_shoulder"][2], first["right_shoulder"][2]
    assert shoulders[0] == pytest.approx(-shoulders[1], abs=1e-4)
    assert -1.6 < shoulders[0] < -0.8  # hanging, the collar taking its share of the quarter turn
    # Forward is +z, and the right is -x.
    travel = sequence.trans[-1] - sequence.trans[0]
    assert travel[2] == pytest.approx(-2 * travel[0], rel=1e-3)
    assert travel[2] > 3


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("not json", "not a DeepMimic motion"),
        ("{}", "not a DeepMimic motion"),
        ('{"Frames": [[1, 2], [1, 2]]}', r"frames of shape \(2, 2\)"),
        ('{"Frames": [[1, 2], [1]]}', "not a DeepMimic motion"),
        (make_clip(num_frames=1), r"frames of shape \(1, 44\)"),
        (make_clip(duration=0.0), "do not increase"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "clip.txt").write_text(text)
    with pytest.raises(ValueError, match=message):
        list(deepmimic.read_sequences(str(tmp_path)))


def test_a_missing_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"pip install 'vibe_ray\[motion\]'"):
        deepmimic.installed_motions()


def test_the_installed_clips_are_read_without_importing_pybullet() -> None:
    if importlib.util.find_spec("pybullet_data") is None:
        pytest.skip("pybullet is not installed")
    skipped = []
    sequences = list(
        deepmimic.read_sequences(
            config=ConversionConfig(fps=30.0), on_skip=lambda path, _: skipped.append(path)
        )
    )
    assert len(sequences) == 20
    assert [Path(path).name for path in skipped] == ["laikago_walk.txt"]  # a robot dog
    poses = np.concatenate([sequence.pose for sequence in sequences]).reshape(-1, 24, 3)
    assert np.percentile(poses[:, [4, 5], 0], 1) > -0.2
    assert np.linalg.norm(poses[:, 1:], axis=-1).max() < np.pi
