"""Packed products are plain ones, and where there are none plain ones are taken."""

import logging
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.models.conftest import Packing
from vibe_ray.models import packed_linear
from vibe_ray.models.packed_linear import PACKED_TYPES, can_pack, linear, repeated_linear


def case(dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    """Inputs, weight and bias, whose bias is float32 under half-precision products."""
    made = torch.Generator().manual_seed(0)
    x, weight, bias = (torch.randn(*s, generator=made) for s in ((6, 32), (48, 32), (48,)))
    return x, weight.to(dtype), bias if dtype == torch.bfloat16 else bias.to(dtype)


@pytest.mark.parametrize("dtype", PACKED_TYPES, ids=str)
@pytest.mark.parametrize("times", [1, 8])
def test_agrees_with_the_sum_written_out(packing: Packing, dtype: torch.dtype, times: int) -> None:
    x, weight, bias = case(dtype)
    found = repeated_linear(weight, bias, rows=len(x), times=times)(x)
    expected = (x.to(dtype).double()[:, None] * weight.double()).sum(dim=2) + bias.double()
    assert found.dtype == bias.dtype
    # A product of halves is rounded to half precision once; to float32 after each of 32 sums.
    rounding = 2**-8 if dtype == torch.bfloat16 else 32 * 2**-24
    bound = rounding * (x.double().abs() @ weight.double().abs().T + bias.double().abs())
    assert ((found.double() - expected).abs() <= bound).all()


def test_a_type_that_is_never_packed_is_multiplied_as_it_is() -> None:
    x, weight, bias = (value.double() for value in case(torch.float32))
    assert not can_pack(torch.float64)
    found = repeated_linear(weight, bias, rows=len(x), times=8)(x)
    assert torch.equal(found, linear(x, weight, bias))


@pytest.mark.parametrize("dtype", PACKED_TYPES, ids=str)
@pytest.mark.parametrize("packing", ["missing", "refused"], indirect=True)
def test_without_the_operators_products_are_the_ordinary_ones(
    packing: Packing, dtype: torch.dtype
) -> None:
    assert not can_pack(dtype)
    x, weight, bias = case(dtype)
    found = repeated_linear(weight, bias, rows=len(x), times=8)(x)
    assert torch.equal(found, linear(x, weight, bias))


def test_the_log_says_why(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "vibe_ray")
    trial(monkeypatch, raises=RuntimeError("bf16 path needs avx512bw"))
    assert not can_pack(torch.bfloat16)
    assert not can_pack(torch.bfloat16)
    assert caplog.messages == [
        "products of torch.bfloat16 are not packed: bf16 path needs avx512bw"
    ]


@pytest.mark.parametrize("error", [AttributeError("no such operator"), TypeError("7 arguments")])
def test_operators_of_another_version_are_left_alone(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    trial(monkeypatch, raises=error)
    assert not can_pack(torch.float32)


def test_operators_that_mean_something_else_are_left_alone(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    trial(monkeypatch, adds=1.0)
    assert not can_pack(torch.float32)
    assert f"wrong with torch {torch.__version__}" in caplog.text


def test_operators_that_work_are_used(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = trial(monkeypatch)
    assert can_pack(torch.float32)
    assert can_pack(torch.float32)
    assert len(calls) == 1
    x, weight, bias = case(torch.float32)
    product = repeated_linear(weight, bias, rows=len(x), times=8)
    assert torch.equal(product(x), linear(x, weight, bias))
    assert torch.equal(product(x), product(x))
    assert len(calls) == 4
    repeated_linear(weight, bias, rows=len(x), times=3)(x)
    repeated_linear(weight, bias, rows=3, times=8)(x[:3])
    assert len(calls) == 4  # too few to be worth it


def trial(
    monkeypatch: pytest.MonkeyPatch, raises: Exception | None = None, adds: float = 0.0
) -> list[Any]:
    """Put operators of our own in the place of PyTorch's, on a processor that may have them."""
    calls: list[Any] = []

    def multiply(x: Tensor, packed: Tensor, bias: Tensor | None) -> Tensor:
        calls.append(x)
        if raises is not None:
            raise raises
        return torch.nn.functional.linear(x, packed, bias) + adds

    monkeypatch.setattr(packed_linear.platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(packed_linear.torch.backends.mkldnn, "is_available", lambda: True)
    monkeypatch.setattr(packed_linear, "_pack", lambda weight, rows: weight)
    monkeypatch.setattr(packed_linear, "_multiply", multiply)
    can_pack.cache_clear()
    return calls


@pytest.fixture(autouse=True)
def _forget() -> Any:
    yield
    can_pack.cache_clear()
