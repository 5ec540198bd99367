"""Is a candidate better than the baseline, or is it chance? Seeds tell.

The model is the textbook's for treatments (candidates) tried on blocks (seeds): a score is its
candidate's mean plus its seed's share plus noise. The noise is what is left when both are taken
out. Three seeds of one candidate say little about it, so it is estimated from several together;
not from all, since bad candidates scatter more: one that has not begun to learn would hide what the
good ones differ by. Each comparison has the noise of the better half of the candidates and of all
that are as good as the worse of the two compared. (A mean says nothing about the scatter around it
where all scatter alike, so this choice favors no verdict.) A difference counts only if

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
    "noise makes any of this search's differences in 95 of 100 searches (paired by seed; noise "
    "estimated from the better half of the candidates and all that are as good as the worse of the "
    "two; Bonferroni's correction); anything else is within seed noise."
)

Verdict = Literal["baseline", "better", "worse", "within seed noise", "one seed", "not measured"]
Scores = Mapping[int, float]
"""Seed -> score, lower is better."""


@dataclass(frozen=True)
class Noise:
    deviation: float
    """Standard deviation of a score when its candidate's and its seed's shares are taken out."""
    freedom: int
    """Degrees of freedom of the estimate."""


@dataclass(frozen=True, kw_only=True)
class Paired:
    """A candidate against the baseline, seed by seed."""

    verdict: Verdict
    difference: float | None = None
    """Mean over the seeds that both have, of candidate minus baseline."""
    noise: Noise | None = None
    """By which it was judged."""
    threshold: float | None = None
    """What the mean difference has to exceed."""
    median_difference: float | None = None
    seeds_agree: bool = False
    """Whether all differences have the same sign."""
    num_seeds: int = 0


def seed_noise(scores: Sequence[Scores], worst: float = -math.inf) -> Noise | None:
    """Estimate the noise of the better half of candidates and all whose mean is at most `worst`.

    Counted are those that have every seed of the first, the baseline.

    Returns:
        None where there are too few: two candidates with the same two seeds are needed.
    """
    seeds = sorted(scores[0])
    if not seeds:
        return None
    complete = [item for item in scores if set(item) >= set(seeds)]
    means = [_mean(item, seeds) for item in complete]
    bound = max(worst, statistics.median_high(means))
    good = [item for item, mean in zip(complete, means, strict=True) if mean <= bound]
    freedom = (len(good) - 1) * (len(seeds) - 1)
    if freedom < 1:
        return None
    table = np.array([[item[seed] for seed in seeds] for item in good])  # (C, S)
    left = table - table.mean(0) - table.mean(1, keepdims=True) + table.mean()
    return Noise(math.sqrt(float((left**2).sum()) / freedom), freedom)


def compare(scores: Sequence[Scores]) -> list[Paired]:
    """Compare every candidate with the first, the baseline; in the same order.

    Those without a score count as comparisons, too: others were chosen over them.
    """
    first = Paired(verdict="baseline", num_seeds=len(scores[0]))
    return [first, *(_compare(scores, item) for item in scores[1:])]


def _compare(scores: Sequence[Scores], other: Scores) -> Paired:
    base, comparisons = scores[0], len(scores) - 1
    seeds = sorted(set(base) & set(other))
    num = len(seeds)
    if not num:
        return Paired(verdict="not measured")
    noise = seed_noise(scores, max(_mean(base, sorted(base)), _mean(other, seeds)))
    differences = [other[seed] - base[seed] for seed in seeds]
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
    return dataclasses.replace(known, verdict=verdict, threshold=threshold, noise=noise)


def _mean(item: Scores, seeds: Sequence[int]) -> float:
    return statistics.fmean(item[seed] for seed in seeds)
