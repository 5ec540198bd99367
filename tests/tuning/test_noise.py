"""The rule that tells a difference from chance."""

import math

import numpy as np
import pytest
from scipy import stats

from vibe_ray.tuning.noise import LEVEL, compare, seed_noise


def by_seed(values: np.ndarray) -> list[dict[int, float]]:
    return [dict(enumerate(map(float, row))) for row in values]


def test_two_candidates_are_the_paired_t_test() -> None:
    rng = np.random.default_rng(0)
    table = rng.normal(50, 2, (2, 6))
    base, other = table
    _, paired = compare(by_seed(table))
    p_value = stats.ttest_rel(base, other).pvalue
    assert paired.threshold is not None
    statistic = (other - base).mean() / paired.threshold * stats.t.ppf(1 - LEVEL / 2, 5)
    assert abs(statistic - stats.ttest_rel(other, base).statistic) < 1e-9
    assert (abs((other - base).mean()) > paired.threshold) == (p_value < LEVEL)


def test_noise_is_found_under_candidates_and_seeds_shares() -> None:
    rng = np.random.default_rng(1)
    noise = rng.normal(0, 0.7, (40, 30))
    table = 10 * rng.normal(size=(40, 1)) + 10 * rng.normal(size=(1, 30)) + noise
    found, better_half = seed_noise(by_seed(table), math.inf), seed_noise(by_seed(table))
    assert found is not None
    assert better_half is not None
    assert (found.freedom, better_half.freedom) == (39 * 29, 20 * 29)
    assert abs(found.deviation - 0.7) < 0.03
    assert abs(better_half.deviation - 0.7) < 0.04


@pytest.mark.parametrize(("candidates", "seeds"), [(2, 3), (5, 3), (16, 3), (5, 2), (3, 8)])
def test_candidates_that_are_alike_are_seldom_told_apart(candidates: int, seeds: int) -> None:
    rng = np.random.default_rng(2)
    tries = 400
    false = 0
    for _ in range(tries):
        table = rng.normal(50, 1, (candidates, seeds)) + 2 * rng.normal(size=(1, seeds))
        verdicts = {paired.verdict for paired in compare(by_seed(table))}
        false += bool(verdicts & {"better", "worse"})
    assert false / tries <= LEVEL + 3 * math.sqrt(LEVEL * (1 - LEVEL) / tries)


def test_a_large_difference_is_found_with_three_seeds() -> None:
    rng = np.random.default_rng(3)
    table = rng.normal(50, 0.5, (5, 3))
    table[1] -= 5
    table[2] += 5
    verdicts = [paired.verdict for paired in compare(by_seed(table))]
    assert verdicts == ["baseline", "better", "worse", "within seed noise", "within seed noise"]


def test_candidates_that_have_learned_nothing_hide_no_difference_between_the_others() -> None:
    rng = np.random.default_rng(4)
    table = rng.normal(50, 0.2, (6, 3))
    table[1] += 3
    table[4:] = rng.normal(100, 10, (2, 3))
    verdicts = [paired.verdict for paired in compare(by_seed(table))]
    assert verdicts[:4] == ["baseline", "worse", "within seed noise", "within seed noise"]
    noise = [paired.noise for paired in compare(by_seed(table))[1:]]
    assert [found and found.freedom for found in noise] == [6, 6, 6, 8, 10]


def test_seeds_that_disagree_on_the_sign_claim_nothing() -> None:
    table = np.array([[50.0, 50, 50], [50.1, 40, 40], [50, 50, 50], [50, 50, 50]])
    assert compare(by_seed(table))[1].verdict == "within seed noise"


def test_one_seed_claims_nothing() -> None:
    paired = compare([{0: 50.0}, {0: 10.0}])[1]
    assert (paired.verdict, paired.difference, paired.threshold) == ("one seed", -40.0, None)


def test_equal_scores_are_within_noise() -> None:
    assert compare(by_seed(np.full((2, 3), 7.0)))[1].verdict == "within seed noise"


def test_only_seeds_of_both_are_compared() -> None:
    base, other, third = {0: 1.0, 1: 2.0, 2: 4.0}, {1: 3.0, 2: 5.0, 7: 0.0}, {0: 1.0, 1: 2, 2: 4}
    _, paired, _ = compare([base, other, third])
    assert (paired.num_seeds, paired.difference) == (2, 1.0)


def test_what_was_not_measured_is_not_judged() -> None:
    assert [item.verdict for item in compare([{}, {0: 1.0}])] == ["baseline", "not measured"]
    assert compare([{0: 1.0, 1: 2.0}, {}])[1].verdict == "not measured"
