"""From numbers per frame to means: sums and counts per sequence, added up over sequences and ranks.

A sequence's score is a few hundred numbers whatever its length, so an evaluation of any size fits
in memory and may be dealt over workers: the means do not depend on how.

Shapes: N frames of one sequence, K joints.
"""

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor

from vibe_ray.evaluation.metrics import (
    accel_error_mm_per_frame2,
    accel_mm_per_frame2,
    auc_percent,
    mpjpe_mm,
    pa_mpjpe_mm,
    pck_percent,
)
from vibe_ray.evaluation.protocols import METRICS, Protocol

Truth = Literal["smpl", "kp_3d"]

SEAM_FRAMES = 2
"""Frames on each side of a seam that its accelerations reach."""
PER_FRAME = {
    "mpjpe_mm": mpjpe_mm,
    "pa_mpjpe_mm": pa_mpjpe_mm,
    "pck_150mm_percent": pck_percent,
    "auc_percent": auc_percent,
}


@dataclass(frozen=True)
class Motion:
    """Predicted and true joints of the same frames."""

    joints: Tensor
    """(N, K, 3) meters, centered."""
    target: Tensor
    """(N, K, 3) meters, centered."""

    def __len__(self) -> int:
        return len(self.joints)

    def select(self, frames: slice | Tensor) -> "Motion":
        """Those frames only."""
        return Motion(self.joints[frames], self.target[frames])

    def cpu(self) -> "Motion":
        """The same on the CPU, in memory of its own."""
        return Motion(self.joints.cpu().clone(), self.target.cpu().clone())

    def followed_by(self, other: "Motion") -> "Motion":
        """Both, one after the other."""
        return Motion(
            torch.cat([self.joints, other.joints]), torch.cat([self.target, other.target])
        )


@dataclass
class Sums:
    """Sums of metrics over frames, and over how many frames each was summed."""

    totals: dict[str, float] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)

    def add(self, name: str, total: float, count: int) -> None:
        """Add a sum over `count` values to one metric."""
        if count:
            self.totals[name] = self.totals.get(name, 0.0) + total
            self.counts[name] = self.counts.get(name, 0) + count

    def add_values(self, name: str, values: Tensor) -> None:
        """Add values of one metric, one per frame."""
        self.add(name, values.double().sum().item(), values.numel())

    def add_sums(self, other: "Sums") -> None:
        """Add another's sums, metric by metric."""
        for name, total in other.totals.items():
            self.add(name, total, other.counts[name])

    def means(self) -> dict[str, float]:
        """Means of those metrics that have any value, in the order of tables; never NaN."""
        return {
            name: self.totals[name] / self.counts[name] for name in METRICS if name in self.counts
        }


@dataclass(frozen=True, kw_only=True)
class SequenceScore:
    """One sequence's share of every mean."""

    dataset: str
    sequence: str
    person: str
    truth: Truth | None = None
    """None where no frame is usable."""
    num_frames: int = 0
    sums: Sums = field(default_factory=Sums)
    head: Motion | None = None
    """Its first two frames, on the CPU, for accelerations over seams (`vibe_compat`)."""
    tail: Motion | None = None
    """Its last two frames."""


@dataclass(frozen=True, kw_only=True)
class SequenceResult:
    dataset: str
    sequence: str
    person: str
    num_frames: int
    metrics: dict[str, float]


