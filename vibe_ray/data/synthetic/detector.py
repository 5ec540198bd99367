"""How wrong is a key-point detector? A model of its noise, misses and confusions.

The spread per joint is measured: MoveNet's key-points in four calibrated views of a real person
against their triangulation, as a share of the body's height, split into what stays for a clip, what
drifts, and what jitters. Simulated views, triangulated alike, show the same spread (an error that
all views share shows in neither). Occlusion, truncation and missed frames come on top; of the real
person's pairs of joints none was swapped.

Shapes: C clips, N frames, D detected key-points.
"""

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from vibe_ray.body.skeletons import COCO_17, KEYPOINTS, WHOLEBODY_23, indices, mirror_table
from vibe_ray.data.synthetic.draws import (
    drift,
    events,
    held_frames,
    hold,
    log_uniform,
    normal,
    uniform,
)

DETECTED = WHOLEBODY_23
"""Names among the 49 of all that a detector may report: COCO's 17, and BODY_25's feet."""
FEET = DETECTED[len(COCO_17) :]
DETECTED_AMONG_49 = indices(DETECTED, KEYPOINTS)
MIRROR = mirror_table(DETECTED)

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


Spread = tuple[float, float, float]
"""Standard deviations per coordinate in thousandths of the body's height: of what stays for a clip,
of what drifts, of what jitters from frame to frame."""


@dataclass(frozen=True, kw_only=True)
class SpreadConfig:
    """How far a detector's key-points are off, by part of the body."""

    face: Spread = (10.6, 16.7, 9.5)
    shoulder: Spread = (5.3, 7.1, 2.8)
    elbow: Spread = (3.4, 8.0, 3.7)
    wrist: Spread = (3.6, 10.6, 5.1)
    hip: Spread = (9.0, 6.9, 1.7)
    knee: Spread = (2.8, 6.6, 2.8)
    ankle: Spread = (4.0, 4.7, 4.0)
    foot: Spread = (6.0, 6.0, 5.0)
    """Toes and heels, which MoveNet does not report: a guess."""

    def table(self) -> Tensor:
        """Return the standard deviations (3, D) over the body's height, in `DETECTED`'s order."""
        parts = [getattr(self, part_of(name)) for name in DETECTED]
        return torch.tensor(parts).T / 1000


@dataclass(frozen=True, kw_only=True)
class DetectorConfig:
    """Strength of each kind of mistake; probabilities are shares of frames."""

    own_joints: bool = True
    """Joints are seen where a detector has learned to mark them (`body.detected`); else they are
    where the body has them."""
    spread: SpreadConfig = field(default_factory=SpreadConfig)
    noise: tuple[float, float] = (0.6, 1.7)
    """Range of what multiplies a clip's spread, drawn evenly in its logarithm: people, pictures
    and detectors differ; 0 and 0 for none."""
    drift_s: float = 0.4
    """Correlation time of the drift."""
    peak_prob: float = 0.003
    peak_size: float = 0.08
    """Standard deviation of a peak over the body's height."""
    occlusion_prob: float = 0.012
    """Per group of `LIMBS`."""
    occlusion_s: float = 0.6
    wrong_share: float = 0.6
    """Share of occluded spans that are reported, confidently, in a wrong place."""
    wrong_size: float = 0.06
    swap_prob: float = 0.001
    swap_prob_behind: float = 0.001
    """Left and right exchanged, for people seen from the front and from behind: none of 1,200
    pairs was. One frame cannot tell a swap from another heading; who learns to expect swaps turns
    people about that stand as they seem."""
    swap_s: float = 0.16
    miss_prob: float = 0.003
    """Nothing found at all."""
    miss_s: float = 0.12
    face_doubt: float = 0.17
    """By which the face is reported with less confidence than the body."""
    hidden_doubt: float = 0.15
    """Share of its confidence that a facial point loses behind the head: little, with MoveNet."""
    feet_prob: float = 0.2
    """Share of clips whose detector reports feet, as BODY_25 does."""

    def __post_init__(self) -> None:
        low, high = self.noise
        if not (0 < low <= high or low == high == 0):
            raise ValueError(
                f"detector.noise is {self.noise}, expected two positive numbers, the smaller "
                "first, or 0 and 0 for none"
            )


@dataclass(frozen=True)
class Projected:
    """Where a detector without mistakes would see key-points, in `DETECTED`'s order."""

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
    conf = _confidence(error, hidden, config, generator)
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
    constant, slow, jitter = config.spread.table()[..., None]  # (D, 1) each
    correlation = math.exp(-1.0 / (config.drift_s * true.fps))
    error = constant * normal((C, 1, D, 2), generator)
    error = error + slow * drift(shape, correlation, generator)
    error = error + jitter * normal(shape, generator)
    error = error * _scale(C, config.noise, generator)
    peak = torch.rand(shape[:-1], generator=generator) < config.peak_prob
    return error + peak[..., None] * config.peak_size * normal(shape, generator), peak


def _scale(num_clips: int, noise: tuple[float, float], generator: torch.Generator) -> Tensor:
    """Draw what multiplies each clip's spread (C, 1, 1, 1)."""
    shape = (num_clips, 1, 1, 1)
    return log_uniform(shape, *noise, generator) if noise[1] else torch.zeros(shape)


def part_of(name: str) -> str:
    """Return to which of `SpreadConfig`'s parts one of `DETECTED` belongs."""
    if name in FEET:
        return "foot"
    return "face" if name in FACE else name[1:]


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


def _confidence(
    error: Tensor, hidden: Tensor, config: DetectorConfig, generator: torch.Generator
) -> Tensor:
    """Confidence (C, N, D): falls with the error, but says little about small ones."""
    C, _, D, _ = error.shape
    face = torch.tensor([name in FACE for name in DETECTED])
    usual = uniform((C, 1, D), 0.55, 0.95, generator) - config.face_doubt * face
    conf = usual - 2.5 * error.norm(dim=-1) + 0.06 * normal(tuple(hidden.shape), generator)
    return (conf * (1 - config.hidden_doubt * hidden)).clamp(0.05, 1.0)


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
