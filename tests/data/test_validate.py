import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.data import noise
from tests.data.test_agreement import rewrite, with_column
from vibe_ray.body.joints import BodyJoints
from vibe_ray.body.model import BodyConfig, load_body
from vibe_ray.body.params import pose_to_rotmat
from vibe_ray.body.skeletons import KEYPOINTS, mirror_table
from vibe_ray.data.checks import Finding
from vibe_ray.data.labels import AnySequence, LabelledSequence, LabelNames
from vibe_ray.data.manifest import Manifest
from vibe_ray.data.mixing import DataConfig, make_plan
from vibe_ray.data.schema import MotionSequence, PoseSequence
from vibe_ray.data.shards import ShardWriter
from vibe_ray.data.validate import check_usable, pose_sets, validate

N = 20


@pytest.fixture(scope="module")
def person() -> PoseSequence:
    """Somebody upright before the camera, who turns around in `N` frames."""
    pose = torch.zeros(N, 72)
    turn = torch.linspace(-0.2, 0.2, N)
    pose[:, 0], pose[:, 2] = np.pi * turn.cos(), np.pi * turn.sin()  # camera axes: y down
    with torch.no_grad():
        kp_3d = BodyJoints.keypoints(load_body(BodyConfig()))(
            torch.zeros(N, 10), pose_to_rotmat(pose)
        )
    known = np.ones(N, bool)
    arrays: dict[str, Any] = {"kp_3d": kp_3d.numpy(), "pose": pose.numpy()}
    arrays |= {"kp_2d": kp_3d[..., :2].numpy(), "kp_2d_conf": np.ones((N, 49), np.float32)}
    masks: dict[str, Any] = {"has_kp_3d": known, "has_smpl": known, "valid": known}
    return noise.pose_sequence("person", N, **arrays, **masks)


def still(name: str, **changes: Any) -> MotionSequence:
    return noise.motion_sequence(name, N, pose=np.zeros((N, 72), np.float32), **changes)


def write(out: Path, header: Manifest, *sequences: AnySequence) -> None:
    with ShardWriter(str(out), header) as writer:
        for number, sequence in enumerate(sequences):
            writer.write_recording(str(number), [sequence])


def findings(path: Path) -> list[Finding]:
    return list(validate(str(path)))


def test_a_good_data_set_has_no_findings(tmp_path: Path, person: PoseSequence) -> None:
    write(tmp_path / "open_3d/train", noise.header("open_3d/train"), person)
    write(
        tmp_path / "open_3d/test", noise.header("open_3d/test"), replace(person, sequence="other")
    )
    motion = noise.header("motion/train")
    write(tmp_path / "motion/train", motion, still("person"))
    assert findings(tmp_path) == []
    assert findings(tmp_path / "open_3d/train") == []


