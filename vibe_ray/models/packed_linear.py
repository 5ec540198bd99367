"""How is one matrix multiplied with few rows, again and again, as fast as this processor can?

oneDNN lays it out for that once: a third faster than MKL. PyTorch keeps the two operators to itself
(`torch.ops.mkldnn`, for what `torch.compile` writes), so another version may change or lack them,
and they refuse half precision where the processor has no instructions for it. Nothing is taken for
granted here: each type is tried once, and where the trial fails products are the ordinary ones, of
the same numbers but for rounding.
"""

import logging
import platform
from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor
from torch.nn import functional as F

logger = logging.getLogger(__name__)

PACKED_TYPES = (torch.float32, torch.bfloat16)
WORTH_PACKING = 4
"""Fewest rows, and fewest products, for which the new layout pays."""


def linear(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Multiply (B, I) by (O, I), and add (O,): products in the weight's type, sums in the bias's.

    Returns:
        (B, O), of the bias's type.
    """
    if weight.dtype == bias.dtype:
        return F.linear(x, weight, bias)
    return F.linear(x.to(weight.dtype), weight) + bias


def repeated_linear(
    weight: Tensor, bias: Tensor, *, rows: int, times: int
) -> Callable[[Tensor], Tensor]:
    """Prepare `linear` for several products with one matrix.

    Args:
        weight: (O, I).
        bias: (O,).
        rows: Of each product's input.
        times: How many products there will be.

    Returns:
        A function of the input (rows, I) alone.
    """
    if min(rows, times) < WORTH_PACKING or not can_pack(weight.dtype):
        return lambda x: linear(x, weight, bias)
    packed = _pack(weight, rows)
    if weight.dtype == bias.dtype:
        return lambda x: _multiply(x, packed, bias)
    return lambda x: _multiply(x.to(weight.dtype), packed, None) + bias


@cache
def can_pack(dtype: torch.dtype) -> bool:
    """Whether packed products of a type are to be had here, found out by taking one.

    It is of small whole numbers, so exact in whatever order and precision it is summed.
    """
    is_worthwhile = platform.machine() in ("x86_64", "AMD64") and dtype in PACKED_TYPES
    if not (is_worthwhile and torch.backends.mkldnn.is_available()):
        return False
    weight = torch.arange(6 * 8).remainder(7).sub(3).view(6, 8)
    x = torch.arange(5 * 8).remainder(5).sub(2).view(5, 8)
    bias = torch.arange(6)
    expected = (x[:, None] * weight).sum(dim=2) + bias
    try:
        found = _multiply(x.to(dtype), _pack(weight.to(dtype), len(x)), bias.to(dtype))
    except (AttributeError, RuntimeError, TypeError, NotImplementedError) as error:
        logger.info("products of %s are not packed: %s", dtype, str(error).splitlines()[0])
        return False
    if not torch.equal(found, expected.to(dtype)):
        logger.warning("packed products of %s are wrong with torch %s", dtype, torch.__version__)
        return False
    return True


def _pack(weight: Tensor, rows: int) -> Tensor:
    packed: Tensor = torch.ops.mkldnn._reorder_linear_weight(weight, rows)
    return packed


def _multiply(x: Tensor, packed: Tensor, bias: Tensor | None) -> Tensor:
    product: Tensor = torch.ops.mkldnn._linear_pointwise(x, packed, bias, "none", [], "")
    return product
