"""The live table: every trial in a row, the best on top, as many as the screen holds."""

from rich.console import Console

from vibe_ray.tuning.board import Board
from vibe_ray.tuning.candidates import Candidate, Trial
from vibe_ray.tuning.ranking import Outcome


def trial(number: int) -> Trial:
    return Trial(
        candidate=Candidate(number=number, label=f"number [{number}]", settings={}), seed=0
    )


def board(num: int) -> Board:
    made = Board(5, "score")
    made.add([trial(number) for number in range(num)])
    return made


def text(shown: Board, height: int = 40) -> str:
    console = Console(width=100, height=height, record=True)
    console.print(shown)
    return console.export_text()


def test_the_best_is_on_top_and_failures_are_below_with_their_reason() -> None:
    shown = board(5)
    for number in (0, 1, 2):
        shown.start(trial(number).name)
    shown.epoch(trial(0).name, 1, 50.0)
    shown.epoch(trial(1).name, 1, 40.0)
    shown.epoch(trial(1).name, 2, 45.0)
    shown.settle(Outcome(trial=trial(3), state="failed", error="not finite"))
    shown.settle(Outcome(trial=trial(0), state="finished", score=50.0, num_epochs=5))
    order = [row.trial.candidate.number for row in shown.rows]
    assert order == [1, 0, 2, 4, 3]
    assert [row.status for row in shown.rows] == [
        *("running", "finished", "running", "waiting", "failed")
    ]
    drawn = text(shown)
    assert "2 of 5 trials done" in drawn
    assert "number [1]" in drawn, "labels are no markup"
    assert "40.00" in drawn
    assert "2 of 5" in drawn
    assert "failed: not finite" in drawn


def test_a_lost_trial_may_run_again() -> None:
    shown = board(1)
    shown.start(trial(0).name)
    shown.settle(Outcome(trial=trial(0), state="unfinished", num_epochs=2, error="killed"))
    assert (shown.rows[0].status, shown.rows[0].epoch) == ("lost", 2)
    shown.start(trial(0).name)
    assert shown.rows[0].status == "running"


def test_what_does_not_fit_is_counted() -> None:
    drawn = text(board(30), height=17)
    assert drawn.count("waiting") == 10
    assert "and 20 more" in drawn
