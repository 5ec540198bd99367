"""ASHA: stops what is behind, spares the baseline, remembers earlier sessions."""

from dataclasses import dataclass
from typing import Any

from vibe_ray.distributed.schedule import Asha
from vibe_ray.runs.log import SCORE

CONTINUE, STOP = Asha.CONTINUE, Asha.STOP
NO_CONTROLLER: Any = None


@dataclass(frozen=True)
class FakeTrial:
    name: str

    @property
    def config(self) -> dict[str, str]:
        return {"trial": self.name}


def row(epoch: int, score: float) -> dict[str, float]:
    return {"epoch": epoch, SCORE: score}


def judge(asha: Asha, name: str, *scores: float) -> list[str]:
    asha.on_trial_add(NO_CONTROLLER, FakeTrial(name))
    results = enumerate(scores, start=1)
    return [asha.on_trial_result(NO_CONTROLLER, FakeTrial(name), row(*item)) for item in results]


def test_what_is_behind_is_stopped_at_a_rung_and_nowhere_else() -> None:
    asha = Asha(SCORE, 9, set(), {})
    assert judge(asha, "a", 50.0, 40.0, 30.0) == [CONTINUE] * 3
    assert judge(asha, "behind", 60.0) == [STOP]
    assert judge(asha, "ahead", 45.0, 99.0, 20.0) == [CONTINUE] * 3
    assert judge(asha, "ahead at first", 44.0, 44.0, 44.0) == [CONTINUE, CONTINUE, STOP]


def test_the_last_epoch_is_let_through() -> None:
    asha = Asha(SCORE, 3, set(), {})
    assert judge(asha, "a", 50.0, 40.0, 30.0) == [CONTINUE] * 3
    assert judge(asha, "b", 40.0, 40.0, 90.0) == [CONTINUE] * 3


def test_the_baseline_is_spared_and_judges_others() -> None:
    asha = Asha(SCORE, 9, {"base"}, {})
    judge(asha, "a", 50.0)
    assert judge(asha, "base", 60.0, 60.0, 60.0) == [CONTINUE] * 3


def test_earlier_sessions_stand_on_the_rungs() -> None:
    earlier = {"a": [row(1, 50.0), row(2, 40.0)], "b": [row(1, 40.0)], "empty": []}
    asha = Asha(SCORE, 9, set(), earlier)
    assert judge(asha, "behind", 60.0) == [STOP]
    asha.on_trial_add(NO_CONTROLLER, FakeTrial("a"))
    assert asha.on_trial_result(NO_CONTROLLER, FakeTrial("a"), row(3, 30.0)) == CONTINUE
    asha.on_trial_complete(NO_CONTROLLER, FakeTrial("a"), row(3, 30.0))
