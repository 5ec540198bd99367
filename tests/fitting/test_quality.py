import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.fitting.motions import skeleton, squats
from tests.fitting.seen import observed
from vibe_ray.fitting.motion import Motion
from vibe_ray.fitting.quality import (
    Grounded,
    Limits,
    deepest_cm,
    derivative,
    foot_slide_cm_s,
    report_quality,
)


def statue(path: torch.Tensor, times: torch.Tensor) -> Motion:
    """Somebody who stands like a statue and is carried along a path (N, 3)."""
    rest = skeleton().rest(torch.zeros(10))
    start = torch.tensor([0.0, -rest.sole, 0.0])
    return Motion(
        rotmat=torch.eye(3).expand(len(path), 24, 3, 3).contiguous(),
        transl=(path + start).float(),
        betas=torch.zeros(10),
        times_s=times,
    )


def falling(num: int = 100) -> Motion:
    """At uneven times, with 3 m/s^2 along x."""
    times = torch.tensor(np.cumsum(np.random.default_rng(0).uniform(0.02, 0.05, num)))
    return statue(torch.stack([1.5 * times**2, 0 * times, 0 * times], dim=1), times)


def test_acceleration_and_slide_are_those_of_the_path() -> None:
    motion = falling()
    seen_motion, seen = observed(motion)
    grounded = Grounded(motion=motion, contacts=np.ones((100, 4), bool))
    quality = report_quality(
        seen_motion, skeleton(), seen=seen, num_video_frames=100, grounded=grounded
    )
    assert quality.acceleration_m_s2 == pytest.approx(3.0, rel=1e-2)
    mean_speed = float(derivative(1.5 * motion.times_s**2, motion.times_s, 1).mean())
    assert quality.foot_slide_cm_s == pytest.approx(100 * mean_speed, rel=1e-3)
    assert quality.deepest_cm == pytest.approx(0.0, abs=1e-3)
    assert quality.reprojection_percent == pytest.approx(0.0, abs=1e-3)
    assert (quality.coverage, quality.filled) == (1.0, 0.0)


def test_derivatives_of_a_cubic() -> None:
    times = torch.arange(50, dtype=torch.float64) / 25
    cubic = 2 * times**3
    torch.testing.assert_close(derivative(cubic, times, 3), torch.full((47,), 12.0).double())
    torch.testing.assert_close(derivative(cubic, times, 2), 12 * times[1:-1])


def test_jerk_of_what_swings() -> None:
    """x = a sin(w t): the mean size of the third derivative is a w^3 2 / pi."""
    times = torch.arange(3000, dtype=torch.float64) / 100
    swing = 0.1 * torch.sin(2 * torch.pi * times)
    motion, seen = observed(statue(torch.stack([swing, 0 * swing, 0 * swing], dim=1), times))
    quality = report_quality(motion, skeleton(), seen=seen, num_video_frames=3000)
    assert quality.jerk_m_s3 == pytest.approx(0.1 * (2 * np.pi) ** 3 * 2 / np.pi, rel=0.01)
    assert math.isnan(quality.foot_slide_cm_s)
    assert math.isnan(quality.deepest_cm)


def test_slide_counts_in_contact_only() -> None:
    motion = falling()
    contacts = np.zeros((100, 4), bool)
    assert math.isnan(foot_slide_cm_s(Grounded(motion=motion, contacts=contacts), skeleton()))
    contacts[10:12, 1] = True
    path = 1.5 * motion.times_s**2
    expected = 100 * (path[11] - path[10]) / (motion.times_s[11] - motion.times_s[10])
    found = foot_slide_cm_s(Grounded(motion=motion, contacts=contacts), skeleton())
    assert found == pytest.approx(float(expected), rel=1e-3)


def test_depth_is_of_the_worst_frame() -> None:
    motion = falling()
    transl = motion.transl.clone()
    transl[30, 1] -= 0.07
    assert deepest_cm(replace(motion, transl=transl), skeleton()) == pytest.approx(7.0, abs=0.01)


def test_what_is_doubtful_is_said() -> None:
    motion, seen = observed(squats())
    conf = seen.conf.clone()
    conf[:45] = 0
    kp = seen.kp_2d + torch.tensor([0.1, 0.0]) * seen.box_size[:, None, None]
    doubtful = replace(seen, kp_2d=kp, conf=conf)
    quality = report_quality(motion, skeleton(), seen=doubtful, num_video_frames=100)
    assert quality.coverage == 0.45
    assert quality.filled == 0.5
    assert quality.reprojection_percent == pytest.approx(10.0, abs=1e-3)
    assert [words.split()[0] for words in quality.warnings] == ["seen", "50", "the"]
    assert "10.0 % of the box" in quality.warnings[2]
    calm = Limits(min_coverage=0.1, max_filled=0.6, max_reprojection_percent=11.0)
    report = report_quality(motion, skeleton(), seen=doubtful, num_video_frames=100, limits=calm)
    assert report.warnings == ()


def test_nobody_seen_at_all() -> None:
    motion, seen = observed(squats())
    nothing = replace(seen, conf=torch.zeros_like(seen.conf))
    quality = report_quality(motion, skeleton(), seen=nothing, num_video_frames=90)
    assert math.isnan(quality.reprojection_percent)
    assert quality.coverage == 0.0
