"""How wrong is a key-point detector? A model of its noise, misses and confusions.

The spread per joint is the measured disagreement of two independent detectors (MoveNet and
BlazePose on real video), as a share of the body's height; it is split into what stays for a clip,
what drifts, and what jitters. Occlusion, truncation, swapped sides and missed frames come on top.

Shapes: C clips, N frames, D detected key-points.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from vibe_ray.body.skeletons import COCO_17, KEYPOINTS, WHOLEBODY_23, indices, mirror_table
from vibe_ray.data.synthetic.draws import drift, events, held_frames, hold, normal, uniform

DETECTED = WHOLEBODY_23
"""Names among the 49 of all that a detector may report: COCO's 17, and BODY_25's feet."""
FEET = DETECTED[len(COCO_17) :]
DETECTED_AMONG_49 = indices(DETECTED, KEYPOINTS)
MIRROR = mirror_table(DETECTED)

SPREAD = {
    "nose": 0.010,
    "eye": 0.010,
    "ear": 0.015,
    "shoulder": 0.020,
    "elbow": 0.016,
    "wrist": 0.018,
    "hip": 0.023,
    "knee": 0.014,
    "ankle": 0.016,
    "BigToe": 0.018,
    "SmallToe": 0.018,
    "Heel": 0.018,
}
"""Standard deviation per coordinate over the body's height; toes and heels are our guess."""
LIMBS = (
    ("lelbow", "lwrist"),
    ("relbow", "rwrist"),
    ("lwrist",),
    ("rwrist",),
    ("lknee", "lankle", *FEET[:3]),
    ("rknee", "rankle", *FEET[3:]),
    ("lankle", *FEET[:3]),
    ("rankle", *FEET[3:]),
    ("lknee", "lankle", "rknee", "rankle", *FEET),
    ("nose", "leye", "reye", "lear", "rear"),
)
"""Groups of key-points that disappear together."""
FACE = ("nose", "leye", "reye", "lear", "rear")


@dataclass(frozen=True, kw_only=True)
class DetectorConfig:
    """Strength of each kind of mistake; probabilities are shares of frames."""

    noise: float = 1.0
    """Multiplies `SPREAD`."""
    bias_share: float = 0.5
    drift_share: float = 0.3
    """Shares of the variance; the rest jitters from frame to frame."""
    drift_s: float = 0.4
    """Correlation time of the drift."""
    peak_prob: float = 0.01
    peak_size: float = 0.08
    """Standard deviation of a peak over the body's height."""
    occlusion_prob: float = 0.03
    """Per group of `LIMBS`."""
    occlusion_s: float = 0.6
    wrong_share: float = 0.3
    """Share of occluded spans that are reported, confidently, in a wrong place."""
    wrong_size: float = 0.06
    swap_prob: float = 0.004
    swap_prob_behind: float = 0.06
    """Left and right exchanged, for people seen from the front and from behind."""
    swap_s: float = 0.16
    miss_prob: float = 0.01
    """Nothing found at all."""
    miss_s: float = 0.12
    feet_prob: float = 0.2
    """Share of clips whose detector reports feet, as BODY_25 does."""


@dataclass(frozen=True)
class Projected:
    """True key-points before the detector, in `DETECTED`'s order."""

    kp: Tensor
    """Pixels (C, N, D, 2)."""
    depth: Tensor
    """Meters along the optical axis (C, N, D)."""
    height_px: Tensor
    """Height of the standing body in pixels (C, N)."""
    image_size: Tensor
    """(C, 2)."""
    fps: float


