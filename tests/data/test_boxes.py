import math

import numpy as np
import pytest
import torch

from vibe_ray.data.boxes import (
    BOX_SCALE,
    MIN_CONFIDENCE,
    SMOOTHING_FRAMES,
    box_from_keypoints,
    track_boxes,
)


def naive_box(kp: np.ndarray, conf: np.ndarray) -> list[float]:
    seen = [point for point, c in zip(kp, conf, strict=True) if c >= MIN_CONFIDENCE]
    if len(seen) < 3:
        return [0.0, 0.0, 0.0]
    x, y = zip(*seen, strict=True)
    size = max(max(x) - min(x), max(y) - min(y)) * BOX_SCALE
    if size < 8:
        return [0.0, 0.0, 0.0]
    return [(max(x) + min(x)) / 2, (max(y) + min(y)) / 2, size]


def test_box_agrees_with_a_loop() -> None:
    generator = torch.Generator().manual_seed(0)
    kp = 300 * torch.rand(50, 17, 2, generator=generator)
    conf = torch.rand(50, 17, generator=generator)
    conf[:10, 2:] = 0.0  # too few
    expected = [naive_box(k, c) for k, c in zip(kp.numpy(), conf.numpy(), strict=True)]
    np.testing.assert_allclose(box_from_keypoints(kp, conf), expected, rtol=1e-6)


def test_missed_keypoints_may_be_anything() -> None:
    kp = torch.rand(4, 17, 2) * 100
    conf = torch.ones(4, 17)
    conf[:, 5:9] = 0.0
    box = box_from_keypoints(kp, conf)
    kp[:, 5:9] = math.nan
    assert torch.equal(box_from_keypoints(kp, conf), box)


def test_box_follows_the_image_and_its_scale() -> None:
    kp, conf = torch.rand(5, 17, 2) * 100, torch.ones(5, 17)
    moved = box_from_keypoints(3 * kp + torch.tensor([40.0, -7.0]), conf)
    expected = 3 * box_from_keypoints(kp, conf) + torch.tensor([40.0, -7.0, 0.0])
    torch.testing.assert_close(moved, expected)


def test_track_fills_gaps_from_the_past_and_the_start_from_the_future() -> None:
    kp = torch.rand(1, 17, 2).repeat(30, 1, 1) * 100
    conf = torch.ones(30, 17)
    kp[15:] += 50.0
    conf[:4] = conf[10:15] = 0.0
    boxes = track_boxes(kp, conf)
    first, last = box_from_keypoints(kp[5], conf[5]), box_from_keypoints(kp[20], conf[20])
    half = SMOOTHING_FRAMES // 2
    torch.testing.assert_close(boxes[: 15 - half], first.expand(15 - half, 3))
    torch.testing.assert_close(boxes[15 + half :], last.expand(15 - half, 3))


def test_track_smooths_by_a_moving_mean() -> None:
    generator = torch.Generator().manual_seed(1)
    kp = 100 * torch.rand(2, 20, 17, 2, generator=generator)
    single = box_from_keypoints(kp, torch.ones(2, 20, 17))
    tracked = track_boxes(kp, torch.ones(2, 20, 17))
    half = SMOOTHING_FRAMES // 2
    for t in range(20):
        around = [min(max(t + d, 0), 19) for d in range(-half, half + 1)]
        torch.testing.assert_close(tracked[:, t], single[:, around].mean(dim=1))


@pytest.mark.parametrize("num_frames", [1, 7])
def test_track_without_anybody_has_no_box(num_frames: int) -> None:
    boxes = track_boxes(torch.zeros(num_frames, 17, 2), torch.zeros(num_frames, 17))
    assert not boxes.any()
