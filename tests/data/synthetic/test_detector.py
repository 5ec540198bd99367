import dataclasses
import math

import numpy as np
import pytest
import torch

from tests.data.perfect import PERFECT
from vibe_ray.body.skeletons import COCO_17, KEYPOINTS, indices, mirrored_name
from vibe_ray.data.synthetic.detector import (
    DETECTED,
    DETECTED_AMONG_49,
    FACE,
    FEET,
    LIMBS,
    DetectorConfig,
    Projected,
    Spread,
    SpreadConfig,
    detect,
    part_of,
)

HEIGHT = 400.0


def _halves(spread: float) -> Spread:
    """Split a variance into 50, 30 and 20 %."""
    constant, slow, jitter = (1000 * spread * math.sqrt(share) for share in (0.5, 0.3, 0.2))
    return constant, slow, jitter


CONFUSED = DetectorConfig(
    spread=SpreadConfig(
        face=_halves(0.012),
        shoulder=_halves(0.020),
        elbow=_halves(0.016),
        wrist=_halves(0.018),
        hip=_halves(0.023),
        knee=_halves(0.014),
        ankle=_halves(0.016),
        foot=_halves(0.018),
    ),
    noise=(1.0, 1.0),
    peak_prob=0.01,
    occlusion_prob=0.03,
    wrong_share=0.3,
    swap_prob=0.004,
    swap_prob_behind=0.06,
    miss_prob=0.01,
    face_doubt=0.0,
    hidden_doubt=0.75,
)
"""Far worse than was measured: spread by the disagreement of two detectors, swapped sides, limbs
missed in a third of the frames."""


def person(num_clips: int, num_frames: int, *, behind: bool = False) -> Projected:
    """Somebody in the middle of the image, whose left shoulder is on the image's right in front."""
    generator = torch.Generator().manual_seed(5)
    kp = 300 + 400 * torch.rand(len(DETECTED), 2, generator=generator)
    left, right = indices(("lshoulder", "rshoulder"), DETECTED)
    kp[left, 0], kp[right, 0] = (450.0, 550.0) if behind else (550.0, 450.0)
    return Projected(
        kp=kp.expand(num_clips, num_frames, -1, -1),
        depth=torch.full((num_clips, num_frames, len(DETECTED)), 4.0),
        height_px=torch.full((num_clips, num_frames), HEIGHT),
        image_size=torch.tensor([[1000.0, 1000.0]]).expand(num_clips, 2),
        fps=25.0,
    )


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_names_stand_among_the_49() -> None:
    assert DETECTED[:17] == COCO_17
    assert tuple(KEYPOINTS[i] for i in DETECTED_AMONG_49) == DETECTED
    assert {name for limb in LIMBS for name in limb} <= set(DETECTED)


def test_a_perfect_detector_tells_the_truth() -> None:
    true = person(3, 10)
    kp, conf = detect(true, PERFECT, seeded())
    torch.testing.assert_close(kp, true.kp)
    assert conf[..., 5:].min() > 0.3
    assert conf.min() > 0.3 - PERFECT.face_doubt


def test_noise_has_the_measured_spread() -> None:
    true = person(20_000, 1)
    kp, _ = detect(true, dataclasses.replace(PERFECT, noise=(1.0, 1.0)), seeded())
    expected = DetectorConfig().spread.table().square().sum(dim=0).sqrt()  # (D,)
    wrist = indices(("lwrist", "rwrist"), DETECTED)
    assert expected[wrist].tolist() == pytest.approx([math.hypot(3.6, 10.6, 5.1) / 1000] * 2)
    hidden = 1 + 1 / (1 + math.exp(0.03 / 0.015))  # depths are equal: barely hidden
    is_face = torch.tensor([name in FACE for name in DETECTED])
    expected = expected * torch.where(is_face, hidden, 1.0)
    found = (kp - true.kp).std(dim=(0, 1)) / HEIGHT  # (D, 2)
    torch.testing.assert_close(found, expected[:, None].expand(-1, 2), rtol=0.03, atol=0.0)


