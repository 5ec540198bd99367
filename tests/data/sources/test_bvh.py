import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from vibe_ray.data.sources import bvh
from vibe_ray.data.sources.conversion import ConversionConfig


def test_joints_agree_with_a_naive_walk_down_the_file(
    make_bvh: Callable[..., str], forward: Callable[..., np.ndarray]
) -> None:
    text = make_bvh(num_frames=7)
    motion, fps = bvh.parse_bvh(text)
    assert fps == pytest.approx(30.0, rel=1e-6)

    # Read the file once more, the simple way: line by line, one joint and frame at a time.
    header, rows = text.split("MOTION\n")
    names, orders, offsets, end_site = [], [], [], False
    for line in header.splitlines():
        words = line.split()
        if words[0] in ("ROOT", "JOINT"):
            names.append(words[1])
        elif words[0] == "End":
            end_site = True
        elif words[0] == "OFFSET":
            if not end_site:
                offsets.append([float(word) for word in words[1:]])
            end_site = False
        elif words[0] == "CHANNELS":
            orders.append("".join(w[0] for w in words[2:] if w.endswith("rotation")))
    values = np.array([line.split() for line in rows.splitlines()[2:]], dtype=float)
    turns = [
        [
            Rotation.from_euler(orders[joint], row[3 + 3 * joint : 6 + 3 * joint], degrees=True)
            for joint in range(len(names))
        ]
        for row in values
    ]
    expected = forward(list(motion.parents), np.array(offsets), turns, values[:, :3])

    assert list(motion.names) == names
    positions = motion.positions(motion.world_rotmat())
    np.testing.assert_allclose(positions, expected, atol=1e-9)


def test_a_folder_becomes_sequences_of_one_rate(
    make_bvh: Callable[..., str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "walk.bvh").write_text(make_bvh(num_frames=361, fps=120.0))
    (tmp_path / "a.BVH").write_text(make_bvh(num_frames=91, fps=30.0).replace("\n", "\r\n"))
    (tmp_path / "broken.bvh").write_text("no motion at all")
    (tmp_path / "readme.txt").write_text("not read")

    with caplog.at_level(logging.WARNING):
        sequences = list(bvh.read_sequences(str(tmp_path), dataset="mine"))

    assert [sequence.name for sequence in sequences] == ["a", "b/walk"]
    assert {sequence.dataset for sequence in sequences} == {"mine"}
    for sequence in sequences:
        assert sequence.fps == 25.0
        assert sequence.pose.shape == (76, 72)
        assert sequence.trans.shape == (76, 3)
        assert sequence.pose.dtype == sequence.trans.dtype == np.float32
    # Both files show the same motion, at two rates.
    np.testing.assert_allclose(sequences[0].pose, sequences[1].pose, atol=0.02)
    assert "broken.bvh: not a BVH file" in caplog.text


def test_a_frame_more_than_announced_is_dropped(make_bvh: Callable[..., str]) -> None:
    text = make_bvh(num_frames=8).replace("Frames: 8", "Frames: 7")
    assert len(bvh.parse_bvh(text)[0].rotmat) == 7


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("HIERARCHY", "HELLO", "not a BVH file: it starts with 'HELLO"),
        ("MOTION", "", "unexpected .Frames:."),
        ("Frames: 9", "Frames: 10", "621 values: 10 frames of 69 channels need 690. The file is"),
        ("Frames: 9", "Frames:", "without 'Frames:'"),
        ("Frame Time: 0.0", "Frame Time: -0.0", "frame time of -0.0"),
        ("Zrotation Yrotation Xrotation", "Wrotation Yrotation Xrotation", "channels wrotation"),
        ("OFFSET 9.0000 -3.0000 1.0000", "OFFSET 9.0000 x 1", "near joint 'LeftUpLeg'"),
        ("OFFSET 9.0000 -3.0000 1.0000", "} OFFSET 9 0 0", "broken BVH hierarchy"),
        ("\n}\nMOTION", "\nMOTION", "1 braces left open"),
        ("\n}\nMOTION", "\n}\nROOT b\n{\n}\nMOTION", "several skeletons \\(Hips, b\\)"),
    ],
)
def test_broken_files_say_what_is_broken(
    make_bvh: Callable[..., str], before: str, after: str, message: str
) -> None:
    text = make_bvh(num_frames=9)
    assert before in text
    with pytest.raises(ValueError, match=message):
        bvh.parse_bvh(text.replace(before, after, 1))


def test_numbers_that_are_none_are_refused(make_bvh: Callable[..., str], tmp_path: Path) -> None:
    text = make_bvh()
    path = tmp_path / "nan.bvh"
    path.write_text(text[: text.rindex(" ")] + " nan\n")
    with pytest.raises(ValueError, match="not finite"):
        list(bvh.read_sequences(str(path)))


def test_an_unknown_skeleton_says_which_joints_are_missing(
    make_bvh: Callable[..., str], tmp_path: Path
) -> None:
    path = tmp_path / "odd.bvh"
    path.write_text(make_bvh().replace("LeftLeg", "Tentacle"))
    with pytest.raises(ValueError, match=r"joints not found: left_knee\. .*Tentacle"):
        list(bvh.read_sequences(str(path)))


def test_nothing_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no \.bvh file in"):
        list(bvh.read_sequences(str(tmp_path)))


def test_real_recordings_bend_as_people_do(test_data: Path) -> None:
    root = str(test_data / "motion" / "cmu_bvh" / "martial")
    sequences = list(bvh.read_sequences(root, ConversionConfig(fps=30.0)))
    assert sum(len(sequence.pose) for sequence in sequences) / 30 > 120
    poses = np.concatenate([sequence.pose for sequence in sequences]).reshape(-1, 24, 3)
    knees, left_elbow, right_elbow = poses[:, [4, 5], 0], poses[:, 18, 1], poses[:, 19, 1]
    assert np.percentile(knees, 1) > -0.2
    assert np.percentile(left_elbow, 99) < 0.2
    assert np.percentile(right_elbow, 1) > -0.2
    angles = np.linalg.norm(poses[:, 1:], axis=-1)
    assert angles.max() < np.pi
