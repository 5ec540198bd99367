import io
import pickle
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from vibe_ray.body.skeletons import SMPL_JOINTS
from vibe_ray.data.sources import amass
from vibe_ray.data.sources.conversion import Conversion, ConversionConfig

LEFT_INDEX, RIGHT_INDEX = {156: 22, 165: 25}, {156: 37, 165: 40}


def make_npz(num_numbers: int = 156, num_frames: int = 301, **changes: object) -> bytes:
    """Somebody stands upright in AMASS's axes (z up); every joint has its own small swing."""
    times = np.arange(num_frames) / 120
    poses = 0.1 * np.sin(times[:, None] + np.arange(num_numbers))
    poses[:, :3] = Rotation.from_euler("x", 90, degrees=True).as_rotvec()
    trans = np.stack([times, 2 * times, 1.2 + 0 * times], axis=1)
    rate = "mocap_framerate" if num_numbers == 156 else "mocap_frame_rate"
    arrays = {"poses": poses, "trans": trans, "betas": np.arange(16.0) / 16, rate: np.array(120.0)}
    arrays |= {"gender": np.array("female")} | changes
    buffer = io.BytesIO()
    np.savez(buffer, **{name: array for name, array in arrays.items() if array is not None})
    return buffer.getvalue()


@pytest.mark.parametrize("num_numbers", [156, 165])
def test_bodies_and_index_fingers_are_kept(num_numbers: int, conversion: Conversion) -> None:
    content = make_npz(num_numbers)
    sequence = amass.parse_amass(content, conversion.rest_joints)
    poses = np.load(io.BytesIO(content))["poses"].reshape(-1, num_numbers // 3, 3)
    pose = sequence.pose.reshape(-1, 24, 3)
    assert sequence.fps == 120.0
    np.testing.assert_allclose(pose[:, 1:22], poses[:, 1:22], atol=1e-6)
    np.testing.assert_allclose(pose[:, 22], poses[:, LEFT_INDEX[num_numbers]], atol=1e-6)
    np.testing.assert_allclose(pose[:, 23], poses[:, RIGHT_INDEX[num_numbers]], atol=1e-6)
    np.testing.assert_allclose(sequence.betas, np.arange(10) / 16)


def test_the_world_has_y_up(conversion: Conversion) -> None:
    sequence = amass.parse_amass(make_npz(), conversion.rest_joints)
    np.testing.assert_allclose(sequence.pose[:, :3], 0, atol=1e-6)  # upright is the rest pose
    # AMASS's trans moves the model, in which the pelvis has its own unturned place.
    pelvis = conversion.rest_joints[SMPL_JOINTS.index("pelvis")]
    times = np.arange(301) / 120
    x, y, z = times + pelvis[0], 2 * times + pelvis[1], 1.2 + 0 * times + pelvis[2]
    np.testing.assert_allclose(sequence.trans, np.stack([x, z, -y], axis=1), atol=1e-6)


def test_a_download_is_read_in_order_and_shapes_are_passed_over(tmp_path: Path) -> None:
    for name in ("KIT/3/walk_poses.npz", "ACCAD/s1/run_stageii.npz"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_bytes(make_npz(165 if "stageii" in name else 156))
    (tmp_path / "KIT/3/shape.npz").write_bytes(b"")
    (tmp_path / "ACCAD/s1/neutral_stagei.npz").write_bytes(b"")
    skipped: list[str] = []
    sequences = list(
        amass.read_sequences(str(tmp_path), on_skip=lambda path, _: skipped.append(path))
    )
    names = [sequence.name for sequence in sequences]
    assert names == ["ACCAD/s1/run_stageii", "KIT/3/walk_poses"]
    assert not skipped
    assert all(sequence.fps == 25.0 and len(sequence.pose) == 63 for sequence in sequences)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mocap_framerate": None}, "no mocap_framerate or mocap_frame_rate among"),
        ({"poses": None}, "no poses among trans, betas"),
        ({"mocap_framerate": np.array(0.0)}, "mocap_framerate: 0 frames per second, but motion"),
        ({"mocap_framerate": np.array(np.nan)}, "mocap_framerate: nan frames per second"),
        ({"mocap_framerate": np.array(1 / 60)}, "0.01667 frames per second.*--source-fps"),
        ({"mocap_framerate": np.array(1e300)}, "1e\\+300 frames per second"),
        ({"mocap_framerate": np.array([120.0, 120.0])}, r"of shape \(2,\): expected one number"),
        ({"mocap_framerate": np.array("120")}, "'mocap_framerate' of shape .*holds <U3"),
        ({"mocap_framerate": np.array(120.0, dtype=object)}, "'mocap_framerate' holds Python obj"),
        ({"poses": np.array(3.0)}, r"poses of shape \(\) and trans"),
        ({"poses": np.zeros(156)}, r"poses of shape \(156,\)"),
        ({"poses": np.full((301, 156), 170.0)}, "poses reach 170: expected radians"),
        ({"trans": np.full((301, 3), 1e300)}, "trans reach 1e\\+300: expected meters"),
        ({"betas": np.full(16, 1e300)}, "betas reach 1e\\+300"),
        ({"betas": np.zeros(5000)}, "5000 betas: expected 10 or more, up to 1000"),
        ({"poses": np.zeros((0, 156)), "trans": np.zeros((0, 3))}, "it has 0 frames"),
        ({"poses": np.zeros((1, 156)), "trans": np.zeros((1, 3))}, "it has 1 frames"),
        ({"poses": np.zeros((301, 72))}, r"poses of shape \(301, 72\).*expected \(N, 156\)"),
        ({"trans": np.zeros((300, 3))}, r"trans of \(300, 3\)"),
        ({"betas": np.zeros(4)}, "4 betas: expected 10 or more"),
        ({"poses": np.full((301, 156), np.nan)}, "some numbers of poses are not finite"),
        ({"poses": np.zeros((280, 156)), "trans": np.zeros((280, 3))}, "no 60 clean frames"),
        ({"poses": np.full((301, 156), "a")}, r"'poses' of shape \(301, 156\) holds <U1"),
    ],
)
def test_what_cannot_be_used_says_why(
    tmp_path: Path, changes: dict[str, np.ndarray | None], message: str
) -> None:
    path = tmp_path / "clip.npz"
    path.write_bytes(make_npz(**changes))
    with pytest.raises(ValueError, match=message):
        list(amass.read_sequences(str(path)))