def detect(
    true: Projected, config: DetectorConfig, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Return what a detector would report: pixels (C, N, D, 2) and confidences (C, N, D).

    What is missed has confidence 0 and coordinates 0.
    """
    behind = _distance_behind(true)
    error, peak = _noise(true, config, generator)
    wrong, missed = _occlusion(true, config, generator)
    # Half hidden facial points are still reported, near the head, with little confidence.
    hidden = torch.sigmoid((behind - 0.03) / 0.015)
    error = error * (1 + hidden[..., None]) + wrong
    kp = true.kp + error * true.height_px[..., None, None]
    conf = _confidence(error, hidden, generator)
    kp, conf = _swap_sides(kp, conf, true, config, generator)
    outside = ((kp < 0) | (kp > true.image_size[:, None, None])).any(dim=-1)
    missed |= outside | peak & (torch.rand(peak.shape, generator=generator) < 0.3)
    missed |= _whole_frames(true, config, generator)
    feet = torch.tensor([name in FEET for name in DETECTED])
    has_feet = torch.rand(len(kp), 1, 1, generator=generator) < config.feet_prob
    missed |= feet & ~has_feet
    return kp.masked_fill(missed[..., None], 0.0), conf.masked_fill(missed, 0.0)


def _noise(
    true: Projected, config: DetectorConfig, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Return errors (C, N, D, 2) over the body's height, and where they peak (C, N, D)."""
    shape = tuple(true.kp.shape)
    C, _, D, _ = shape
    a, b = config.bias_share, config.drift_share
    correlation = math.exp(-1.0 / (config.drift_s * true.fps))
    error = math.sqrt(a) * normal((C, 1, D, 2), generator)
    error = error + math.sqrt(b) * drift(shape, correlation, generator)
    error = error + math.sqrt(1 - a - b) * normal(shape, generator)
    error = error * (config.noise * spread())[:, None]
    peak = torch.rand(shape[:-1], generator=generator) < config.peak_prob
    return error + peak[..., None] * config.peak_size * normal(shape, generator), peak


def spread() -> Tensor:
    """Return the standard deviations (D,) in `DETECTED`'s order."""
    return torch.tensor(
        [next(s for part, s in SPREAD.items() if name.endswith(part)) for name in DETECTED]
    )


def _occlusion(
    true: Projected, config: DetectorConfig, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Return offsets of wrongly placed points (C, N, D, 2) and a mask of missed ones (C, N, D)."""
    C, N = true.height_px.shape
    L = len(LIMBS)
    member = torch.tensor([[name in limb for name in DETECTED] for limb in LIMBS]).float()  # (L, D)
    span, frames = events(
        (C, N, L), config.occlusion_prob, config.occlusion_s * true.fps, generator
    )
    is_wrong = hold(torch.rand(C, N, L, generator=generator) < config.wrong_share, frames)
    offset = hold(config.wrong_size * normal((C, N, L, 2), generator), frames[..., None])
    offset = offset * (span & is_wrong)[..., None]
    wrong = (offset.mT @ member).mT  # (C, N, D, 2)
    return wrong, (span & ~is_wrong).float() @ member > 0


def _whole_frames(true: Projected, config: DetectorConfig, generator: torch.Generator) -> Tensor:
    C, N = true.height_px.shape
    return events((C, N, 1), config.miss_prob, config.miss_s * true.fps, generator)[0]


def _distance_behind(true: Projected) -> Tensor:
    """How far each facial point lies behind the middle of the ears, meters (C, N, D); others -1."""
    ears = true.depth[..., indices(("lear", "rear"), DETECTED)].mean(dim=-1, keepdim=True)
    face = torch.tensor([name in FACE for name in DETECTED])
    return torch.where(face, true.depth - ears, -1.0)


def _confidence(error: Tensor, hidden: Tensor, generator: torch.Generator) -> Tensor:
    """Confidence (C, N, D): falls with the error, but says little about small ones."""
    C, _, D, _ = error.shape
    usual = uniform((C, 1, D), 0.55, 0.95, generator)
    conf = usual - 2.5 * error.norm(dim=-1) + 0.06 * normal(tuple(hidden.shape), generator)
    return (conf * (1 - 0.75 * hidden)).clamp(0.05, 1.0)


def _swap_sides(
    kp: Tensor,
    conf: Tensor,
    true: Projected,
    config: DetectorConfig,
    generator: torch.Generator,
) -> tuple[Tensor, Tensor]:
    """Exchange left and right for a few frames, more often where the person is seen from behind."""
    C, N, _ = conf.shape
    left, right = indices(("lshoulder", "rshoulder"), DETECTED)
    from_behind = true.kp[..., left, 0] < true.kp[..., right, 0]
    prob = torch.where(from_behind, config.swap_prob_behind, config.swap_prob)
    frames = held_frames((C, N), min(1.0, 1.0 / (config.swap_s * true.fps)), generator)
    swapped = hold(torch.rand(C, N, generator=generator), frames) < prob
    kp = torch.where(swapped[..., None, None], kp[..., MIRROR, :], kp)
    return kp, torch.where(swapped[..., None], conf[..., MIRROR], conf)
