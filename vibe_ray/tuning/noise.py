"""Is a candidate better than the baseline, or is it chance? Seeds tell.

The model is the textbook's for treatments (candidates) tried on blocks (seeds): a score is its
candidate's mean plus its seed's share plus noise. The noise is what is left when both are taken
out, and is estimated from all candidates together, since three seeds of one say little. A
difference counts only if

1. every seed that both have agrees on its sign, and
2. the mean difference exceeds what noise alone exceeds in 5 % of searches, whichever of the
   candidates it befalls (Student's t, Bonferroni's share of the 5 % to each comparison).

Otherwise it is within seed noise. With two candidates this is the paired t test. One seed says
nothing, so nothing is claimed from it.

Shapes: C candidates, S seeds.
"""

import dataclasses
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import stats

LEVEL = 0.05
"""How often a search of candidates that are all alike may find a difference."""

RULE = (
    "A difference counts only if all seeds agree on its sign and its mean is larger than seed "
    "noise makes any of this search's differences in 95 of 100 searches (paired by seed, noise "
    "estimated from all candidates, Bonferroni's correction); anything else is within seed noise."
)

Verdict = Literal["baseline", "better", "worse", "within seed noise", "one seed", "not measured"]
Scores = Mapping[int, float]
"""Seed -> score, lower is better."""


@dataclass(frozen=True, kw_only=True)
class Paired:
    """A candidate against the baseline, seed by seed."""

    verdict: Verdict
    difference: float | None = None
    """Mean over the seeds that both have, of candidate minus baseline."""
    threshold: float | None = None
    """What the mean difference has to exceed."""
    median_difference: float | None = None
    seeds_agree: bool = False
    """Whether all differences have the same sign."""
    num_seeds: int = 0


@dataclass(frozen=True)
class Noise:
    deviation: float
    """Standard deviation of a score when its candidate's and its seed's shares are taken out."""
    freedom: int
    """Degrees of freedom of the estimate."""


def seed_noise(scores: Sequence[Scores]) -> Noise | None:
    """Estimate the noise from the candidates that have every seed of the first, the baseline.

    Returns:
        None where there are too few: two candidates with the same two seeds are needed.
    """
    seeds = sorted(scores[0])
    complete = [item for item in scores if set(item) >= set(seeds)]
    freedom = (len(complete) - 1) * (len(seeds) - 1)
    if freedom < 1:
        return None
    table = np.array([[item[seed] for seed in seeds] for item in complete])  # (C, S)
    left = table - table.mean(0) - table.mean(1, keepdims=True) + table.mean()
    return Noise(math.sqrt(float((left**2).sum()) / freedom), freedom)


def compare(scores: Sequence[Scores]) -> list[Paired]:
    """Compare every candidate with the first, the baseline; in the same order.

    Those without a score count as comparisons, too: others were chosen over them.
    """
    noise = seed_noise(scores)
    first = Paired(verdict="baseline", num_seeds=len(scores[0]))
    tried = len(scores) - 1
    return [first, *(_compare(scores[0], item, noise, tried) for item in scores[1:])]


def _compare(base: Scores, other: Scores, noise: Noise | None, comparisons: int) -> Paired:
    differences = [other[seed] - base[seed] for seed in sorted(set(base) & set(other))]
    num = len(differences)
    if not num:
        return Paired(verdict="not measured")
    mean = statistics.fmean(differences)
    known = Paired(
        verdict="one seed",
        difference=mean,
        median_difference=statistics.median(differences),
        seeds_agree=all(item > 0 for item in differences) or all(item < 0 for item in differences),
        num_seeds=num,
    )
    if num == 1 or noise is None:
        return known
    quantile = float(stats.t.ppf(1 - LEVEL / (2 * comparisons), noise.freedom))
    threshold = quantile * noise.deviation * math.sqrt(2 / num)
    verdict: Verdict = "within seed noise"
    if known.seeds_agree and abs(mean) > threshold:
        verdict = "better" if mean < 0 else "worse"
    return dataclasses.replace(known, verdict=verdict, threshold=threshold)
