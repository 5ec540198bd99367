import pickle
import tempfile
import uuid
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from tests.data.sources.filmed_person import FOCAL, HEIGHT, WIDTH, Filmed, film, write_frames
from vibe_ray import prepare
from vibe_ray.body.joints import BodyJoints
from vibe_ray.body.model import OPEN_BODY, BodyConfig, load_body
from vibe_ray.body.params import pose_to_rotmat
from vibe_ray.body.skeletons import KEYPOINTS, OPENPOSE_18
from vibe_ray.data.checks import check_sequence
from vibe_ray.data.sequences import read_label_sequences
from vibe_ray.data.shards import read_manifest
from vibe_ray.data.sources.threedpw import read_sequences
from vibe_ray.data.targets import pose_targets

N, LATE = 24, 5
EXTRINSICS = Rotation.from_euler("xyz", [170, 20, -10], degrees=True)
NEUTRAL = {"neutral": BodyConfig()}


def content(people: list[Filmed]) -> dict[str, Any]:
    """A sequence file's dictionary, as 3DPW's README describes it."""
    poses, poses2d = [], []
    for number, person in enumerate(people):
        pose = person.pose.copy()
        world = EXTRINSICS.inv() * Rotation.from_rotvec(pose[:, :3])
        pose[:, :3] = world.as_rotvec()
        poses.append(pose)
        seen = np.full((N, 18, 1), 0.9)
        seen[: LATE * number] = 0  # the second one enters late
        points = np.concatenate([person.of(OPENPOSE_18), seen], axis=2) * (seen > 0)
        poses2d.append(points.transpose(0, 2, 1))
    cam_poses = np.tile(np.eye(4), (N, 1, 1))
    cam_poses[:, :3, :3] = EXTRINSICS.as_matrix()
    cam_poses[:, :3, 3] = 1, 2, 3
    valid = np.ones(N, int)
    valid[-2:] = 0
    return {
        "sequence": "walk_00",
        "genders": ["m", "f"],
        "poses": poses,
        "betas": [person.betas for person in people],
        "trans": [np.zeros((N, 3))] * 2,
        "poses2d": poses2d,
        "cam_poses": cam_poses,
        "campose_valid": [valid, valid],
        "cam_intrinsics": np.array([[FOCAL, 0, WIDTH / 2], [0, FOCAL, HEIGHT / 2], [0, 0, 1]]),
        "img_frame_ids": 2 * np.arange(N),
    }


def write(root: Path, raw: bytes, split: str = "validation", name: str = "walk_00") -> None:
    folder = root / "sequenceFiles" / split
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.pkl").write_bytes(raw)


@pytest.fixture
def people() -> list[Filmed]:
    return [film(N, 0), film(N, 1)]


@pytest.fixture
def root(tmp_path: Path, people: list[Filmed]) -> Path:
    raw = tmp_path / "3DPW"
    write(raw, pickle.dumps(content(people), protocol=2))
    write_frames(raw / "imageFiles/walk_00", [f"image_{n:05d}.jpg" for n in range(N)])
    return raw


def test_values_are_the_truth(root: Path, people: list[Filmed]) -> None:
    found = list(read_sequences(str(root), "val", bodies=NEUTRAL))
    assert [sequence.key for sequence in found] == [("walk_00", "0"), ("walk_00", "1")]
    for number, (labels, person) in enumerate(zip(found, people, strict=True)):
        span = slice(LATE * number, N)
        assert labels.fps == 30
        np.testing.assert_array_equal(labels.frame_index, np.arange(N)[span])
        np.testing.assert_allclose(labels.timestamps, np.arange(N)[span] / 30)
        assert labels.images[0] == f"{root}/imageFiles/walk_00/image_{LATE * number:05d}.jpg"
        assert (labels.width, labels.height) == (WIDTH, HEIGHT)
        np.testing.assert_allclose(labels.kp_2d, person.of(OPENPOSE_18)[span], atol=1e-4)
        assert (labels.kp_2d_conf == 1).all()
        np.testing.assert_allclose(labels.detected_conf, 0.9, rtol=1e-6)
        ours = Rotation.from_rotvec(labels.pose[:, :3])
        truth = Rotation.from_rotvec(person.pose[span, :3])
        assert (ours * truth.inv()).magnitude().max() < 1e-6
        np.testing.assert_allclose(labels.pose[:, 3:], person.pose[span, 3:], atol=1e-6)
        np.testing.assert_allclose(labels.betas, np.tile(person.betas, (len(ours), 1)), rtol=1e-6)
        assert labels.camera[0].tolist() == [FOCAL, FOCAL, WIDTH / 2, HEIGHT / 2]
        for known in (labels.valid, labels.has_smpl, labels.has_kp_3d):
            assert known.tolist() == [True] * (len(ours) - 2) + [False] * 2
        h36m = BodyJoints.h36m(load_body(BodyConfig()), torch.float64)
        rotmat = pose_to_rotmat(torch.tensor(person.pose[span]))
        betas = torch.tensor(person.betas).expand(len(ours), 10)
        np.testing.assert_allclose(labels.kp_3d, h36m(betas, rotmat).numpy(), atol=1e-5)
        assert not list(check_sequence("here", labels))


