"""The ranking: medians and spreads over seeds, failures told and never winning."""

import json
import random
import statistics

from vibe_ray.tuning.ranking import Outcome, format_table, rank, to_dict

SCORE = "val/pa_mpjpe_mm"


def outcome(candidate: int, seed: int, score: float | None) -> Outcome:
    return Outcome(
        name=f"candidate_{candidate:03d}_seed_{seed}",
        candidate=candidate,
        settings={"losses.adversarial": candidate / 2},
        seed=seed,
        score=score,
        checkpoint=None if score is None else f"runs/{candidate}/{seed}",
        error="the loss was not finite" if score is None else None,
    )


OUTCOMES = [
    outcome(0, 0, 57.0),
    outcome(0, 1, 61.0),
    outcome(0, 2, 58.0),
    outcome(1, 0, 50.0),
    outcome(1, 1, 60.0),
    outcome(1, 2, 59.5),
    outcome(2, 0, None),
    outcome(2, 1, 57.5),
    outcome(2, 2, None),
    outcome(3, 0, None),
]


def test_a_candidate_is_judged_by_its_median_not_by_its_luckiest_seed() -> None:
    ranked = rank(OUTCOMES)
    assert [row.settings["losses.adversarial"] for row in ranked] == [1.0, 0.0, 0.5, 1.5]
    row = ranked[2]
    assert (row.median, row.lowest, row.highest, row.num_seeds) == (59.5, 50.0, 60.0, 3)
    assert row.checkpoint == "runs/1/0"


def test_the_median_is_the_standard_librarys() -> None:
    scores = [random.Random(1).uniform(40, 60) for _ in range(4)]
    row = rank([outcome(0, seed, score) for seed, score in enumerate(scores)])[0]
    assert row.median == statistics.median(scores)


def test_failed_trials_are_counted_and_a_candidate_of_failures_comes_last() -> None:
    ranked = rank(OUTCOMES)
    assert [(row.num_seeds, row.num_failed) for row in ranked] == [(1, 2), (3, 0), (3, 0), (0, 1)]
    assert ranked[-1].median is None
    assert ranked[-1].checkpoint is None


def test_the_order_of_trials_does_not_matter() -> None:
    shuffled = random.Random(0).sample(OUTCOMES, len(OUTCOMES))
    assert [row.median for row in rank(shuffled)] == [row.median for row in rank(OUTCOMES)]


def test_json_names_the_best_and_every_trial() -> None:
    plain = json.loads(json.dumps(to_dict(rank(OUTCOMES), SCORE), allow_nan=False))
    assert plain["best"] == {"settings": {"losses.adversarial": 1.0}, "checkpoint": "runs/2/1"}
    assert sum(len(row["trials"]) for row in plain["candidates"]) == len(OUTCOMES)


def test_nothing_is_best_when_all_failed() -> None:
    assert to_dict(rank([outcome(0, 0, None)]), SCORE)["best"] is None


def test_the_table_shows_spread_seeds_and_reasons() -> None:
    lines = format_table(rank(OUTCOMES), SCORE).splitlines()
    assert lines[0].split() == ["losses.adversarial", SCORE, "lowest", "highest", "seeds", "failed"]
    assert lines[3].split() == ["0.5", "59.50", "50.00", "60.00", "3", "0"]
    assert lines[4].split() == ["1.5", "-", "-", "-", "0", "1"]
    assert lines[5] == "candidate_002_seed_0 failed: the loss was not finite"
    assert len({len(line) for line in lines[:5]}) == 1