class Bomb:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return Path.touch, (Path("/tmp/vibe_ray_was_hacked"),)  # type: ignore[return-value]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"PK\x03\x04 not a zip",
        make_npz()[:5000],
        pickle.dumps(Bomb()),
        make_npz(poses=np.array([Bomb()], dtype=object)),
    ],
    ids=["empty", "no zip", "cut off", "pickle", "pickle inside"],
)
def test_hostile_and_broken_files_are_refused_and_run_nothing(
    content: bytes, conversion: Conversion
) -> None:
    with pytest.raises(ValueError, match=r"npz|could run code"):
        amass.parse_amass(content, conversion.rest_joints)
    assert not Path("/tmp/vibe_ray_was_hacked").exists()


def test_a_rate_that_is_stated_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "clip.npz").write_bytes(make_npz(mocap_framerate=np.array(120, dtype=object)))
    config = ConversionConfig(source_fps={"*": 60.0})
    (sequence,) = amass.read_sequences(str(tmp_path), config)
    assert len(sequence.pose) == 126  # 301 frames at 60


def test_y_up_in_amass_clothes_stands(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The same walk with the world's y up, as other tools write it."""
    times = np.arange(301) / 120
    poses = np.zeros((301, 156))
    poses[:, 3], poses[:, 6] = 0.5 * np.sin(5 * times), -0.5 * np.sin(5 * times)  # hips
    path = np.stack([0 * times, 0.95 + 0 * times, times], axis=1)
    z_up = Rotation.from_euler("x", 90, degrees=True)
    upright = poses.copy()
    upright[:, :3] = z_up.as_rotvec()
    pelvis = Conversion(ConversionConfig()).rest_joints[SMPL_JOINTS.index("pelvis")]
    there = z_up.apply(path + pelvis) - pelvis  # AMASS turns the model, not the pelvis in it
    (tmp_path / "a.npz").write_bytes(make_npz(poses=upright, trans=there))
    (tmp_path / "b.npz").write_bytes(make_npz(poses=poses, trans=path))
    expected, found = amass.read_sequences(str(tmp_path))
    np.testing.assert_allclose(found.pose, expected.pose, atol=1e-5)
    np.testing.assert_allclose(found.trans, expected.trans, atol=1e-5)
    assert "b: its body lies through the whole clip" in caplog.text
    assert "a: " not in caplog.text


def test_the_real_sample_sits_with_its_feet_on_the_floor(
    test_data: Path, conversion: Conversion
) -> None:
    (sequence,) = amass.read_sequences(str(test_data / "amass_sample.npz"))
    assert sequence.fps == 25.0
    assert len(sequence.pose) == 126  # 601 frames at 120
    assert 0.5 < sequence.trans[:, 1].min() < sequence.trans[:, 1].max() < 1.0
    up = Rotation.from_rotvec(sequence.pose[:, :3]).apply([0, 1, 0])
    assert up[:, 1].min() > 0.8