def test_the_crop_holds_the_person(root: Path, people: list[Filmed]) -> None:
    labels = next(iter(read_sequences(str(root), "val", bodies=NEUTRAL)))
    bounds = people[0].of(OPENPOSE_18)
    longer = np.ptp(bounds, axis=1).max(axis=1)
    np.testing.assert_allclose(labels.box[2:-2, 2], 1.2 * longer[2:-2], rtol=0.02)
    targets = pose_targets(labels)
    column = KEYPOINTS.index("OP LWrist")
    expected = 2 * (people[0].kp_2d[:, column] - labels.box[:, :2]) / labels.box[:, 2:]
    np.testing.assert_allclose(targets["kp_2d"][:, column], expected, atol=1e-4)
    assert np.abs(targets["kp_2d"]).max() < 1


def test_without_a_body_there_is_no_kp_3d(root: Path) -> None:
    labels = next(iter(read_sequences(str(root), "val")))
    assert not labels.has_kp_3d.any()
    assert labels.has_smpl.any()


def test_a_gendered_body_counts_before_the_neutral_one(root: Path) -> None:
    with pytest.raises(ValueError, match="no body for person 1, 'f': give --body"):
        list(read_sequences(str(root), "val", bodies={"m": BodyConfig()}))
    both = {"m": BodyConfig(), "neutral": BodyConfig()}
    assert len(list(read_sequences(str(root), "val", bodies=both))) == 2


def test_prepare_writes_what_the_source_reads(root: Path, tmp_path: Path) -> None:
    out = str(tmp_path / "out")
    flags = ["--raw", str(root), "--out", out, "--split", "val", "--body", str(OPEN_BODY)]
    prepare.main(["threedpw", *flags])
    manifest = read_manifest(out, "labels")
    assert (manifest.dataset, manifest.split, manifest.fps) == ("threedpw", "val", 30.0)
    assert manifest.num_frames == 2 * N - LATE
    expected = next(iter(read_sequences(str(root), "val", bodies=NEUTRAL)))
    labels = next(iter(read_label_sequences(out)))
    np.testing.assert_array_equal(labels.pose, expected.pose)
    np.testing.assert_array_equal(labels.kp_3d, expected.kp_3d)
    assert labels.images == expected.images


MADE_BY_A_PICKLE = Path(tempfile.gettempdir()) / f"made_by_a_pickle_{uuid.uuid4().hex}"


class Hostile:
    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (MADE_BY_A_PICKLE,)


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"cut", "refused as a sequence file of 3DPW"),
        (pickle.dumps(content([film(N)] * 2), protocol=2)[:-100], "refused as a sequence file of"),
        (pickle.dumps({"poses": Hostile()}, protocol=2), "it asks for"),
        (pickle.dumps({"pose": np.zeros(3)}, protocol=2), "it holds .'pose'., expected"),
        (pickle.dumps([1]), "it holds list, expected"),
    ],
)
def test_a_bad_file_is_told_in_words(tmp_path: Path, raw: bytes, message: str) -> None:
    write(tmp_path, raw)
    with pytest.raises(ValueError, match=message):
        list(read_sequences(str(tmp_path), "validation"))
    assert not MADE_BY_A_PICKLE.exists()


def test_missing_pictures_are_told_when_labels_are_made(root: Path) -> None:
    (root / "imageFiles/walk_00/image_00007.jpg").unlink()
    with pytest.raises(ValueError, match=r"1 of 24 frames are missing, first image_00007.jpg in"):
        list(read_sequences(str(root), "val"))


def test_nothing_there(tmp_path: Path) -> None:
    expected = r"no \.pkl file in .*: give the folder that holds sequenceFiles/test"
    with pytest.raises(FileNotFoundError, match=expected):
        read_sequences(str(tmp_path), "test")
    with pytest.raises(ValueError, match="no split 'dev'"):
        read_sequences(str(tmp_path), "dev")
