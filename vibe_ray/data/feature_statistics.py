"""Are a data set's features such as its encoder gives of others? Asked of their means and spreads.

A feature has no unit by which it can be told from a wrong one: pixels that were not normalized, or
cut out otherwise than the encoder knows them, give numbers all the same. But then they differ from
what the same encoder has made of other people, in most of its numbers and by more than people do.

Shapes: N frames, F features.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from vibe_ray.data.checks import Finding
from vibe_ray.data.schema import MAX_CLIP_FRAMES, PoseSequence
from vibe_ray.geometry.arrays import Array

MIN_SEQUENCES = 20
"""Of a data set that is compared, and of the others together: fewer are too few people."""
MAX_SHIFT = 2.0
"""Standard deviations by which half of the features may differ in their means."""
MAX_SPREAD = 4.0
"""Ratio by which half of the features may differ in their standard deviations."""


@dataclass
class Statistics:
    """Of a data set's features, as far as it was met."""

    num_sequences: int = 0
    num_frames: int = 0
    total: Array = field(default_factory=lambda: np.zeros(()))
    """(F,)."""
    squares: Array = field(default_factory=lambda: np.zeros(()))

    def add(self, features: Array) -> None:
        """Count in some features (N, F)."""
        self.num_frames += len(features)
        self.total = self.total + features.sum(axis=0)
        self.squares = self.squares + (features**2).sum(axis=0)

    @property
    def mean(self) -> Array:
        """(F,)."""
        return self.total / self.num_frames

    @property
    def std(self) -> Array:
        """(F,)."""
        return np.sqrt((self.squares / self.num_frames - self.mean**2).clip(0))


class FeatureSearch:
    """Meets all pose sequences of some data sets, then tells whose features are odd."""

    def __init__(self) -> None:
        self._sets: dict[tuple[str, int], dict[str, Statistics]] = defaultdict(dict)
        """By encoder and width, of which an encoder has one: other numbers cannot be compared."""

    def meet(self, folder: str, sequence: PoseSequence) -> None:
        """Note what a sequence's features are; frames in which nobody was looked at are zeros."""
        if not np.isfinite(sequence.features).all():
            return
        encoder = sequence.encoder_id, sequence.features.shape[1]
        found = self._sets[encoder].setdefault(folder, Statistics())
        found.num_sequences += 1
        for start in range(0, sequence.num_frames, MAX_CLIP_FRAMES):
            features = sequence.features[start : start + MAX_CLIP_FRAMES].astype(np.float64)
            found.add(features[features.any(axis=1)])

    def findings(self) -> Iterator[Finding]:
        """Yield data sets whose features are all the same, or odd beside those of other sets."""
        for (encoder_id, _), every in self._sets.items():
            sets = {folder: found for folder, found in every.items() if found.num_frames}
            for folder, own in sets.items():
                if own.num_frames > 1 and not own.std.any():
                    yield Finding(
                        "warning",
                        f"{folder}: all {own.num_frames} features are the same: expected one of "
                        f"each frame: encode it anew with encoder {encoder_id}",
                    )
                    continue
                others = _joined([one for name, one in sets.items() if name != folder])
                yield from _compared(folder, encoder_id, own, others)


def _joined(sets: Sequence[Statistics]) -> Statistics:
    joined = Statistics()
    for one in sets:
        joined.num_sequences += one.num_sequences
        joined.num_frames += one.num_frames
        joined.total = joined.total + one.total
        joined.squares = joined.squares + one.squares
    return joined


def _compared(
    folder: str, encoder_id: str, own: Statistics, others: Statistics
) -> Iterator[Finding]:
    if min(own.num_sequences, others.num_sequences) < MIN_SEQUENCES:
        return
    least = 1e-6 + 1e-3 * np.abs(others.mean)
    shift = float(np.median(np.abs(own.mean - others.mean) / (others.std + least)))
    spread = float(np.median((own.std + least) / (others.std + least)))
    if shift > MAX_SHIFT or not 1 / MAX_SPREAD < spread < MAX_SPREAD:
        yield Finding(
            "warning",
            f"{folder}: half of its features are {shift:.2g} standard deviations or more from "
            f"what encoder {encoder_id} gives in the other data sets, and their spread is "
            f"{spread:.2g} times theirs: expected up to {MAX_SHIFT:g}, and {1 / MAX_SPREAD:g} to "
            f"{MAX_SPREAD:g} times: look at its pictures and boxes with `inspect`, encode it anew",
        )
