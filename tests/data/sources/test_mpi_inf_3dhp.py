import os
import shutil
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import scipy.io

from tests.data.sources.filmed_person import (
    FOCAL,
    HEIGHT,
    WIDTH,
    Filmed,
    film,
    project,
    write_frames,
)
from tests.data.sources.test_penn_action import mat as penn_action_mat
from vibe_ray import prepare, storage
from vibe_ray.body.skeletons import COMMON_14, KEYPOINTS, MPII3D_28, MPII3D_TEST_17
from vibe_ray.data.checks import check_sequence
from vibe_ray.data.labels import LabelledSequence
from vibe_ray.data.sequences import read_label_sequences
from vibe_ray.data.shards import read_manifest
from vibe_ray.data.sources.mpi_inf_3dhp import CAMERAS, read_sequences
from vibe_ray.data.targets import pose_targets

N = 40
OUTSIDE = 21
"""A frame of camera 2 in which a wrist is outside of the picture."""


def annotation(people: list[Filmed]) -> dict[str, Any]:
    """What an annot.mat holds: a cell per camera, joints of a frame in one row."""
    cells = {name: np.empty((14, 1), object) for name in ("annot2", "annot3", "univ_annot3")}
    for camera in range(14):
        joints = people[camera % len(people)].points(MPII3D_28)
        pixels = project(joints)
        if camera == 2:
            pixels[OUTSIDE, MPII3D_28.index("lwrist"), 0] = WIDTH + 3
        cells["annot2"][camera, 0] = pixels.reshape(N, -1)
        cells["annot3"][camera, 0] = 1000 * joints.reshape(N, -1)
        cells["univ_annot3"][camera, 0] = 900 * joints.reshape(N, -1)
    return {**cells, "cameras": np.arange(14)[None], "frames": np.arange(N)[:, None]}


def calibration() -> str:
    lines = ["Skeleton Mocap Camera Calibration File V0.1"]
    for camera in range(14):
        focal = FOCAL + camera  # the cameras' lenses differ
        matrix = f"{focal} 0 {WIDTH / 2} 0 0 {focal} {HEIGHT / 2} 0 0 0 1 0 0 0 0 1"
        lines += [
            f"name          {camera}",
            "  sensor      10 10",
            f"  size        {WIDTH} {HEIGHT}",
            "  animated    0",
            f"  intrinsic   {matrix}",
            "  extrinsic   " + "1 0 0 0 0 1 0 0 0 0 1 0 0 0 0 1",
            "  radial      0",
        ]
    return "\n".join(lines)


def write_training(root: Path, name: str, people: list[Filmed]) -> None:
    folder = root / name
    folder.mkdir(parents=True)
    scipy.io.savemat(folder / "annot.mat", annotation(people), do_compression=True)
    (folder / "camera.calibration").write_text(calibration())
    for camera in CAMERAS:
        names = [f"frame_{n + 1:06d}.jpg" for n in range(N)]
        write_frames(folder / f"imageSequence/video_{camera}", names)


def write_test(root: Path, name: str, person: Filmed) -> np.ndarray:
    """A file as MATLAB 7.3 writes it: HDF5 behind its own header, the axes in reverse."""
    folder = root / "mpi_inf_3dhp_test_set" / name
    folder.mkdir(parents=True)
    joints = person.points(MPII3D_TEST_17)
    valid = np.arange(N) % 3 > 0
    with h5py.File(folder / "annot_data.mat", "w", userblock_size=512) as file:
        file["annot2"] = project(joints)[:, None]
        file["annot3"] = 1000 * joints[:, None]
        file["univ_annot3"] = 900 * joints[:, None]
        file["valid_frame"] = valid[:, None].astype(float)
        file["activity_annotation"] = np.ones((N, 1))
    with (folder / "annot_data.mat").open("r+b") as raw:
        raw.write(b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(124) + b"\0\2IM")
    write_frames(folder / "imageSequence", [f"img_{n + 1:06d}.jpg" for n in range(N)])
    return valid


@pytest.fixture(scope="module")
def people() -> list[Filmed]:
    return [film(N, 0), film(N, 1)]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory, people: list[Filmed]) -> Path:
    raw = tmp_path_factory.mktemp("mpi_inf_3dhp")
    write_training(raw, "S1/Seq1", people)
    write_training(raw, "S3/Seq2", people)
    return raw


@pytest.fixture
def own_root(root: Path, tmp_path: Path) -> Path:
    """One recording, to be damaged."""
    shutil.copytree(root / "S1", tmp_path / "S1", copy_function=os.link)
    for name in ("annot.mat", "camera.calibration"):
        file = tmp_path / "S1/Seq1" / name
        content = file.read_bytes()
        file.unlink()
        file.write_bytes(content)
    return tmp_path


def by_name(root: Path, split: str) -> dict[str, LabelledSequence]:
    return {labels.sequence: labels for labels in read_sequences(str(root), split)}


