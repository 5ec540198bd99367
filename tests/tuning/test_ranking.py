"""The ranking: medians and spreads over seeds, failures told and never winning."""

import json
import random
import statistics

import pytest
from rich.console import Console

from vibe_ray.tuning.candidates import Candidate, Trial
from vibe_ray.tuning.ranking import (
    Outcome,
    Ranked,
    State,
    cells,
    failures,
    median_metrics,
    rank,
    rich_table,
    to_dict,
)

SCORE = "val/pa_mpjpe_mm"
WHY = "loss term x was not finite"


def candidate(number: int) -> Candidate:
    settings = {"losses.adversarial": number / 2}
    return Candidate(number=number, label=f"adversarial {number / 2}", settings=settings)


def outcome(
    number: int, seed: int, score: float | None, state: State = "finished", epochs: int = 5
) -> Outcome:
    return Outcome(
        trial=Trial(candidate=candidate(number), seed=seed),
        state="failed" if score is None else state,
        metrics={} if score is None else {SCORE: score, "val/mpjpe_mm": 2 * score},
        score=score,
        num_epochs=epochs,
        checkpoint=None if score is None else f"runs/{number}/{seed}",
        error=WHY if score is None else None,
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


def ranked() -> list[Ranked]:
    return rank(OUTCOMES, candidate(0))


def test_a_candidate_is_judged_by_its_median_not_by_its_luckiest_seed() -> None:
    assert [row.candidate.number for row in ranked()] == [2, 0, 1, 3]
    row = ranked()[2]
    assert (row.median, row.lowest, row.highest, row.num_seeds) == (59.5, 50.0, 60.0, 3)
    assert row.best is not None
    assert row.best.checkpoint == "runs/1/0"
    assert median_metrics(row) == {SCORE: 59.5, "val/mpjpe_mm": 119.0}


def test_the_median_is_the_standard_librarys() -> None:
    scores = [random.Random(1).uniform(40, 60) for _ in range(4)]
    rows = rank([outcome(0, seed, score) for seed, score in enumerate(scores)], candidate(0))
    assert rows[0].median == statistics.median(scores)


def test_each_is_compared_with_the_baseline_seed_by_seed() -> None:
    paired = {row.candidate.number: row.paired for row in rank(OUTCOMES, candidate(1))}
    assert paired[1].verdict == "baseline"
    assert (paired[0].median_difference, paired[0].num_seeds) == (1.0, 3)
    assert paired[0].difference == pytest.approx(6.5 / 3)
    assert (paired[2].difference, paired[2].verdict) == (-2.5, "one seed")
    assert paired[3].verdict == "not measured"


def test_failed_trials_are_counted_and_a_candidate_of_failures_comes_last() -> None:
    counts = [(row.num_seeds, row.num_failed) for row in ranked()]
    assert counts == [(1, 2), (3, 0), (3, 0), (0, 1)]
    assert ranked()[-1].median is None
    assert ranked()[-1].best is None


def test_what_was_stopped_early_is_no_result() -> None:
    rows = rank(
        [
            outcome(0, 0, 60.0),
            outcome(1, 0, 10.0, "stopped", epochs=2),
            outcome(2, 0, 9.0, "stopped", epochs=4),
        ],
        candidate(0),
    )
    assert [row.candidate.number for row in rows] == [0, 2, 1], "the later stopped, the better"
    assert [row.median for row in rows] == [60.0, None, None]
    assert cells(2, rows[1])[-1] == "stopped at epoch 4"


def test_the_order_of_trials_does_not_matter() -> None:
    shuffled = random.Random(0).sample(OUTCOMES, len(OUTCOMES))
    assert rank(shuffled, candidate(0)) == ranked()


def test_json_names_the_best_and_every_trial() -> None:
    plain = json.loads(json.dumps(to_dict(ranked(), SCORE), allow_nan=False))
    assert plain["best"]["settings"] == {"losses.adversarial": 1.0}
    assert plain["best"]["checkpoint"] == "runs/2/1"
    assert [row["rank"] for row in plain["candidates"]] == [1, 2, 3, 4]
    assert sum(len(row["trials"]) for row in plain["candidates"]) == len(OUTCOMES)
    assert plain["candidates"][2]["against_baseline"]["verdict"] == "within seed noise"


def test_nothing_is_best_when_all_failed() -> None:
    assert to_dict(rank([outcome(0, 0, None)], candidate(0)), SCORE)["best"] is None


def test_the_table_shows_spread_seeds_and_verdict() -> None:
    found = [cells(position, row) for position, row in enumerate(ranked(), start=1)]
    assert found[1] == ["2", "adversarial 0.0", "58.00", "57.00 to 61.00", "3", "-", "baseline"]
    assert found[2][-2:] == ["-2.17", "within seed noise"]
    assert found[0][-1] == "one seed: chance not known, 2 failed"
    assert found[3][2:] == ["-", "-", "0", "-", "1 failed"]
    console = Console(width=120, record=True)
    console.print(rich_table(ranked(), "score"))
    assert "within seed noise" in console.export_text()


def test_every_failure_has_its_reason() -> None:
    assert failures(ranked())[0] == f"candidate_002_seed_0 (adversarial 1.0): {WHY}"
    assert len(failures(ranked())) == 3


def test_seeds_that_disagree_are_said_to() -> None:
    scores = [[50.0, 50.0, 50.0], [50.1, 40.0, 40.0], [50.0, 50.0, 50.0], [50.0, 50.0, 50.0]]
    rows = rank(
        [outcome(n, seed, score) for n, row in enumerate(scores) for seed, score in enumerate(row)],
        candidate(0),
    )
    assert cells(1, rows[0])[-2:] == ["-6.63", "within seed noise"]
