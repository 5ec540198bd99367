"""Can the body be laid closer on the person in the picture without making the pose worse?

Rotations, one shape and the place in every frame are moved until the projected key-points lie on
the detected ones (SMPLify, Bogo et al. 2016; over a whole track as in VIBE's demo). Key-points
alone make poses worse: so what is moved is a *correction* of the network's answer, calm and small,
measured by how that is usually wrong (`usual_errors.py`).
And key-points must not contradict it: fitted to some of them, the body must not leave the others,
which it was not shown. A fit that does is thrown away.

Shapes: N frames, J = 24 joints, K key-points, F fits of the same motion, made together.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import roma
import torch
from torch import Tensor

from vibe_ray.body.joints import BodyJoints
from vibe_ray.body.model import BodyArrays
from vibe_ray.fitting.fit_settings import FitSettings
from vibe_ray.fitting.motion import Motion
from vibe_ray.fitting.observation import Observation
from vibe_ray.fitting.usual_errors import usual_errors
from vibe_ray.losses.prior import unlikeliness
from vibe_ray.models.motion_prior import MotionPrior

WINDOW = 16
"""Frames that a motion prior looks at together, as it has learned to."""
PIECE = 3 * WINDOW
"""Frames in a row of those that decide whether a fit is kept."""
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
    problem = _Problem(motion, seen, body_points, settings, prior)
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


@dataclass(frozen=True)
class _Correction:
    """What is added to the network's answer, by each of F fits."""

    turn: Tensor
    """(F, N, 3 J): what is turned, as sums of usual errors, one each; see `_Problem.turns`."""
    betas: Tensor
    """(F, 10)."""
    place: Tensor
    """(F, N, 3): along the image's x and y in sides of the box, so that no step takes a body out
    of reach of its key-points, however far away it is; and of the depth's logarithm."""

    def parts(self) -> tuple[Tensor, Tensor, Tensor]:
        return self.turn, self.betas, self.place