@pytest.mark.parametrize(
    ("changes", "level", "message"),
    [
        (lambda p: {"pose": _set(p.pose, np.nan)}, "error", "1 values of pose are NaN"),
        (lambda p: {"features": _set(p.features, np.inf)}, "error", "1 values of features are"),
        (lambda p: {"pose": np.degrees(p.pose)}, "error", "expected radians, found degrees"),
        (lambda p: {"betas": _set(p.betas, 30)}, "warning", "betas exceed 10 standard"),
        (lambda p: {"kp_3d": 1000 * p.kp_3d}, "error", r"kp_3d span 1.*: expected a body in meter"),
        (lambda p: {"kp_3d": 0.1 * p.kp_3d}, "error", r"kp_3d span 0\.1.*: expected a body in met"),
        (lambda p: {"kp_3d": -p.kp_3d}, "warning", "the neck is above the hips in 0% of frames"),
        (lambda p: {"kp_3d": p.kp_3d[:, mirror_table(KEYPOINTS)]}, "error", "left in 0% of frames"),
        (lambda p: {"kp_3d": p.kp_3d * [-1, 1, 1]}, "error", "left hip on the pose's left in 0%"),
        (
            lambda p: {"kp_3d": _swapped(p, "lknee", "lankle")},
            "warning",
            r"thighs of 0\.[78]\d* and",
        ),
        (
            lambda p: {"kp_3d": _swapped(p, "relbow", "rwrist")},
            "warning",
            "a left upper arm of 0.2",
        ),
        (lambda p: {"kp_3d": _grown(p)}, "warning", r"shins of 0\.2\d* to 0\.[34]\d* m"),
        (lambda p: {"kp_2d": 112 * (p.kp_2d + 1)}, "error", "found pixels"),
        (lambda p: {"kp_2d_conf": 100 * p.kp_2d_conf}, "error", "kp_2d_conf has 0 to 100, expect"),
        (lambda p: {"fps": 30.0}, "error", "30 frames per second, the manifest says 25"),
    ],
)
def test_what_is_wrong_with_a_sequence_is_found(
    tmp_path: Path, person: PoseSequence, changes: Any, level: str, message: str
) -> None:
    wrong = replace(person, sequence="wrong", **changes(person))
    write(tmp_path, noise.header("open_3d/train"), person, wrong)
    found = findings(tmp_path)
    assert found
    assert all(f"{tmp_path}: wrong" in finding.message for finding in found)
    assert any(item.level == level and re.search(message, item.message) for item in found), found


def _swapped(person: PoseSequence, one: str, other: str) -> np.ndarray:
    order = list(range(len(KEYPOINTS)))
    i, j = KEYPOINTS.index(one), KEYPOINTS.index(other)
    order[i], order[j] = j, i
    return person.kp_3d[:, order]


