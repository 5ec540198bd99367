"""Rates over a run: a plateau of validation, or a cosine of the step."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.training.tiny import (
    largest_difference,
    random_batch,
    tiny,
    tiny_prior,
    tiny_prior_state,
    tiny_state,
    weights_of,
)
from vibe_ray.config import OptimConfig
from vibe_ray.training.optimizers import Descent, cosine_rate
from vibe_ray.training.prior import PriorState
from vibe_ray.training.state import TrainState

COSINE: dict[str, Any] = {"optim__lr_schedule": "cosine", "optim__warmup_steps": 2}


def test_a_rate_warms_up_and_falls_along_a_cosine() -> None:
    optim = OptimConfig(lr_schedule="cosine", warmup_steps=100, final_lr_share=0.01)
    rates = {step: cosine_rate(1.0, step, 1100, optim) for step in (0, 99, 600, 1100)}
    assert rates == pytest.approx({0: 0.01, 99: 1.0, 600: 0.01 + 0.99 / 2, 1100: 0.01})


def test_without_warm_up_it_is_torchs_cosine() -> None:
    weight = torch.nn.Parameter(torch.zeros(()))
    optimizer = torch.optim.SGD([weight], lr=0.3)
    torchs = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=20, eta_min=0.3 * 0.1)
    optim = OptimConfig(lr_schedule="cosine", final_lr_share=0.1)
    for step in range(20):
        assert cosine_rate(0.3, step, 20, optim) == pytest.approx(torchs.get_last_lr()[0])
        optimizer.step()
        torchs.step()


def test_parts_keep_their_share_of_the_rate() -> None:
    network = torch.nn.ModuleList([torch.nn.Linear(2, 1), torch.nn.Linear(2, 1)])
    parts = [(network[0].parameters(), 1.0), (network[1].parameters(), 0.2)]
    descent = Descent(parts, 0.5, tiny(**COSINE))
    for step, factor in enumerate((0.5, 1.0, 1.0, 0.01 + 0.99 * (1 + math.cos(math.pi / 4)) / 2)):
        before = [part.weight.detach().clone() for part in network]
        for parameter in network.parameters():
            parameter.grad = torch.ones_like(parameter)
        descent.step(network, step)
        assert descent.rates == pytest.approx([0.5 * factor, 0.1 * factor])
        # Gradients that never change move Adam's weights by the rate.
        after = [part.weight.detach() for part in network]
        moved = [float((old - new)[0, 0]) for old, new in zip(before, after, strict=True)]
        assert moved == pytest.approx(descent.rates, rel=1e-4)


def test_of_a_plateau_a_warm_up_is_refused() -> None:
    with pytest.raises(ValueError, match=r"optim\.warmup_steps is 2, but optim\.lr_schedule is 'p"):
        tiny_state(tiny(optim__warmup_steps=2))


@pytest.mark.parametrize("name", ["generator", "prior"])
def test_every_learner_may_follow_a_cosine_and_goes_on_bit_for_bit(
    name: str, tmp_path: Path
) -> None:
    def fresh() -> TrainState | PriorState:
        if name == "generator":
            return tiny_state(tiny(**COSINE))
        return tiny_prior_state(tiny_prior(**COSINE))

    def advance(state: TrainState | PriorState, last: int) -> list[dict[str, float]]:
        rates = []
        for step in range(state.step, last):
            state.update(random_batch(2, 3, 5, step) if name == "generator" else only_motion(step))
            state.schedule({"val/pa_mpjpe_mm": 1.0, **PRIOR_SCORES})
            rates.append(state.rates())
        return rates

    whole, first, second = fresh(), fresh(), fresh()
    rates = advance(whole, 6)
    assert rates[0].keys() == rates[5].keys()
    for network in rates[0]:
        assert rates[0][network] == pytest.approx(rates[1][network] / 2)
        assert rates[1][network] > rates[3][network] > rates[5][network]
    advance(first, 3)
    first.snapshot({}).write(tmp_path)
    second.load(tmp_path)
    assert advance(second, 6) == rates[3:]
    assert largest_difference(weights_of(whole), weights_of(second)) == 0


PRIOR_SCORES = {"val/reconstruction_mm": 1.0, "val/frame/reconstruction_mm": 1.0}


def only_motion(step: int) -> Any:
    return random_batch(0, 0, 5, step)
