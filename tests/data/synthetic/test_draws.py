import numpy as np
import pytest
import torch

from vibe_ray.data.synthetic.draws import drift, events, held_frames, hold, log_uniform, slow_wave


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("num_frames", [1, 200])
def test_drift_is_stationary_with_unit_variance(num_frames: int) -> None:
    noise = drift((40_000 // num_frames, num_frames, 5), 0.9, seeded())
    for frames in (noise[:, 0], noise[:, -1], noise):
        assert abs(float(frames.std()) - 1) < 0.08


def test_drift_agrees_with_its_recursion() -> None:
    correlation = 0.8
    steps = torch.randn((3, 50, 2), generator=seeded(4))
    expected = [steps[:, 0]]
    for t in range(1, 50):
        step = (1 - correlation**2) ** 0.5 * steps[:, t]
        expected.append(correlation * expected[-1] + step)
    noise = drift((3, 50, 2), correlation, seeded(4))
    torch.testing.assert_close(noise, torch.stack(expected, dim=1), atol=1e-5, rtol=1e-5)


def test_held_values_agree_with_a_loop() -> None:
    frames = held_frames((2, 30), 0.3, seeded())
    draws = torch.rand(2, 30)
    held = hold(draws, frames)
    refreshed = frames == torch.arange(30)
    for clip in range(2):
        current = draws[clip, 0]
        for t in range(30):
            if refreshed[clip, t]:
                current = draws[clip, t]
            assert held[clip, t] == current


def test_events_cover_their_share_in_spans_of_the_mean_length() -> None:
    mask, _ = events((400, 1000), 0.1, 8.0, seeded())
    assert abs(float(mask.float().mean()) - 0.1) < 0.005
    starts = mask[:, 1:] & ~mask[:, :-1]
    assert abs(float(mask.sum() / starts.sum()) - 8.0) < 0.4


def test_events_of_single_frames_have_the_same_share() -> None:
    mask, _ = events((200_000, 1), 0.1, 8.0, seeded())
    assert abs(float(mask.float().mean()) - 0.1) < 0.003


def test_log_uniform_has_a_uniform_logarithm() -> None:
    logs = log_uniform((100_000,), 0.2, 0.9, seeded()).log()
    counts, _ = np.histogram(logs, bins=10, range=(np.log(0.2), np.log(0.9)))
    assert counts.sum() == 100_000
    assert counts.std() / counts.mean() < 0.05


def test_slow_wave_has_periods_within_the_range() -> None:
    seconds = torch.arange(3000) / 25
    waves = slow_wave(20, seconds, (6.0, 30.0), seeded())
    crossings = ((waves[:, 1:] > 0) & (waves[:, :-1] <= 0)).sum(dim=1)
    assert waves.abs().max() <= 1
    assert ((crossings >= 120 / 30 - 1) & (crossings <= 120 / 6 + 1)).all()
