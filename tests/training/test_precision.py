"""What half-precision products change, and what they leave alone."""

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.training.tiny import DROPOUT, NO_DROPOUT, random_batch, tiny, tiny_state
from vibe_ray.training import precision as precisions
from vibe_ray.training.precision import Precision, choose, fastest, products
from vibe_ray.training.state import TrainState
from vibe_ray.training.step import adversarial_step

WIDE = {
    "generator.temporal_encoder.gru.hidden_dim": 64,
    "generator.regressor.hidden_dim": 64,
    "discriminator.hidden_dim": 64,
}
NO_SHORTCUT = dict.fromkeys(NO_DROPOUT, 1e-12)
"""Dropout that drops nothing: at zero exactly the regressor multiplies its layers first."""


def gradients(state: TrainState, network: str) -> Tensor:
    found = getattr(state, network).parameters()
    return torch.cat([p.grad.flatten() for p in found if p.grad is not None])


@pytest.mark.parametrize("dropout", [NO_DROPOUT, NO_SHORTCUT, DROPOUT], ids=["0", "none", "some"])
@pytest.mark.parametrize("one_pass", [True, False])
def test_half_precision_products_hardly_change_a_step(
    one_pass: bool, dropout: dict[str, Any]
) -> None:
    states = {}
    for precision in ("fp32", "bf16"):
        config = tiny(**WIDE, **dropout, precision=precision, optim__one_pass=one_pass)
        states[precision] = tiny_state(config)
    batch = random_batch(4, 4, 8)
    metrics = {name: adversarial_step(state, batch) for name, state in states.items()}
    for name, expected in metrics["fp32"].items():
        assert float(metrics["bf16"][name]) == pytest.approx(float(expected), rel=5e-3, abs=1e-4)
    total = "train/generator/total"
    assert float(metrics["bf16"][total]) == pytest.approx(float(metrics["fp32"][total]), rel=1e-3)
    for network in ("generator", "discriminator"):
        exact, found = (gradients(states[name], network) for name in ("fp32", "bf16"))
        assert 0 < float((found - exact).norm() / exact.norm()) < 1e-2


def test_weights_gradients_and_moments_stay_in_float32() -> None:
    state = tiny_state(tiny(**DROPOUT, precision="bf16", optim__average_decay=0.9))
    adversarial_step(state, random_batch(2, 3, 4))
    for descent in state.descents.values():
        for parameter, moments in descent.optimizer.state.items():
            assert parameter.dtype == parameter.grad.dtype == torch.float32
            assert moments["exp_avg"].dtype == moments["exp_avg_sq"].dtype == torch.float32
    assert {p.dtype for p in state.best_generator.parameters()} == {torch.float32}


def test_bodies_and_scores_leave_the_networks_in_float32() -> None:
    state = tiny_state(tiny(precision="bf16"))
    with state.products():
        params = state.generator(torch.randn(2, 5, state.config.generator.feature_dim))
        score = state.discriminator(torch.randn(2, 5, 69))
    assert {x.dtype for x in vars(params).values()} == {torch.float32}
    assert score.dtype == torch.float32


@pytest.mark.parametrize("precision", ["fp32", "tf32"])
def test_other_precisions_are_the_same_on_a_cpu(precision: str) -> None:
    batch = random_batch(2, 3, 4)
    found = adversarial_step(tiny_state(tiny(precision=precision)), batch)
    expected = adversarial_step(tiny_state(tiny()), batch)
    assert all(torch.equal(found[name], expected[name]) for name in expected)


@pytest.mark.parametrize(
    ("seconds", "errors", "expected"),
    [
        ({"fp32": 1.0, "bf16": 0.3}, {"fp32": 0.0, "bf16": 5e-3}, "bf16"),
        ({"fp32": 1.0, "bf16": 0.95}, {"fp32": 0.0, "bf16": 5e-3}, "fp32"),
        ({"fp32": 1.0, "bf16": 7.0}, {"fp32": 0.0, "bf16": 5e-3}, "fp32"),
        ({"fp32": 1.0, "bf16": 0.3}, {"fp32": 0.0, "bf16": 0.5}, "fp32"),
        ({"fp32": 1.0, "bf16": 0.3}, {"fp32": 0.0, "bf16": float("inf")}, "fp32"),
        (
            {"fp32": 1.0, "tf32": 0.4, "bf16": 0.3},
            {"fp32": 0.0, "tf32": 1e-3, "bf16": 0.5},
            "tf32",
        ),
    ],
    ids=["faster", "hardly faster", "slower", "wrong", "not finite", "next best"],
)
def test_the_fastest_that_computes_rightly_is_chosen(
    seconds: dict[Precision, float], errors: dict[Precision, float], expected: Precision
) -> None:
    assert choose(seconds, errors) == expected


def test_half_precision_is_tried_and_is_no_more_wrong_than_it_may(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tried: dict[str, float] = {}

    def note(seconds: dict[Precision, float], errors: dict[Precision, float]) -> Precision:
        tried.update(errors)
        return choose(dict.fromkeys(seconds, 1.0) | {"bf16": 0.5}, errors)

    monkeypatch.setattr(precisions, "choose", note)
    monkeypatch.setattr(precisions, "TRIAL_FRAMES", 2)
    monkeypatch.setattr(precisions, "HOPELESS", float("inf"))
    assert fastest(torch.device("cpu")) == "bf16"
    assert tried["fp32"] == 0
    assert 2**-12 < tried["bf16"] < precisions.MAX_ERROR["bf16"]


def test_what_is_hopeless_on_a_narrow_layer_is_not_tried_on_a_wide_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tried: list[tuple[str, int]] = []
    measured = precisions._measured

    def glance(
        names: Sequence[Precision], width: int, device: torch.device
    ) -> tuple[dict[Precision, float], dict[Precision, float]]:
        tried.extend((name, width) for name in names)
        seconds, errors = measured(names, 16, device)
        return {name: 1.0 if name == "fp32" else 1e3 for name in seconds}, errors

    monkeypatch.setattr(precisions, "_measured", glance)
    assert fastest(torch.device("cpu")) == "fp32"
    assert [name for name, width in tried if width == precisions.GLANCE_WIDTH] == ["fp32", "bf16"]
    assert [name for name, width in tried if width == precisions.TRIAL_WIDTH] == ["fp32"]


def test_what_was_not_measured_yet_computes_nothing() -> None:
    with pytest.raises(ValueError, match="still 'auto'"):
        products("auto", torch.device("cpu"))
