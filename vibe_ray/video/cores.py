"""Work beside work: on each core a thread of its own, and the next item while one is worked on."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from threading import Barrier, Lock
from typing import Any, TypeVar

import torch

T = TypeVar("T")
S = TypeVar("S")

_END: Any = object()
"""Comes after an iterator's last item."""
_STARTING = Lock()


def on_each_core(function: Callable[[S], T], items: Iterable[S]) -> list[T]:
    """Apply a function to items, each in a thread in which PyTorch computes alone.

    For what does not fill several threads itself: many small operations.
    """
    return list(_for_each_core(torch.get_num_threads()).map(function, items))


def ahead(items: Iterator[T]) -> Iterator[T]:
    """Yield items of which a thread makes the next while the caller works on one.

    What goes wrong there is raised here, in its turn.
    """
    with threads(1, "ahead") as maker:
        coming = maker.submit(next, items, _END)
        while (item := coming.result()) is not _END:
            coming = maker.submit(next, items, _END)
            yield item


@cache
def _for_each_core(count: int) -> ThreadPoolExecutor:
    return threads(count, "core")


def threads(count: int, name: str) -> ThreadPoolExecutor:
    """Start threads in each of which PyTorch computes with one thread, itself."""
    pool, all_there = ThreadPoolExecutor(count, name), Barrier(count)

    def begin(_: int) -> None:
        torch.get_num_threads()  # else the first operation takes over what other threads have
        torch.set_num_threads(1)
        all_there.wait()

    with _STARTING:  # for a moment it holds for threads that others start, too
        before = torch.get_num_threads()
        list(pool.map(begin, range(count)))
        torch.set_num_threads(before)
    return pool