def _grown(person: PoseSequence) -> np.ndarray:
    """A person who is a child in half of the frames."""
    return person.kp_3d * np.where(np.arange(N) < N // 2, 1, 0.5)[:, None, None]


def test_hips_and_ankles_must_agree_on_the_sides(tmp_path: Path, person: PoseSequence) -> None:
    kp_3d = person.kp_3d.copy()
    ankles = [KEYPOINTS.index("lankle"), KEYPOINTS.index("rankle")]
    kp_3d[:, ankles] = kp_3d[:, ankles[::-1]]
    write(tmp_path, noise.header("open_3d/train"), replace(person, kp_3d=kp_3d))
    (found,) = findings(tmp_path)
    assert found.level == "warning"
    assert "hips and ankles disagree" in found.message


def test_where_nothing_is_known_nothing_is_checked(tmp_path: Path, person: PoseSequence) -> None:
    none = np.zeros(N, bool)
    unknown: dict[str, Any] = {"has_kp_3d": none, "kp_3d": np.zeros((N, 49, 3))}
    unseen: dict[str, Any] = {"kp_2d": np.full((N, 49, 2), 1e4), "kp_2d_conf": np.zeros((N, 49))}
    write(tmp_path, noise.header("open_2d/train"), replace(person, **unknown, **unseen))
    assert findings(tmp_path) == []


def test_an_odd_frame_rate_is_told(tmp_path: Path) -> None:
    header = noise.header("motion/train", fps=120.0)
    write(tmp_path, header, still("run", fps=120.0))
    (found,) = findings(tmp_path)
    assert found.level == "warning"
    assert "plays at 120 frames per second, expected 10 to 60" in found.message


def test_twins_and_leaks_are_found(tmp_path: Path, person: PoseSequence) -> None:
    train, test = tmp_path / "a/train", tmp_path / "b/test"
    write(train, noise.header("open_3d/train"), person, person, replace(person, person="1"))
    write(test, noise.header("open_3d/test"), person)
    messages = [finding.message for finding in findings(tmp_path)]
    assert messages == [
        f"{train}: person appears twice: remove one",
        f"{test}: person is also in split 'train': an evaluation would measure what was trained "
        "on; split by recording",
    ]


def test_equal_names_in_different_data_sets_are_no_leak(
    tmp_path: Path, person: PoseSequence
) -> None:
    write(tmp_path / "a", noise.header("open_3d/train"), person)
    write(tmp_path / "b", noise.header("other_3d/test"), person)
    assert findings(tmp_path) == []


def test_damaged_and_missing_files_are_found(tmp_path: Path, person: PoseSequence) -> None:
    for name in ("a", "b"):
        write(tmp_path / name, noise.header("open_3d/train"), person)
    (cut,) = (tmp_path / "a").glob("*.parquet")
    cut.write_bytes(cut.read_bytes()[:-100])
    (gone,) = (tmp_path / "b").glob("*.parquet")
    gone.unlink()
    first, second = findings(tmp_path)
    assert "is not what was written" in first.message
    assert "is missing: copy the data set again" in second.message


def test_a_manifest_that_cannot_be_read_is_a_finding(tmp_path: Path, person: PoseSequence) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a/manifest.json").write_text('{"schema_version": 9}')
    write(tmp_path / "b", noise.header("open_3d/train"), person)
    (found,) = findings(tmp_path)
    assert found.level == "error"
    assert "schema version 9" in found.message


def test_what_cannot_be_read_does_not_keep_others_from_being_checked(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write(tmp_path / name, noise.header("motion/train", fps=120.0), still("run", fps=120.0))
    rewrite(tmp_path / "a", with_column("fps", 0.0))
    messages = [finding.message for finding in findings(tmp_path)]
    assert f"{tmp_path}/a cannot be read: run plays at 0.0 frames per second" in messages[1]
    assert messages[2].startswith(f"{tmp_path}/b plays at 120 frames per second")


def test_a_folder_without_data_sets_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no data set at or below"):
        findings(tmp_path)


def check(config: DataConfig, feature_dim: int) -> None:
    plan = make_plan(config, seed=0)
    check_usable(config, feature_dim, plan, pose_sets(config, plan))


def test_usable_data_pass(shards: str) -> None:
    check(DataConfig(root=shards), noise.F)


def test_unusable_data_are_told_before_a_run(shards: str) -> None:
    config = DataConfig(root=shards)
    with pytest.raises(ValueError, match=r"width 16 \(encoder 'noise'\), the generator expects 8"):
        check(config, 8)
    with pytest.raises(ValueError, match="the longest clip 90"):
        check(replace(config, window_length=91), noise.F)
    with pytest.raises(FileNotFoundError, match=r"open_3d/absent .*python -m vibe_ray\.prepare"):
        check(replace(config, validation="open_3d/absent"), noise.F)


def test_features_of_different_encoders_are_not_mixed(tmp_path: Path) -> None:
    config = DataConfig(root=noise.write_all(str(tmp_path)))
    other = noise.pose_sequence("s", 20, encoder_id="other")
    write(tmp_path / "open_3d/train", noise.header("open_3d/train", encoder_id="other"), other)
    with pytest.raises(ValueError, match="different frame encoders cannot be mixed"):
        check(config, noise.F)


@pytest.mark.parametrize("stream", ["open_2d/train", "open_3d/train"])
def test_motion_at_another_frame_rate_than_the_captures_is_refused(
    tmp_path: Path, stream: str
) -> None:
    root = noise.write_all(str(tmp_path))
    write(tmp_path / stream, noise.header(stream, fps=30.0), noise.pose_sequence("s", 20, fps=30.0))
    message = f"{root}/{stream} plays at 30 frames .*{root}/motion/train at 25: .*--fps 30"
    with pytest.raises(ValueError, match=message):
        check(DataConfig(root=root), noise.F)
    check(DataConfig(root=root, batch_size=0, validation="motion/train"), noise.F)


def test_rates_that_windows_and_motion_both_have_may_be_mixed(tmp_path: Path) -> None:
    root = noise.write_all(str(tmp_path))
    path = tmp_path / "open_3d/train"
    shutil.rmtree(path)
    write(path, noise.header("open_3d/train", fps=30.0), noise.pose_sequence("s", 20, fps=30.0))
    noise.write(root, "motion/fast", (50,), fps=30.0)
    both = DataConfig(root=root, motion=("motion/train", "motion/fast"))
    check(both, noise.F)
    message = f"{root}/motion/train plays at 25 frames .*{root}/open_3d/train at 30: .*--fps 30"
    with pytest.raises(ValueError, match=message):
        check(replace(both, ratio_2d=0.0), noise.F)


def test_frame_rates_may_differ_by_rounding(tmp_path: Path) -> None:
    root = noise.write_all(str(tmp_path))
    noise.write(root, "motion/train", (50,), fps=25.02)
    check(DataConfig(root=root), noise.F)


def _set(array: np.ndarray, value: float) -> np.ndarray:
    changed = array.copy()
    changed.flat[7] = value
    return changed


@pytest.fixture(scope="module")
def labelled(person: PoseSequence) -> LabelledSequence:
    """The same person as labels: the box is 200 pixels wide, at (300, 240)."""
    known: dict[str, Any] = {
        name: getattr(person, name)
        for name in ("pose", "betas", "kp_3d", "has_kp_3d", "has_smpl", "valid")
    }
    kp_2d = 100 * person.kp_2d + np.float32([300, 240])
    known |= {"kp_2d": kp_2d, "kp_2d_conf": person.kp_2d_conf}
    known |= {"detected": kp_2d, "detected_conf": person.kp_2d_conf}
    box = np.tile(np.float32([300, 240, 200]), (N, 1))
    names = LabelNames(kp_2d=KEYPOINTS, detected=KEYPOINTS, kp_3d=KEYPOINTS)
    return noise.labelled_sequence("person", N, box=box, names=names, **known)


def write_labels(out: Path, labels: LabelledSequence) -> None:
    write(out, noise.header("labels/train", names=labels.names), labels)


def test_good_labels_have_no_findings(tmp_path: Path, labelled: LabelledSequence) -> None:
    write_labels(tmp_path, labelled)
    assert findings(tmp_path) == []


@pytest.mark.parametrize(
    ("changes", "level", "message"),
    [
        (lambda s: {"kp_2d": _set(s.kp_2d, np.nan)}, "error", "1 values of kp_2d are NaN"),
        (lambda s: {"kp_2d": (s.kp_2d - 300) / 100}, "error", "beyond [0-9.]+ pixels, and"),
        (lambda s: {"box": s.box / 640}, "error", "expected key-points in pixels of the"),
        (lambda s: {"kp_2d_conf": 9 * s.kp_2d_conf}, "error", "kp_2d_conf has 0 to 9, expected 0"),
        (lambda s: {"detected_conf": -s.kp_2d_conf}, "error", "detected_conf has -1 to 0, expect"),
        (lambda s: {"kp_3d": 1000 * s.kp_3d}, "error", r"kp_3d span 1.*: expected a body in meter"),
        (lambda s: {"kp_3d": -s.kp_3d}, "warning", "the neck is above the hips in 0% of frames"),
        (lambda s: {"kp_3d": s.kp_3d * [-1, 1, 1]}, "error", "left hip on the pose's left in 0%"),
        (lambda s: {"width": 290}, "warning", r"[0-9]+% of the key-points that supervise lie outs"),
        (lambda s: {"timestamps": _late(s.timestamps)}, "error", "frames are up to 3 and down to"),
        (lambda s: {"timestamps": 2 * s.timestamps}, "error", "cut the track at gaps, resample"),
        (
            lambda s: {"names": replace(s.names, kp_3d=("any",) * 49)},
            "error",
            "no rankle, .* among the 3D key-points any, any",
        ),
    ],
)
def test_what_is_odd_about_labels_is_told(
    tmp_path: Path, labelled: LabelledSequence, changes: Any, level: str, message: str
) -> None:
    write_labels(tmp_path, replace(labelled, **changes(labelled)))
    assert any(
        finding.level == level and re.search(message, finding.message)
        for finding in findings(tmp_path)
    ), findings(tmp_path)


def _late(timestamps: np.ndarray) -> np.ndarray:
    """Two frames are missing in the middle."""
    return timestamps + 2 / noise.FPS * (np.arange(N) > N // 2)
