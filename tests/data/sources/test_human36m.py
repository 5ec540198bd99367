import pickle
import shutil
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from cdflib.cdfwrite import CDF
from scipy.spatial.transform import Rotation, Slerp

from tests.data.sources.filmed_person import Filmed, film
from vibe_ray import prepare
from vibe_ray.body.skeletons import H36M_17, KEYPOINTS
from vibe_ray.data.checks import check_sequence
from vibe_ray.data.labels import LabelledSequence
from vibe_ray.data.sequences import read_label_sequences
from vibe_ray.data.shards import read_manifest
from vibe_ray.data.sources.human36m import read_sequences
from vibe_ray.data.targets import pose_targets

N = 31
POSITIONS = {
    **{0: "hip", 1: "rhip", 2: "rknee", 3: "rankle", 6: "lhip", 7: "lknee", 8: "lankle"},
    **{11: "hip", 12: "Spine (H36M)", 13: "neck", 14: "Head (H36M)", 15: "headtop", 16: "neck"},
    **{17: "lshoulder", 18: "lelbow", 19: "lwrist", 24: "neck"},
    **{25: "rshoulder", 26: "relbow", 27: "rwrist"},
}
"""What the 32 positions of a file are; the others are toes, thumbs and ends of bones."""
UPSIDE_DOWN = Rotation.from_euler("x", 180, degrees=True)


