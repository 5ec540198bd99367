"""How fast can this machine multiply matrices, and how many multiplications does a step do?"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from tests.benchmarks.measuring import Options, Work
from vibe_ray.models.packed_linear import PACKED_TYPES, WORTH_PACKING, can_pack, repeated_linear

SHAPES = ((512, 2048, 3072), (512, 1024, 3072), (1024, 1024, 1024), (2048, 2048, 2048))
"""Rows, inner width and columns: some of the step's own, and some that any library likes."""
CALLS = 3


def count_flops(work: Work) -> int:
    """Floating-point operations of the matrix products that `work` does, forward and backward."""
    with FlopCounterMode(display=False, custom_mapping=_packed()) as counter:
        work()
    return int(counter.get_total_flops())


def _packed() -> dict[Any, Any]:
    """Products that PyTorch's counter does not know: those with weights packed by oneDNN or MKL."""
    known = {}
    if any(can_pack(dtype) for dtype in PACKED_TYPES):
        known[torch.ops.mkldnn._linear_pointwise] = _linear_flops
    if torch.backends.mkl.is_available():
        known[torch.ops.mkl._mkl_linear] = _linear_flops
    return known


def _linear_flops(x: Sequence[int], w: Sequence[int], *_: Any, **__: Any) -> int:
    return 2 * math.prod(x) * w[0]


class MatmulPeak:
    """The best rate over some shapes and all ways to multiply that PyTorch offers."""

    def __init__(self, dtype: torch.dtype, options: Options) -> None:
        self._options = options
        self._products: list[tuple[int, Callable[[], object]]] = []
        for M, K, N in SHAPES:
            x = torch.randn(M, K, device=options.device).to(dtype)
            w = torch.randn(N, K, device=options.device).to(dtype)
            for product in _products(x, w, options):
                self._products.append((2 * M * K * N, product))
                product()

    def measure(self) -> float:
        """Return FLOP/s."""
        rates = []
        for flops, product in self._products:
            start = self._options.clock()
            for _ in range(CALLS):
                product()
            rates.append(CALLS * flops / (self._options.clock() - start))
        return max(rates)


def _products(
    x: torch.Tensor, w: torch.Tensor, options: Options
) -> list[Callable[[], torch.Tensor]]:
    products: list[Callable[[], torch.Tensor]] = [lambda: torch.nn.functional.linear(x, w)]
    if options.is_cuda:
        return products
    if can_pack(x.dtype):
        bias = x.new_zeros(len(w))
        packed = repeated_linear(w, bias, rows=len(x), times=WORTH_PACKING)
        products.append(lambda: packed(x))
    if x.dtype == torch.float32 and torch.backends.mkl.is_available():
        mkl = torch.ops.mkl._mkl_reorder_linear_weight(w, len(x))
        products.append(lambda: torch.ops.mkl._mkl_linear(x, mkl, w, None, len(x)))
    return products
