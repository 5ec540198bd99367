"""What does a fit to a picture move, and what does it minimize?

Rotations, one shape and the place in every frame are corrected until the projected key-points lie
on the detected ones (SMPLify, Bogo et al. 2016; over a whole track as in VIBE's demo), by as little
as it takes: measured by how the network is usually wrong (`usual_errors.py`).

Shapes: N frames, J = 24 joints, K key-points, F fits of the same motion, made together.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import roma
import torch
from torch import Tensor

from vibe_ray.body.joints import BodyJoints
from vibe_ray.fitting.fit_settings import FitSettings
from vibe_ray.fitting.motion import Motion
from vibe_ray.fitting.observation import Observation
from vibe_ray.fitting.usual_errors import usual_errors
from vibe_ray.losses.prior import unlikeliness
from vibe_ray.models.motion_prior import MotionPrior

WINDOW = 16
"""Frames that a motion prior looks at together, as it has learned to."""
PIECE = 3 * WINDOW
"""Frames in a row that a sample of a track is made of."""


@dataclass(frozen=True)
class Correction:
    """What the network's answer is corrected by, in each of F fits."""

    turn: Tensor
    """(F, N, 3 J): how far joints are turned, in usual errors; `FitProblem.turns` has radians."""
    betas: Tensor
    """(F, 10)."""
    place: Tensor
    """(F, N, 3): along the image's x and y in sides of the box, so that no step takes a body out
    of reach of its key-points, however far away it is; and of the depth's logarithm."""

    def parts(self) -> tuple[Tensor, Tensor, Tensor]:
        """All numbers."""
        return self.turn, self.betas, self.place


class FitProblem:
    """A motion, what was seen of it, and how far a correction brings the one to the other."""

    def __init__(
        self,
        motion: Motion,
        seen: Observation,
        body: BodyJoints,
        settings: FitSettings,
        prior: MotionPrior | None = None,
    ) -> None:
        """Take arguments as of `picture.fit_to_picture`; the body gives the key-points seen."""
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

    def sampled(self, num_frames: int) -> "FitProblem":
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
        return FitProblem(motion, seen, self._body, self.settings, self._prior)

    def start(self, num_fits: int = 1) -> Correction:
        """Return the corrections that change nothing."""
        return Correction(
            torch.zeros(num_fits, len(self.rotmat), len(self._usual)),
            torch.zeros(num_fits, *self.betas.shape),
            torch.zeros(num_fits, *self.transl.shape),
        )

    def solve(self, weight: Tensor) -> Correction:
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
            self.closeness(correction).backward()
            for piece in self._pieces(len(weight)):
                self._distance(correction, weight, piece).backward()
            for windows in self.windows(len(weight)):
                self.unlikeliness(correction, windows).backward()
            optimizer.step()
            schedule.step()
        return Correction(*(part.detach() for part in parts))

    @torch.no_grad()
    def errors(self, correction: Correction) -> Tensor:
        """Distances of key-points (F, N, K) in sides of the box, NaN where they were not seen."""
        pieces = self._pieces(len(correction.betas))
        found = torch.cat([self._offsets(correction, piece) for piece in pieces], dim=1)
        return torch.where(self.weight > 0, found.norm(dim=-1), torch.nan)

    def corrected(self, correction: Correction) -> Motion:
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

    def turns(self, correction: Correction, frames: slice | Tensor) -> Tensor:
        """Return by how much joints are turned (F, ..., J, 3), radians, about the axes of each."""
        return (correction.turn[:, frames] @ self._usual).unflatten(-1, (-1, 3))

    def _applied(self, correction: Correction, piece: slice) -> tuple[Tensor, Tensor]:
        rotmat = self.rotmat[piece] @ roma.rotvec_to_rotmat(self.turns(correction, piece))
        transl, place = self.transl[piece], self._place(correction, piece)
        flat = transl[:, :2] + transl[:, 2:] * place[..., :2]
        moved = torch.cat([flat, transl[:, 2:].expand_as(flat[..., :1])], dim=-1)
        return rotmat, moved * place[..., 2:].exp()

    def _place(self, correction: Correction, piece: slice) -> Tensor:
        """By how much the place changes (F, n, 3), in units of the depth, and of its logarithm."""
        return correction.place[:, piece] * self._place_unit[piece]

    def _offsets(self, correction: Correction, piece: slice) -> Tensor:
        """Projected from seen key-points (F, n, K, 2), in sides of the box."""
        rotmat, transl = self._applied(correction, piece)
        betas = (self.betas + correction.betas)[:, None].expand(-1, rotmat.shape[1], -1)
        points = self._body(betas, rotmat) + transl[..., None, :]
        pixels = self.seen.project(points) - self._target[piece]
        return pixels / self._unit[piece, :, None]

    def _distance(self, correction: Correction, weight: Tensor, piece: slice) -> Tensor:
        squared = self._offsets(correction, piece).square().sum(dim=-1)
        squared = squared / self.settings.robust_scale**2
        return (weight[:, piece] * squared / (1 + squared)).sum()

    def windows(self, num_fits: int) -> Iterator[Tensor]:
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

    def unlikeliness(self, correction: Correction, windows: Tensor) -> Tensor:
        """What the motion prior says of windows; see `windows`."""
        assert self._prior is not None
        turn = roma.rotvec_to_rotmat(self.turns(correction, windows)[..., 1:, :])
        body = self.rotmat[windows][..., 1:, :, :] @ turn  # (F, windows, T, 23, 3, 3)
        latent = self._prior.encode(body.flatten(0, 1)).mean
        return self.settings.prior * windows.shape[1] * unlikeliness(latent)

    def closeness(self, correction: Correction) -> Tensor:
        """What corrections cost: how unlikely they are, and how restless."""
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
