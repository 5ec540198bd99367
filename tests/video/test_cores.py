"""Work beside work: the order of what comes, whose fault is told where, and what is left behind."""

from collections.abc import Iterator
from threading import Event

import pytest
import torch

from vibe_ray.video.cores import ahead, on_each_core


def test_on_each_core_pytorch_computes_alone() -> None:
    before = torch.get_num_threads()
    found = on_each_core(lambda number: (number, torch.get_num_threads()), range(7))
    assert found == [(number, 1) for number in range(7)]
    assert torch.get_num_threads() == before


def test_the_next_item_is_made_while_one_is_worked_on() -> None:
    begun = Event()

    def items() -> Iterator[int]:
        yield 0
        begun.set()
        yield 1

    for item in ahead(items()):
        assert begun.wait(60)  # though it was not asked for yet
        assert item in (0, 1)


def test_what_goes_wrong_is_told_in_its_turn() -> None:
    def items() -> Iterator[int]:
        yield 0
        raise ValueError("no more")

    coming = ahead(items())
    assert next(coming) == 0
    with pytest.raises(ValueError, match="no more"):
        next(coming)


def test_who_stops_early_leaves_no_thread_behind() -> None:
    made = []

    def items() -> Iterator[int]:
        for number in range(100):
            made.append(number)
            yield number

    coming = ahead(items())
    assert next(coming) == 0
    coming.close()
    assert len(made) <= 2
