import numpy as np
import pytest
from scipy.spatial.transform import Rotation, Slerp

from vibe_ray.data.resampling import (
    frame_times,
    nearest_frames,
    playback_times,
    resample_motion,
    resample_positions,
    resample_rotations,
)

RATES = [12.0, 16.67, 25.0, 30.0, 59.94, 60.0, 100.0, 120.0, 250.0]


@pytest.mark.parametrize("source_fps", RATES)
@pytest.mark.parametrize("fps", [25.0, 30.0, 60.0])
def test_a_steady_turn_stays_steady_at_any_rate(source_fps: float, fps: float) -> None:
    speed = np.array([0.3, -0.2, 0.5])  # radians per second about a fixed axis; below pi at the end
    source_times = np.arange(int(3 * source_fps) + 1) / source_fps
    pose = (source_times[:, None] * np.tile(speed, 2)).astype(np.float32)
    trans = (source_times[:, None] * [1.0, 2.0, -3.0]).astype(np.float32)

    new_pose, new_trans = resample_motion(pose, trans, source_fps, fps)

    times = np.arange(len(new_pose)) / fps
    np.testing.assert_allclose(new_pose, times[:, None] * np.tile(speed, 2), atol=1e-5)
    np.testing.assert_allclose(new_trans, times[:, None] * [1.0, 2.0, -3.0], atol=1e-5)
    assert source_times[-1] - 1 / fps < times[-1] <= source_times[-1] + 1e-6
    assert new_pose.dtype == new_trans.dtype == np.float32


@pytest.mark.parametrize(
    ("num_frames", "source_fps", "expected"),
    [
        (1201, 120.0, 251),
        (601, 60.0, 251),
        (2501, 250.0, 251),
        (600, 59.94, 250),
        (168, 16.67, 251),
    ],
)
def test_ten_seconds_are_ten_seconds_of_25_frames(
    num_frames: int, source_fps: float, expected: int
) -> None:
    pose, trans = resample_motion(
        np.zeros((num_frames, 72)), np.zeros((num_frames, 3)), source_fps, 25.0
    )
    assert len(pose) == len(trans) == expected


def test_rotations_agree_with_scipys_slerp(rng: np.random.Generator) -> None:
    source_times = np.cumsum(rng.uniform(0.01, 0.05, 40))  # frames of different durations
    pose = Rotation.random(40 * 24, random_state=1).as_rotvec().reshape(40, 72)
    times = np.sort(rng.uniform(source_times[0], source_times[-1], 100))

    resampled = resample_rotations(pose, source_times, times).reshape(-1, 24, 3)

    for joint in range(24):
        turns = Rotation.from_rotvec(pose.reshape(-1, 24, 3)[:, joint])
        expected = Slerp(source_times, turns)(times)
        error = (expected.inv() * Rotation.from_rotvec(resampled[:, joint])).magnitude()
        assert error.max() < 1e-7


def test_positions_agree_with_numpys_interp(rng: np.random.Generator) -> None:
    source_times = np.cumsum(rng.uniform(0.01, 0.05, 40))
    positions = rng.normal(size=(40, 3))
    times = np.sort(rng.uniform(source_times[0], source_times[-1], 100))
    resampled = resample_positions(positions, source_times, times)
    for axis in range(3):
        expected = np.interp(times, source_times, positions[:, axis])
        np.testing.assert_allclose(resampled[:, axis], expected, atol=1e-12)


def test_the_own_rate_changes_nothing() -> None:
    pose, trans = np.full((5, 72), 4.0), np.ones((5, 3))
    assert resample_motion(pose, trans, 30.0, 30.0) == (pose, trans)


def test_a_single_frame_stays_a_frame() -> None:
    pose, trans = resample_motion(np.ones((1, 72)), np.ones((1, 3)), 120.0, 25.0)
    np.testing.assert_allclose(pose, 1.0)
    np.testing.assert_allclose(trans, 1.0)


@pytest.mark.parametrize("fps", [0.0, -25.0, np.nan, np.inf])
def test_a_rate_is_a_positive_number(fps: float) -> None:
    with pytest.raises(ValueError, match="positive number of frames"):
        frame_times(10, fps)
    with pytest.raises(ValueError, match="positive number of frames"):
        playback_times(1.0, fps)


@pytest.mark.parametrize(
    ("source_times", "times", "message"),
    [
        ([0.0, 0.1], [0.0], "3 frames with 2 times"),
        ([0.0, 0.1, 0.1], [0.0], "do not increase"),
        ([0.0, 0.1, 0.2], [0.0, 0.3], "0.000 to 0.300 s wanted"),
    ],
)
def test_times_that_do_not_fit_are_refused(
    source_times: list[float], times: list[float], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        resample_rotations(np.zeros((3, 72)), np.array(source_times), np.array(times))


def test_no_frames_are_refused() -> None:
    with pytest.raises(ValueError, match="0 frames"):
        resample_motion(np.zeros((0, 72)), np.zeros((0, 3)), 120.0, 25.0)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.mark.parametrize("fps", [10.0, 24.0, 25.0, 30.0, 60.0])
def test_nearest_frames_are_nearest(fps: float) -> None:
    times = np.cumsum(np.random.default_rng(0).uniform(0.02, 0.05, 60))
    rows = nearest_frames(times, fps)
    wanted = times[0] + np.arange(int((times[-1] - times[0]) * fps) + 1) / fps
    naive = {int(np.abs(times - time).argmin()) for time in wanted}
    assert set(rows.tolist()) == naive
    assert (np.diff(rows) > 0).all()


def test_one_frame_is_its_own_nearest() -> None:
    assert nearest_frames(np.array([3.0]), 25.0).tolist() == [0]
