"""Can the body be laid closer on the person in the picture without making the pose worse?

Key-points alone make poses worse: so a fit is a *correction* of the network's answer, calm and
small (`fit_problem.py`). And key-points must not contradict it: fitted to some of them, the body
must not leave the others, which it was not shown. A fit that does is thrown away.

Shapes: N frames, K key-points, F fits of the same motion, made together.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from vibe_ray.body.joints import BodyJoints
from vibe_ray.body.model import BodyArrays
from vibe_ray.fitting.fit_problem import FitProblem
from vibe_ray.fitting.fit_settings import FitSettings
from vibe_ray.fitting.motion import Motion
from vibe_ray.fitting.observation import Observation
from vibe_ray.models.motion_prior import MotionPrior

SLACK = 0.0015
"""Sides of the box by which held-out errors may rise in any case: what is exact stays kept."""


@dataclass(frozen=True)
class FitVerdict:
    """What a fit is worth; errors are mean distances of key-points in sides of the box."""

    is_kept: bool
    before: float
    after: float
    """On key-points that the fit saw."""
    held_out_before: float
    held_out_after: float
    """On key-points that it did not see, each of them held out once."""
    words: str


@dataclass(frozen=True)
class Fitted:
    motion: Motion
    """The fit, or what was given where the verdict is against it."""
    verdict: FitVerdict


def fit_to_picture(
    motion: Motion,
    seen: Observation,
    body: BodyArrays,
    settings: FitSettings | None = None,
    prior: MotionPrior | None = None,
) -> Fitted:
    """Fit a motion to the key-points of its picture, and keep the fit if it earns it.

    Args:
        motion: The network's answer, in camera axes and placed before the camera.
        seen: Key-points and camera.
        body: Whose key-points they are.
        settings: How.
        prior: Says how likely a motion is, where `settings.prior` is above 0.

    Raises:
        ValueError: Motion and key-points have different numbers of frames, or a prior is to be
            asked and there is none.
    """
    settings = settings or FitSettings()
    if settings.prior and prior is None:
        raise ValueError(f"the fit's prior weighs {settings.prior}, but no motion prior is given")
    if len(seen.conf) != motion.num_frames:
        raise ValueError(f"key-points of {len(seen.conf)} frames, motion of {motion.num_frames}")
    body_points = BodyJoints.keypoints(body, which=seen.body_rows, as_detected=True)
    problem = FitProblem(motion, seen, body_points, settings, prior)
    held_before, held_after = _held_out(problem)
    before = _mean(problem.errors(problem.start()))
    if objection := _objection(before, held_before, held_after, settings):
        verdict = FitVerdict(False, before, before, held_before, held_after, objection)
        return Fitted(motion, verdict)
    correction = problem.solve(problem.weight[None])
    after = _mean(problem.errors(correction))
    words = (
        f"fitted: the error of key-points went from {100 * before:.2f} to {100 * after:.2f} % of "
        f"the box, of held-out ones from {100 * held_before:.2f} to {100 * held_after:.2f} %"
    )
    verdict = FitVerdict(True, before, after, held_before, held_after, words)
    return Fitted(problem.corrected(correction), verdict)


def _objection(before: float, held_before: float, held_after: float, settings: FitSettings) -> str:
    """Say why a fit is thrown away; empty where it is kept."""
    if before != before:  # the mean of nothing
        return "no fit: no key-point was seen"
    if before > settings.max_off:
        return (
            f"no fit: key-points are {100 * before:.1f} % of the box off, more than "
            f"{100 * settings.max_off:.1f} %: they are not of this pose"
        )
    if held_after > (1 + settings.max_rise) * held_before + SLACK:
        return (
            f"no fit: of key-points it was not shown the error would go from "
            f"{100 * held_before:.2f} to {100 * held_after:.2f} % of the box"
        )
    return ""


def _held_out(problem: FitProblem) -> tuple[float, float]:
    """Return the mean error of key-points before the fit, and after fits that were not shown them.

    Left and right of a joint are in different parts, so that no limb is fitted blind.
    """
    settings = problem.settings
    part = problem.sampled(settings.held_out_frames)
    before = part.errors(part.start())[0]
    fold_of = torch.arange(before.shape[1]) % settings.num_folds
    is_held_out = fold_of == torch.arange(settings.num_folds)[:, None, None]  # (F, 1, K)
    found = part.errors(part.solve(torch.where(is_held_out, 0.0, part.weight)))
    after = torch.where(is_held_out, found, 0.0).sum(dim=0)
    return _mean(before), _mean(after)


def _mean(errors: Tensor) -> float:
    """Mean over what was seen; NaN where nothing was."""
    return float(errors.nanmean())
