"""Means of loss terms, and the first step at which one was not finite."""

import pytest
import torch
import torch.distributed as dist
from torch import Tensor

from tests.training.ranks import Outcome
from vibe_ray.training.meter import accumulate, peak_memory_mb, reduce_means

INF, NAN = float("inf"), float("nan")


def filled(*steps: dict[str, float], first: int = 0) -> dict[str, Tensor]:
    meter: dict[str, Tensor] = {}
    for step, terms in enumerate(steps, first):
        accumulate(meter, {name: torch.tensor(value) for name, value in terms.items()}, step)
    return meter


def test_means_are_over_the_steps_at_which_a_term_came() -> None:
    meter = filled({"a": 1.0, "b": 10.0}, {"a": 2.0}, {"a": 6.0, "b": 30.0})
    assert reduce_means(meter) == {"a": 3.0, "b": 20.0}
    assert not meter


def test_a_thousand_small_values_are_not_lost_beside_a_large_one() -> None:
    meter = filled({"a": 2.0**24}, *[{"a": 1.0}] * 1023)
    assert reduce_means(meter) == {"a": (2**24 + 1023) / 1024}


def test_it_keeps_no_graph() -> None:
    meter: dict[str, Tensor] = {}
    accumulate(meter, {"a": torch.ones((), requires_grad=True) * 2}, 0)
    assert not meter["a"].requires_grad


@pytest.mark.parametrize("bad", [NAN, INF, -INF])
def test_what_is_not_finite_names_its_first_step_and_term(bad: float) -> None:
    steps = [{"a": 1.0, "b": 1.0}, {"a": 1.0, "b": bad}, {"a": bad, "b": 1.0}, {"a": 1.0, "b": 1.0}]
    with pytest.raises(FloatingPointError, match="loss term b was not finite at step 71: the last"):
        reduce_means(filled(*steps, first=70))


def test_a_first_step_may_be_the_bad_one() -> None:
    with pytest.raises(FloatingPointError, match="loss term a was not finite at step 0"):
        reduce_means(filled({"a": NAN}, {"a": 1.0}))


def test_every_rank_hears_of_another_ranks_nan(ranks: list[Outcome]) -> None:
    assert all("loss term b was not finite at step 41" in outcome["nan"] for outcome in ranks)


def test_means_of_shares_add_up_over_ranks(ranks: list[Outcome]) -> None:
    found = [outcome["uneven"]["means"] for outcome in ranks]
    assert found[0] == found[1]
    histories = [outcome["uneven"]["history"] for outcome in ranks]
    for name, mean in found[0].items():
        values = [float(h[name]) for history in histories for h in history]
        assert mean == pytest.approx(sum(values) / len(histories[0]), rel=1e-6)


def test_memory_is_in_mebibytes() -> None:
    with open("/proc/self/status") as status:  # noqa: PTH123
        peak = next(line for line in status if line.startswith("VmHWM"))
    assert peak_memory_mb(torch.device("cpu")) == pytest.approx(
        int(peak.split()[1]) / 1024, rel=0.2
    )


def test_what_ranks_reduce_lies_on_their_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """NCCL reduces nothing else. A device without numbers stands in for a GPU."""
    seen: list[str] = []
    monkeypatch.setattr(dist, "is_initialized", lambda: True)
    monkeypatch.setattr(dist, "all_reduce", lambda tensor, op: seen.append(tensor.device.type))
    with pytest.raises(RuntimeError):
        peak_memory_mb(torch.device("meta"))
    assert seen == ["meta"]
