"""Work beside work: on each core a thread of its own, and the next item while one is worked on."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from threading import Barrier
from typing import Any, TypeVar

import torch

T = TypeVar("T")
S = TypeVar("S")

END: Any = object()


def on_each_core(function: Callable[[S], T], items: Iterable[S]) -> list[T]:
    """Apply a function to items, each in a thread in which PyTorch computes alone.

    For what does not fill several threads itself: many small operations.
    """
    return list(_threads(torch.get_num_threads()).map(function, items))


@cache
def _threads(count: int) -> ThreadPoolExecutor:
    """Return as many threads as PyTorch would have used for one job."""
    pool, all_there = ThreadPoolExecutor(count, "cores"), Barrier(count)

    def begin(_: int) -> None:
        torch.set_num_threads(1)
        all_there.wait()

    list(pool.map(begin, range(count)))
    torch.set_num_threads(count)  # of this thread and of those to come
    return pool


def ahead(items: Iterator[T]) -> Iterator[T]:
    """Yield items of which a thread makes the next while the caller works on one.

    What goes wrong there is raised here, in its turn.
    """
    with ThreadPoolExecutor(1, "ahead") as maker:
        coming = maker.submit(next, items, END)
        while (item := coming.result()) is not END:
            coming = maker.submit(next, items, END)
            yield item