class _Problem:
    """A motion, what was seen of it, and how far a correction brings the one to the other."""

    def __init__(
        self,
        motion: Motion,
        seen: Observation,
        body: BodyJoints,
        settings: FitSettings,
        prior: MotionPrior | None = None,
    ) -> None:
        self.motion, self.seen, self.settings = motion, seen, settings
        self._body, self._prior = body, prior
        self.rotmat, self.betas = motion.rotmat.float(), motion.betas.float()
        self.transl = motion.transl.float()
        self.weight = seen.weight.float()
        self._target = seen.target.float()
        self._unit = seen.box_size.float().clamp(min=1.0)[:, None]
        to_depths = self._unit / seen.focal  # of a side of the box
        self._place_unit = torch.cat([to_depths, to_depths, torch.ones_like(to_depths)], dim=1)
        self._usual = usual_errors()
        self._gap_s = motion.times_s.diff().float()[:, None]

    def sampled(self, num_frames: int) -> "_Problem":
        """Return the problem of about so many frames, in pieces from all over the track."""
        N = len(self.rotmat)
        if max(num_frames, PIECE) >= N:
            return self
        starts = torch.linspace(0, N - PIECE, max(1, num_frames // PIECE)).long()
        frames = (starts[:, None] + torch.arange(PIECE)).flatten().unique()
        motion = replace(
            self.motion,
            rotmat=self.motion.rotmat[frames],
            transl=self.motion.transl[frames],
            times_s=self.motion.times_s[frames],
        )
        seen = replace(
            self.seen,
            kp_2d=self.seen.kp_2d[frames],
            conf=self.seen.conf[frames],
            box_size=self.seen.box_size[frames],
        )
        return _Problem(motion, seen, self._body, self.settings, self._prior)

    def start(self, num_fits: int = 1) -> _Correction:
        """Return the corrections that change nothing."""
        return _Correction(
            torch.zeros(num_fits, len(self.rotmat), len(self._usual)),
            torch.zeros(num_fits, *self.betas.shape),
            torch.zeros(num_fits, *self.transl.shape),
        )

    def solve(self, weight: Tensor) -> _Correction:
        """Find the best corrections for key-points weighed by (F, N, K), 0 for what is not shown.

        The fits know nothing of each other: their losses are added up, and an optimizer that works
        number by number takes each its own way. One gradient is that of the whole track, added up
        piece by piece.
        """
        correction = self.start(len(weight))
        turn, *rest = parts = [part.requires_grad_() for part in correction.parts()]
        groups: list[dict[str, Any]] = [
            {"params": [turn], "lr": self.settings.turn_learning_rate},
            {"params": rest, "lr": self.settings.learning_rate},
        ]
        optimizer = torch.optim.Adam(groups, betas=(0.9, 0.99))
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, self.settings.num_steps)
        for _ in range(self.settings.num_steps):
            optimizer.zero_grad()
            self._closeness(correction).backward()
            for piece in self._pieces(len(weight)):
                self._distance(correction, weight, piece).backward()
            for windows in self._windows(len(weight)):
                self._unlikeliness(correction, windows).backward()
            optimizer.step()
            schedule.step()
        return _Correction(*(part.detach() for part in parts))

    @torch.no_grad()
    def errors(self, correction: _Correction) -> Tensor:
        """Distances of key-points (F, N, K) in sides of the box, NaN where they were not seen."""
        pieces = self._pieces(len(correction.betas))
        found = torch.cat([self._offsets(correction, piece) for piece in pieces], dim=1)
        return torch.where(self.weight > 0, found.norm(dim=-1), torch.nan)

    def corrected(self, correction: _Correction) -> Motion:
        """Return the motion with the correction of a single fit."""
        everything = slice(0, len(self.rotmat))
        rotmat, transl = self._applied(correction, everything)
        return replace(
            self.motion,
            rotmat=rotmat[0].to(self.motion.rotmat),
            transl=transl[0].to(self.motion.transl),
            betas=(self.betas + correction.betas[0]).to(self.motion.betas),
        )

    def _pieces(self, num_fits: int) -> Iterator[slice]:
        chunk = max(self.settings.chunk // num_fits, 1)
        return (slice(at, at + chunk) for at in range(0, len(self.rotmat), chunk))

    def turns(self, correction: _Correction, frames: slice | Tensor) -> Tensor:
        """Return by how much joints are turned (F, ..., J, 3), radians, about the axes of each."""
        return (correction.turn[:, frames] @ self._usual.T).unflatten(-1, (-1, 3))

    def _applied(self, correction: _Correction, piece: slice) -> tuple[Tensor, Tensor]:
        rotmat = self.rotmat[piece] @ roma.rotvec_to_rotmat(self.turns(correction, piece))
        transl, place = self.transl[piece], self._place(correction, piece)
        flat = transl[:, :2] + transl[:, 2:] * place[..., :2]
        moved = torch.cat([flat, transl[:, 2:].expand_as(flat[..., :1])], dim=-1)
        return rotmat, moved * place[..., 2:].exp()

    def _place(self, correction: _Correction, piece: slice) -> Tensor:
        """By how much the place changes (F, n, 3), in units of the depth, and of its logarithm."""
        return correction.place[:, piece] * self._place_unit[piece]

    def _offsets(self, correction: _Correction, piece: slice) -> Tensor:
        """Projected from seen key-points (F, n, K, 2), in sides of the box."""
        rotmat, transl = self._applied(correction, piece)
        betas = (self.betas + correction.betas)[:, None].expand(-1, rotmat.shape[1], -1)
        points = self._body(betas, rotmat) + transl[..., None, :]
        pixels = self.seen.project(points) - self._target[piece]
        return pixels / self._unit[piece, :, None]

    def _distance(self, correction: _Correction, weight: Tensor, piece: slice) -> Tensor:
        squared = self._offsets(correction, piece).square().sum(dim=-1)
        squared = squared / self.settings.robust_scale**2
        return (weight[:, piece] * squared / (1 + squared)).sum()

    def _windows(self, num_fits: int) -> Iterator[Tensor]:
        """Yield the frames (windows, T) that the prior looks at together, some windows at a time.

        The last one ends with the track, and may share frames with the one before.
        """
        if not self.settings.prior:
            return
        N = len(self.rotmat)
        length = min(WINDOW, N)
        starts = torch.arange(0, N - length + 1, length)
        if N % length:
            starts = torch.cat([starts, torch.tensor([N - length])])
        windows = starts[:, None] + torch.arange(length)
        yield from windows.split(max(self.settings.chunk // (num_fits * length), 1))

    def _unlikeliness(self, correction: _Correction, windows: Tensor) -> Tensor:
        assert self._prior is not None
        turn = roma.rotvec_to_rotmat(self.turns(correction, windows)[..., 1:, :])
        body = self.rotmat[windows][..., 1:, :, :] @ turn  # (F, windows, T, 23, 3, 3)
        latent = self._prior.encode(body.flatten(0, 1)).mean
        return self.settings.prior * windows.shape[1] * unlikeliness(latent)

    def _closeness(self, correction: _Correction) -> Tensor:
        settings = self.settings
        loss = settings.pull * correction.turn.square().sum()
        loss = loss + settings.shape * len(self.rotmat) * correction.betas.square().sum()
        for weight, part in (
            (settings.calm, correction.turn),
            (settings.place_calm, self._place(correction, slice(None))),
        ):
            change = part.diff(dim=1).flatten(2)
            loss = loss + weight * (change / self._gap_s).square().sum()
        return loss


def _held_out(problem: _Problem) -> tuple[float, float]:
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
