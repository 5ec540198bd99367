"""How much memory is held at most while something runs, counted in arrays and not by the clock."""

import tracemalloc
from collections.abc import Callable
from typing import Any

from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

RESOLUTION = 2**16
"""Bytes; to look who is still there takes its time."""


class _Live(TorchDispatchMode):
    """Adds up the storages of all tensors that operators have made and that are still there."""

    def __init__(self) -> None:
        super().__init__()
        self._live: dict[int, tuple[StorageWeakRef, int]] = {}
        self._bytes = self.peak = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(made):
            if isinstance(tensor, Tensor) and not func.is_view:
                self._add(tensor)
        return made

    def _add(self, tensor: Tensor) -> None:
        ref = StorageWeakRef(tensor.untyped_storage())
        known, size = self._live.get(ref.cdata, (None, 0))
        if known is None or known.expired():
            self._bytes += tensor.untyped_storage().nbytes() - size
            self._live[ref.cdata] = ref, tensor.untyped_storage().nbytes()
        if self._bytes > self.peak + RESOLUTION:  # unless some are gone without being noticed
            self._live = {key: of for key, of in self._live.items() if not of[0].expired()}
            self._bytes = sum(size for _, size in self._live.values())
            self.peak = max(self.peak, self._bytes)


def most_held(work: Callable[[], object]) -> int:
    """Bytes of NumPy's and PyTorch's arrays that `work` holds at most, beyond what was there."""
    tracemalloc.start()
    try:
        with _Live() as live:
            kept = work()
        del kept
        return live.peak + tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