def test_values_are_the_truth(root: Path, people: list[Filmed]) -> None:
    found = by_name(root, "train")
    assert len([name for name in found if name.startswith("S1/Seq1")]) == len(CAMERAS) + 1
    for camera in (0, 1, 5):
        person, labels = people[camera % 2], found[f"S1/Seq1/video_{camera}"]
        assert (labels.fps, labels.num_frames, labels.person) == (25.0, N, "0")
        np.testing.assert_array_equal(labels.frame_index, np.arange(N))
        folder = f"{root}/S1/Seq1/imageSequence/video_{camera}"
        assert labels.images == tuple(f"{folder}/frame_{n + 1:06d}.jpg" for n in range(N))
        joints = person.points(MPII3D_28)
        np.testing.assert_allclose(labels.kp_3d, joints, atol=1e-5)
        np.testing.assert_allclose(labels.kp_2d, project(joints), atol=1e-4)
        assert labels.camera[0].tolist() == [FOCAL + camera] * 2 + [WIDTH / 2, HEIGHT / 2]
        assert labels.has_kp_3d.all()
        assert labels.valid.all()
        assert not labels.has_smpl.any()
        assert not list(check_sequence("here", labels))


def test_joints_are_matched_by_name(root: Path, people: list[Filmed]) -> None:
    labels = by_name(root, "train")["S1/Seq1/video_1"]
    targets = pose_targets(labels)
    for name in ("Spine (H36M)", "hip", *COMMON_14):
        column = KEYPOINTS.index(name)
        np.testing.assert_allclose(
            targets["kp_3d"][:, column], people[1].kp_3d[:, column], atol=1e-5
        )
        expected = 2 * (people[1].kp_2d[:, column] - labels.box[:, :2]) / labels.box[:, 2:]
        np.testing.assert_allclose(targets["kp_2d"][:, column], expected, atol=1e-4)
    assert np.abs(targets["kp_2d"]).max() < 1


def test_a_frame_with_a_joint_outside_cuts_the_track(root: Path) -> None:
    found = by_name(root, "train")
    pieces = [found[f"S1/Seq1/video_2_part0{number}"] for number in range(2)]
    frames = [piece.frame_index.tolist() for piece in pieces]
    assert frames == [list(range(OUTSIDE)), list(range(OUTSIDE + 1, N))]
    assert pieces[1].images[0].endswith(f"video_2/frame_{OUTSIDE + 2:06d}.jpg")


def test_pictures_of_a_camera_are_listed_once_however_often_its_track_is_cut(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed: list[str] = []

    def note(path: str) -> list[str]:
        listed.append(path)
        return visible_files(path)

    visible_files = storage.visible_files
    monkeypatch.setattr(storage, "visible_files", note)
    items = {item.name: item for item in read_sequences(str(root), "train").items}
    assert len(items["S1/Seq1/video_2"].read()) == 2
    assert listed == [f"{root}/S1/Seq1/imageSequence/video_2"]


def test_of_a_recording_of_50_frames_a_second_every_other_one_is_taken(
    root: Path, people: list[Filmed]
) -> None:
    labels = by_name(root, "train")["S3/Seq2/video_0"]
    assert labels.fps == 25
    np.testing.assert_array_equal(labels.frame_index, np.arange(0, N, 2))
    np.testing.assert_allclose(labels.timestamps, np.arange(0, N, 2) / 50)
    assert labels.images[1].endswith("frame_000003.jpg")
    np.testing.assert_allclose(labels.kp_3d, people[0].points(MPII3D_28)[::2], atol=1e-5)
    assert not list(check_sequence("here", labels))


def test_a_video_in_the_place_of_pictures(own_root: Path) -> None:
    folder = own_root / "S1/Seq1/imageSequence"
    (folder / "video_0").rename(folder / "elsewhere")
    (folder / "video_0.avi").touch()
    labels = by_name(own_root, "train")["S1/Seq1/video_0"]
    assert (labels.video, labels.images) == (f"{folder}/video_0.avi", ())
    assert (labels.width, labels.height) == (WIDTH, HEIGHT)


def test_the_test_set_has_universal_joints_and_valid_frames(
    tmp_path: Path, people: list[Filmed]
) -> None:
    valid = write_test(tmp_path, "TS3", people[1])
    (labels,) = read_sequences(str(tmp_path), "test")
    assert (labels.sequence, labels.fps, labels.num_frames) == ("TS3", 25.0, N)
    np.testing.assert_array_equal(labels.valid, valid)
    np.testing.assert_array_equal(labels.has_kp_3d, valid)
    np.testing.assert_allclose(labels.kp_3d, 0.9 * people[1].points(MPII3D_TEST_17), atol=1e-5)
    np.testing.assert_allclose(labels.kp_2d, people[1].of(MPII3D_TEST_17), atol=1e-4)
    assert labels.images[-1].endswith(f"TS3/imageSequence/img_{N:06d}.jpg")
    assert (labels.box[:, 2] > 0).all()
    targets = pose_targets(labels)
    column = KEYPOINTS.index("rwrist")
    truth = 0.9 * people[1].kp_3d[valid, column]
    np.testing.assert_allclose(targets["kp_3d"][valid, column], truth, atol=1e-5)
    assert not list(check_sequence("here", labels))


@pytest.mark.parametrize(
    ("split", "message"),
    [
        ("train", "has no annot.mat: S1/Seq2, S2/Seq1, S2/Seq2, S3/Seq1, S4/Seq1, "),
        ("test", "has no annot_data.mat: {0}TS1, {0}TS2, {0}TS4, {0}TS5, {0}TS6"),
    ],
)
def test_recordings_that_are_absent_are_told(
    root: Path, split: str, message: str, caplog: pytest.LogCaptureFixture
) -> None:
    folder = root / "mpi_inf_3dhp_test_set/TS3"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "annot_data.mat").touch()  # is not read yet
    read_sequences(str(root), split)
    (record,) = caplog.records
    assert message.format("mpi_inf_3dhp_test_set/") in record.getMessage()
    assert "S1/Seq1" not in record.getMessage()