@dataclass(frozen=True, kw_only=True)
class EvaluationResult:
    """Means over all frames, and over those of each sequence."""

    protocol: str
    truth: Truth
    """Where the true joints come from: `smpl` parameters or a data set's own `kp_3d`."""
    window_length: int
    num_frames: int
    metrics: dict[str, float]
    """Metric -> mean; a metric that could not be measured is absent."""
    per_sequence: list[SequenceResult]

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain JSON values."""
        return dataclasses.asdict(self)


class TrackScore:
    """Adds up a sequence that comes some frames at a time."""

    def __init__(self, protocol: Protocol) -> None:
        self.sums = Sums()
        self.num_frames = 0
        """So far, usable or not."""
        self.head: Motion | None = None
        """The first two frames, on the CPU."""
        self.tail: Motion | None = None
        """The last two of all so far."""
        self._protocol = protocol
        self._usable: Tensor | None = None

    def add(self, motion: Motion, usable: Tensor) -> None:
        """Add the joint metrics of the next frames.

        An acceleration counts if its three frames are usable, those of earlier calls included.

        Args:
            motion: The next n frames in time order.
            usable: (n,) bool.
        """
        num_new = len(motion)
        add_joint_metrics(self.sums, motion.select(usable), self._protocol)
        if self.tail is not None and self._usable is not None:
            motion = self.tail.followed_by(motion)
            usable = torch.cat([self._usable, usable])
        add_accelerations(self.sums, motion, usable, self._protocol)
        if self.num_frames < SEAM_FRAMES:
            self.head = motion.select(slice(SEAM_FRAMES)).cpu()
        self.num_frames += num_new
        self.tail = motion.select(slice(-SEAM_FRAMES, None))
        self._usable = usable[-SEAM_FRAMES:]


def add_joint_metrics(sums: Sums, motion: Motion, protocol: Protocol) -> None:
    """Add the metrics that each of some usable frames has by itself."""
    for name, function in PER_FRAME.items():
        if name in protocol.metrics:
            sums.add_values(name, function(motion.joints, motion.target))


def add_accelerations(sums: Sums, motion: Motion, usable: Tensor, protocol: Protocol) -> None:
    """Add the accelerations of N frames in time order; one counts if its frames are usable (N,)."""
    if len(motion) < 3:
        return
    triples = usable[2:] & usable[1:-1] & usable[:-2]
    values = {
        "accel_mm_per_frame2": accel_mm_per_frame2(motion.joints),
        "true_accel_mm_per_frame2": accel_mm_per_frame2(motion.target),
        "accel_error_mm_per_frame2": accel_error_mm_per_frame2(motion.joints, motion.target),
    }
    for name, accelerations in values.items():
        if name in protocol.metrics:
            sums.add_values(name, accelerations[triples])


def combine(
    scores: Sequence[SequenceScore], protocol: Protocol, window_length: int
) -> EvaluationResult:
    """Average scores of sequences, frame by frame, in their order.

    Raises:
        ValueError: No frame could be evaluated, or sequences differ in where their truth is from.
    """
    used = [score for score in scores if score.num_frames]
    if not used:
        raise ValueError(
            f"none of {len(scores)} sequences has a frame to evaluate: expected valid frames with "
            f"SMPL or 3D truth (protocol {protocol.name!r}, windows of {window_length}"
            + (f", sequences with {protocol.sequences} in their names" * bool(protocol.sequences))
            + "); "
            "`python -m vibe_ray.prepare validate` shows what the data holds"
        )
    truths = {score.truth for score in used}
    if len(truths) > 1:
        first = {truth: next(s.sequence for s in used if s.truth == truth) for truth in truths}
        raise ValueError(
            f"sequences {sorted(first.values())} have different kinds of truth, SMPL parameters or "
            "3D joints, whose joints do not mean the same: evaluate such data sets separately"
        )
    sums = Sums()
    for score in used:
        sums.add_sums(score.sums)
    if protocol.boundaries == "vibe_compat":
        _add_seams(sums, used, protocol)
    assert used[0].truth is not None
    return EvaluationResult(
        protocol=protocol.name,
        truth=used[0].truth,
        window_length=window_length,
        num_frames=sum(score.num_frames for score in used),
        metrics=sums.means(),
        per_sequence=[_sequence_result(score) for score in used],
    )


def _add_seams(sums: Sums, scores: Iterable[SequenceScore], protocol: Protocol) -> None:
    """Add the accelerations whose three frames lie in more than one sequence."""
    before: Motion | None = None
    for score in scores:
        assert score.head is not None
        assert score.tail is not None
        if before is None:
            before = score.tail
            continue
        seam = before.followed_by(score.head)
        add_accelerations(sums, seam, torch.ones(len(seam), dtype=torch.bool), protocol)
        # A sequence of one frame does not fill the two that the next seam needs.
        before = before.followed_by(score.tail).select(slice(-2, None))


def _sequence_result(score: SequenceScore) -> SequenceResult:
    return SequenceResult(
        dataset=score.dataset,
        sequence=score.sequence,
        person=score.person,
        num_frames=score.num_frames,
        metrics=score.sums.means(),
    )