def test_every_key_point_belongs_to_a_part_of_the_spread() -> None:
    parts = {field.name for field in dataclasses.fields(SpreadConfig)}
    assert {part_of(name) for name in DETECTED} == parts
    assert {name for name in DETECTED if part_of(name) == "shoulder"} == {"lshoulder", "rshoulder"}


@pytest.mark.parametrize("spread", [(9.0, 6.9, 1.7), (4.0, 4.7, 14.0)])
def test_noise_splits_into_what_stays_drifts_and_jitters(spread: Spread) -> None:
    constant, slow, jitter = spread
    config = dataclasses.replace(
        PERFECT, noise=(1.0, 1.0), spread=SpreadConfig(hip=spread), drift_s=0.4
    )
    true = person(400, 200)
    error = 1000 * (detect(true, config, seeded())[0] - true.kp) / HEIGHT
    error = error[:, :, indices(("lhip", "rhip"), DETECTED)]
    for lag in (1, 3, 20):  # of AR(1) noise and white noise, whatever is constant
        correlation = math.exp(-lag / (0.4 * 25))
        expected = 2 * slow**2 * (1 - correlation) + 2 * jitter**2
        found = (error[:, lag:] - error[:, :-lag]).square().mean()
        assert float(found) == pytest.approx(expected, rel=0.05)
    bias = error.mean(dim=1).square().mean()
    # The mean over 200 frames of an AR(1) process of correlation time 10 frames.
    lags = np.arange(1, 200)
    left = (1 + 2 * ((1 - lags / 200) * np.exp(-lags / 10)).sum()) / 200
    expected = constant**2 + slow**2 * left + jitter**2 / 200
    assert float(bias) == pytest.approx(expected, rel=0.1)


def test_clips_differ_in_how_noisy_they_are() -> None:
    low, high = 0.5, 2.0
    config = dataclasses.replace(PERFECT, noise=(low, high))
    true = person(3000, 1)
    error = (detect(true, config, seeded())[0] - true.kp) / HEIGHT
    knee = indices(("lknee", "rknee"), DETECTED)
    once = config.spread.table()[:, knee].square().sum(dim=0).mean()
    # The mean square of a number whose logarithm is uniform.
    expected = (high**2 - low**2) / (2 * math.log(high / low))
    assert float(error[:, :, knee].square().mean() / once) == pytest.approx(expected, rel=0.05)
    per_clip = (error / DetectorConfig().spread.table().norm(dim=0)[:, None]).std(dim=(1, 2, 3))
    assert per_clip.quantile(0.95) / per_clip.quantile(0.05) > 2.5


def test_noise_of_a_wrong_range_is_refused() -> None:
    for noise in ((2.0, 1.0), (0.0, 1.0), (-1.0, 1.0)):
        with pytest.raises(ValueError, match=r"detector.noise is .* the smaller first"):
            DetectorConfig(noise=noise)


@pytest.mark.parametrize(
    ("config", "low", "high"), [(DetectorConfig(), 0.004, 0.05), (CONFUSED, 0.02, 0.4)]
)
def test_misses_have_confidence_zero_and_no_coordinates(
    config: DetectorConfig, low: float, high: float
) -> None:
    kp, conf = detect(person(50, 100), config, seeded())
    missed = conf == 0
    assert low < missed[..., : len(COCO_17)].float().mean() < high
    assert not kp[missed].any()
    assert conf[~missed].min() >= 0.05
    assert conf.max() <= 1
    assert kp.isfinite().all()


def test_missed_frames_show_nobody_for_a_while() -> None:
    config = dataclasses.replace(PERFECT, miss_prob=0.05, miss_s=0.2)
    _, conf = detect(person(200, 200), config, seeded())
    nothing = (conf == 0).all(dim=-1)
    assert float(nothing.float().mean()) == pytest.approx(0.05, rel=0.15)
    starts = nothing[:, 1:] & ~nothing[:, :-1]
    assert float(nothing.sum() / starts.sum()) == pytest.approx(5.0, rel=0.15)
    assert (conf[~nothing] > 0).all()