def write_cdf(path: Path, positions: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    file = CDF(str(path), cdf_spec={"Majority": "row_major"})
    rows = positions.reshape(1, len(positions), -1).astype(np.float32)
    spec = {"Variable": "Pose", "Data_Type": 44, "Num_Elements": 1, "Rec_Vary": True}
    file.write_var({**spec, "Dim_Sizes": list(rows.shape[1:])}, var_data=rows)
    file.close()


def lens(points: np.ndarray) -> np.ndarray:
    """Pixels of a picture of 1000 by 1002."""
    return 1145 * points[..., :2] / points[..., 2:] + [512, 515]


def write_video(path: Path, num_frames: int, size: tuple[int, int] = (1000, 1002)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as file:
        stream = file.add_stream("mpeg4", rate=50)
        stream.width, stream.height = size
        gray = np.full((size[1], size[0], 3), 128, np.uint8)
        for _ in range(num_frames):
            file.mux(stream.encode(av.VideoFrame.from_ndarray(gray)))
        file.mux(stream.encode())


def mosh(person: Filmed) -> dict[str, Any]:
    poses = person.pose[::5].copy()
    poses[:, :3] = (Rotation.from_rotvec(poses[:, :3]) * UPSIDE_DOWN).as_rotvec()
    return {"new_poses": poses, "betas": person.betas, "trans": np.zeros((len(poses), 3))}


def write(root: Path, subject: str, name: str, person: Filmed) -> None:
    features = root / subject / "MyPoseFeatures"
    joints = np.full((N, 32, 3), 7.0)
    for number, joint in POSITIONS.items():
        joints[:, number] = person.kp_3d[:, KEYPOINTS.index(joint)]
    write_cdf(features / f"D3_Positions_mono/{name}.cdf", 1000 * joints)
    write_cdf(features / f"D2_Positions/{name}.cdf", lens(joints))
    video = root / subject / f"Videos/{name}.mp4"
    video.parent.mkdir(parents=True, exist_ok=True)
    video.touch()


@pytest.fixture
def people() -> list[Filmed]:
    return [film(N, 0), film(N, 1)]


@pytest.fixture
def root(tmp_path: Path, people: list[Filmed]) -> Path:
    raw = tmp_path / "human36m"
    write(raw, "S1", "Directions 1.54138969", people[0])
    write(raw, "S8", "Walking.60457274", people[1])
    write(raw, "S9", "Walking.60457274", people[1])
    write_cdf(raw / "S1/MyPoseFeatures/D3_Positions_mono/_ALL.54138969.cdf", np.zeros((1, 96)))
    folder = raw / "neutrMosh/neutrSMPL_H3.6/S1"
    folder.mkdir(parents=True)
    file = folder / "Directions 1_cam0_aligned.pkl"
    file.write_bytes(pickle.dumps(mosh(people[0]), protocol=2))
    return raw


def by_name(root: Path, split: str) -> dict[str, LabelledSequence]:
    return {labels.sequence: labels for labels in read_sequences(str(root), split)}


def test_values_are_the_truth(root: Path, people: list[Filmed]) -> None:
    found = by_name(root, "train")
    assert list(found) == ["S1/Directions 1.54138969", "S8/Walking.60457274"]
    for labels, person in zip(found.values(), people, strict=True):
        assert (labels.fps, labels.width, labels.height) == (25.0, 1000, 1002)
        np.testing.assert_array_equal(labels.frame_index, np.arange(0, N, 2))
        np.testing.assert_allclose(labels.timestamps, np.arange(0, N, 2) / 50)
        columns = [KEYPOINTS.index(name) for name in H36M_17]
        truth = person.kp_3d[::2, columns]
        np.testing.assert_allclose(labels.kp_3d, truth, atol=1e-5)
        np.testing.assert_allclose(labels.kp_2d, lens(truth), atol=1e-3)
        assert (labels.kp_2d_conf == 1).all()
        assert labels.has_kp_3d.all()
        assert labels.valid.all()
        assert not list(check_sequence("here", labels))
        targets = pose_targets(labels)
        np.testing.assert_allclose(targets["kp_3d"][:, columns], truth, atol=1e-5)
        assert np.abs(targets["kp_2d"]).max() < 1
    assert found["S8/Walking.60457274"].video == f"{root}/S8/Videos/Walking.60457274.mp4"


def test_what_mosh_tells_is_turned_and_interpolated(root: Path, people: list[Filmed]) -> None:
    found = by_name(root, "train")
    assert not found["S8/Walking.60457274"].has_smpl.any()
    labels = found["S1/Directions 1.54138969"]
    assert labels.has_smpl.all()  # the last frame, 30, is one that MoSh tells
    np.testing.assert_allclose(labels.betas, np.tile(people[0].betas, (16, 1)), rtol=1e-6)
    for joint in (0, 16):
        told = Rotation.from_rotvec(people[0].pose[::5, 3 * joint : 3 * joint + 3])
        truth = Slerp(np.arange(0, N, 5), told)(np.arange(0, N, 2))
        ours = Rotation.from_rotvec(labels.pose[:, 3 * joint : 3 * joint + 3])
        assert (ours * truth.inv()).magnitude().max() < 1e-6


def test_who_is_absent_and_who_stays_without_smpl_is_told(
    root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    read_sequences(str(root), "train")
    subjects, recordings = (record.getMessage() for record in caplog.records)
    assert subjects.startswith("subjects of Human3.6M's train left out")
    assert subjects.endswith(f"{root} has no positions: S5, S6, S7")
    assert recordings.endswith("no file in neutrMosh/neutrSMPL_H3.6 of: S8/Walking.60457274")


def test_of_hundreds_that_are_absent_some_are_named(
    root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = root / "S8/MyPoseFeatures/D3_Positions_mono"
    for number in range(40):
        (folder / f"Eating {number:02d}.60457274.cdf").touch()
    read_sequences(str(root), "train")
    told = caplog.records[-1].getMessage()
    assert "S8/Eating 15.60457274 and 25 more" in told
    assert "Eating 16" not in told


def test_nothing_is_told_where_nothing_is_missing_or_mosh_was_never_given(
    root: Path, people: list[Filmed], caplog: pytest.LogCaptureFixture
) -> None:
    shutil.rmtree(root / "neutrMosh")
    write(root, "S11", "Walking.60457274", people[1])
    read_sequences(str(root), "test")
    assert not caplog.records


def test_protocol_2_finds_its_camera_in_the_name(root: Path) -> None:
    from vibe_ray.evaluation.protocols import PROTOCOLS

    (name,) = by_name(root, "test")
    assert name == "S9/Walking.60457274"
    assert PROTOCOLS["human36m_p2"].sequences in name
    assert PROTOCOLS["human36m_p1"].sequences == ""


def test_prepare_writes_what_the_source_reads(root: Path, tmp_path: Path) -> None:
    out = str(tmp_path / "out")
    prepare.main(["human36m", "--raw", str(root), "--out", out])
    manifest = read_manifest(out, "labels")
    assert (manifest.dataset, manifest.split, manifest.fps) == ("human36m", "train", 25.0)
    expected = by_name(root, "train")
    for labels in read_label_sequences(out):
        np.testing.assert_array_equal(labels.kp_3d, expected[labels.sequence].kp_3d)
        np.testing.assert_array_equal(labels.pose, expected[labels.sequence].pose)


NAME = "Directions 1.54138969"


def halve(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.parametrize(
    ("file", "damage", "message"),
    [
        (f"S1/MyPoseFeatures/D3_Positions_mono/{NAME}.cdf", halve, "no positions of Human3.6M, or"),
        (f"S1/MyPoseFeatures/D2_Positions/{NAME}.cdf", Path.unlink, "download D2_Positions and"),
        (
            f"S1/MyPoseFeatures/D2_Positions/{NAME}.cdf",
            lambda path: write_cdf(path, np.zeros((N, 17, 2))),
            r"holds Pose of shape \(1, 31, 34\): expected \(1, frames, 64\)",
        ),
        (
            f"S1/MyPoseFeatures/D2_Positions/{NAME}.cdf",
            lambda path: write_cdf(path, np.zeros((N - 1, 32, 2))),
            "30 frames in D2_Positions, 31 in D3_Positions_mono",
        ),
        (f"S1/Videos/{NAME}.mp4", Path.unlink, "no video "),
        (
            "neutrMosh/neutrSMPL_H3.6/S1/Directions 1_cam0_aligned.pkl",
            halve,
            "refused as a file of MoSh for Human3.6M",
        ),
        (
            "neutrMosh/neutrSMPL_H3.6/S1/Directions 1_cam0_aligned.pkl",
            lambda path: path.write_bytes(pickle.dumps({"poses": 1})),
            "is no file of MoSh: expected new_poses",
        ),
        (
            "neutrMosh/neutrSMPL_H3.6/S1/Directions 1_cam0_aligned.pkl",
            lambda path: path.write_bytes(pickle.dumps({**mosh(film(N)), "new_poses": Hostile()})),
            r"it asks for os\.system|it asks for posix\.system",
        ),
        (
            "neutrMosh/neutrSMPL_H3.6/S1/Directions 1_cam0_aligned.pkl",
            lambda path: path.write_bytes(pickle.dumps(mosh(film(5 * N)))),
            r"has poses of shape \(31, 72\) and 10 betas: expected \(7, 72\)",
        ),
    ],
)
def test_what_is_wrong_is_told_in_words(root: Path, file: str, damage: Any, message: str) -> None:
    path = root / file
    if path.suffix == ".cdf" and damage is not halve:
        content = path.read_bytes()
        path.unlink()
        if damage is Path.unlink:
            path.write_bytes(content)
    damage(path)
    with pytest.raises(ValueError, match=message):
        read_sequences(str(root), "train").items[0].read()


class Hostile:
    def __reduce__(self) -> tuple[Any, ...]:
        import os

        return os.system, ("false",)


def test_a_camera_that_is_none(root: Path) -> None:
    write(root, "S5", "Eating.123", film(N))
    recordings = read_sequences(str(root), "train")
    with pytest.raises(ValueError, match="'123' is no camera of"):
        recordings.items[1].read()


def test_nothing_there(root: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"\.cdf of S9 or S11 in"):
        read_sequences(str(tmp_path / "nowhere"), "test")
    with pytest.raises(ValueError, match="no split 'val'"):
        read_sequences(str(root), "val")
