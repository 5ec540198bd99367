import dataclasses

import pytest
import torch

from tests.data.perfect import PERFECT
from vibe_ray.body.skeletons import COCO_17, KEYPOINTS, indices, mirrored_name
from vibe_ray.data.synthetic.detector import (
    DETECTED,
    DETECTED_AMONG_49,
    FEET,
    LIMBS,
    DetectorConfig,
    Projected,
    detect,
    spread,
)

HEIGHT = 400.0


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
    assert conf.min() > 0.3


def test_noise_has_the_measured_spread() -> None:
    true = person(20_000, 1)
    kp, _ = detect(true, dataclasses.replace(PERFECT, noise=1.0), seeded())
    face = indices(("nose", "leye", "reye"), DETECTED)
    assert spread()[face].tolist() == pytest.approx([0.010] * 3)
    hidden = 1 + 1 / (1 + torch.exp(torch.tensor(0.03 / 0.015)))  # depths are equal: barely hidden
    is_face = torch.tensor([name in DETECTED[:5] for name in DETECTED])
    expected = spread() * torch.where(is_face, hidden, 1.0)
    found = (kp - true.kp).std(dim=(0, 1)) / HEIGHT  # (D, 2)
    torch.testing.assert_close(found, expected[:, None].expand(-1, 2), rtol=0.03, atol=0.0)


def test_noise_splits_into_bias_drift_and_jitter() -> None:
    config = dataclasses.replace(PERFECT, noise=1.0, bias_share=0.5, drift_share=0.3, drift_s=0.4)
    true = person(300, 200)
    error = (detect(true, config, seeded())[0] - true.kp) / HEIGHT
    error = error[:, :, indices(("lknee", "rknee"), DETECTED)] / 0.014
    bias = error.mean(dim=1).square().mean()
    steps = (error[:, 1:] - error[:, :-1]).square().mean()
    correlation = torch.exp(torch.tensor(-1 / (0.4 * 25)))
    assert float(steps) == pytest.approx(2 * 0.3 * float(1 - correlation) + 2 * 0.2, rel=0.05)
    assert float(bias) == pytest.approx(0.5, abs=0.08)  # the drift's own mean adds a little
    assert float(error.square().mean()) == pytest.approx(1.0, rel=0.08)


def test_misses_have_confidence_zero_and_no_coordinates() -> None:
    kp, conf = detect(person(50, 100), DetectorConfig(), seeded())
    missed = conf == 0
    assert 0.02 < missed[..., : len(COCO_17)].float().mean() < 0.4
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


def test_face_seen_from_behind_has_little_confidence() -> None:
    true = person(200, 1)
    nose = indices(("nose",), DETECTED)
    depth = true.depth.clone()
    depth[:100, :, nose] += 0.1  # behind the ears
    depth[100:, :, nose] -= 0.1
    _, conf = detect(dataclasses.replace(true, depth=depth), PERFECT, seeded())
    assert conf[:100, :, nose].mean() < 0.3 < 0.6 < conf[100:, :, nose].mean()


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