def test_occluded_limbs_disappear_together_or_are_wrong() -> None:
    config = dataclasses.replace(PERFECT, occlusion_prob=0.2, wrong_share=0.5)
    true = person(200, 50)
    kp, conf = detect(true, config, seeded())
    elbow, wrist = (indices((name,), DETECTED)[0] for name in ("lelbow", "lwrist"))
    assert (conf[..., wrist][conf[..., elbow] == 0] == 0).all()
    wrong = ((kp - true.kp).norm(dim=-1) > 1) & (conf > 0)
    assert 0.05 < wrong[..., elbow].float().mean() < 0.15
    assert conf[wrong].mean() > 0.3  # confident


def test_what_leaves_the_image_is_missed() -> None:
    true = person(1, 1)
    kp = true.kp.clone()
    kp[..., 3, 0], kp[..., 7, 1], kp[..., 9, 1] = -1.0, 1001.0, 999.0
    _, conf = detect(dataclasses.replace(true, kp=kp), PERFECT, seeded())
    assert [i for i, c in enumerate(conf[0, 0]) if c == 0] == [3, 7]


@pytest.mark.parametrize(("behind", "share"), [(False, 0.02), (True, 0.2)])
def test_sides_are_swapped_more_often_from_behind(behind: bool, share: float) -> None:
    config = dataclasses.replace(PERFECT, swap_prob=0.02, swap_prob_behind=0.2)
    true = person(500, 100, behind=behind)
    kp, _ = detect(true, config, seeded())
    mirror = indices([mirrored_name(name) for name in DETECTED], DETECTED)
    changed = (kp != true.kp).any(dim=-1).any(dim=-1)
    assert float(changed.float().mean()) == pytest.approx(share, rel=0.1)
    torch.testing.assert_close(kp[changed], true.kp[..., mirror, :][changed])


@pytest.mark.parametrize("config", [DetectorConfig(), CONFUSED], ids=["measured", "confused"])
def test_face_loses_confidence_as_configured(config: DetectorConfig) -> None:
    true = person(4000, 1)
    nose, hip = (indices((name,), DETECTED)[0] for name in ("nose", "lhip"))
    depth = true.depth.clone()
    depth[:2000, :, nose] += 0.1  # behind the ears
    depth[2000:, :, nose] -= 0.1
    exact = dataclasses.replace(
        PERFECT, face_doubt=config.face_doubt, hidden_doubt=config.hidden_doubt
    )
    _, conf = detect(dataclasses.replace(true, depth=depth), exact, seeded())
    behind, front = conf[:2000, 0, nose].mean(), conf[2000:, 0, nose].mean()
    hidden = 1 / (1 + math.exp(-(0.1 - 0.03) / 0.015))
    assert float(behind / front) == pytest.approx(1 - config.hidden_doubt * hidden, abs=0.02)
    assert float(conf[:, 0, hip].mean() - front) == pytest.approx(config.face_doubt, abs=0.02)


def test_only_some_detectors_report_feet() -> None:
    config = dataclasses.replace(PERFECT, feet_prob=0.25)
    _, conf = detect(person(4000, 2), config, seeded())
    has_feet = (conf[..., indices(FEET, DETECTED)] > 0).all(dim=(1, 2))
    no_feet = (conf[..., indices(FEET, DETECTED)] == 0).all(dim=(1, 2))
    assert (has_feet | no_feet).all()
    assert float(has_feet.float().mean()) == pytest.approx(0.25, abs=0.03)


def test_detection_is_a_function_of_its_seed() -> None:
    true, config = person(4, 20), DetectorConfig()
    first, again, other = (detect(true, config, seeded(s)) for s in (1, 1, 2))
    assert torch.equal(first[0], again[0])
    assert torch.equal(first[1], again[1])
    assert not torch.equal(first[0], other[0])