def test_prepare_writes_what_the_source_reads(root: Path, tmp_path: Path) -> None:
    out = str(tmp_path / "out")
    prepare.main(["mpi_inf_3dhp", "--raw", str(root), "--out", out])
    manifest = read_manifest(out, "labels")
    assert (manifest.dataset, manifest.split, manifest.fps) == ("mpi_inf_3dhp", "train", 25.0)
    assert manifest.num_frames == len(CAMERAS) * (N + N // 2) - 1
    expected = by_name(root, "train")
    for labels in read_label_sequences(out):
        np.testing.assert_array_equal(labels.kp_3d, expected[labels.sequence].kp_3d)
        assert labels.images == expected[labels.sequence].images


def lose_camera(folder: Path) -> None:
    text = (folder / "camera.calibration").read_text()
    (folder / "camera.calibration").write_text(text.replace("name          0", "name x"))


def of_other_joints() -> dict[str, Any]:
    cells = {name: np.empty((14, 1), object) for name in ("annot2", "annot3")}
    for cell in cells.values():
        cell[:] = [[np.zeros((N, 34))]] * 14
    return cells


def cut_off(folder: Path) -> None:
    raw = (folder / "annot.mat").read_bytes()
    (folder / "annot.mat").write_bytes(raw[: len(raw) // 2])


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (cut_off, "no .mat file, or cut off"),
        (
            lambda folder: (folder / "annot.mat").write_bytes(penn_action_mat(film(12))),
            "no annotation of MPI-INF-3DHP: no annot2, annot3 among action, pose, x, y",
        ),
        (
            lambda folder: scipy.io.savemat(folder / "annot.mat", of_other_joints()),
            r"camera 0 have shapes .*: expected \(40, 56\) and \(40, 84\)",
        ),
        (
            lambda folder: (folder / "imageSequence/video_0/frame_000009.jpg").unlink(),
            "1 of 40 frames are missing, first frame_000009.jpg in",
        ),
        (
            lambda folder: [
                (folder / f"imageSequence/video_0/frame_00000{n}.jpg").unlink() for n in (1, 2)
            ],
            "the first picture in .* is frame_000003.jpg: expected number 0 or 1",
        ),
        (
            lambda folder: (folder / "imageSequence/video_0").rename(folder / "away"),
            r"neither .*video_0\.avi nor pictures of it",
        ),
        (lambda folder: (folder / "camera.calibration").unlink(), "which tells the cameras'"),
        (lose_camera, "knows no camera 0"),
        (
            lambda folder: (folder / "camera.calibration").write_text("name 0\n size 9"),
            "is damaged at camera 0",
        ),
    ],
)
def test_what_is_wrong_is_told_in_words(own_root: Path, damage: Any, message: str) -> None:
    damage(own_root / "S1/Seq1")
    recording = read_sequences(str(own_root), "train").items[0]
    assert recording.name == "S1/Seq1/video_0"
    with pytest.raises(ValueError, match=message):
        recording.read()


def test_a_test_file_that_is_cut_off_or_another_s(tmp_path: Path) -> None:
    write_test(tmp_path, "TS1", film(N))
    file = tmp_path / "mpi_inf_3dhp_test_set/TS1/annot_data.mat"
    whole = file.read_bytes()
    for raw in (whole[:3000], penn_action_mat(film(12)), b""):
        file.write_bytes(raw)
        with pytest.raises(ValueError, match=r"no .mat file of version 7\.3, or cut off"):
            list(read_sequences(str(tmp_path), "test"))
    with h5py.File(file, "w") as other:
        other["Masks"] = np.zeros(3)
    with pytest.raises(ValueError, match="no test annotation of MPI-INF-3DHP: no annot2"):
        list(read_sequences(str(tmp_path), "test"))


def test_nothing_there(tmp_path: Path) -> None:
    for split in ("train", "test"):
        with pytest.raises(FileNotFoundError, match="give the folder that holds S1 to S8"):
            read_sequences(str(tmp_path), split)
    with pytest.raises(ValueError, match="no split 'val'"):
        read_sequences(str(tmp_path), "val")
