"""Work beside work: the order of what comes, whose fault is told where, and what is left behind."""

from collections.abc import Iterator
from threading import Event
from threading import enumerate as enumerate_threads

import pytest
import torch

from vibe_ray.video.cores import ahead, on_each_core


@pytest.fixture
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("two_threads")
def test_on_each_core_pytorch_computes_alone() -> None:
    def worked(number: int) -> tuple[int, int]:
        picture = torch.rand(1, 3, 200, 200)  # large enough for several threads
        torch.nn.functional.interpolate(picture, (300, 300), mode="bilinear")
        return number, torch.get_num_threads()

    assert on_each_core(worked, range(7)) == [(number, 1) for number in range(7)]
    assert torch.get_num_threads() == 2


@pytest.mark.usefixtures("two_threads")
def test_what_is_made_ahead_is_made_by_one_thread() -> None:
    def items() -> Iterator[int]:
        for _ in range(3):
            torch.nn.functional.interpolate(torch.rand(1, 3, 200, 200), (300, 300), mode="bilinear")
            yield torch.get_num_threads()

    assert list(ahead(items())) == [1, 1, 1]
    assert torch.get_num_threads() == 2


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

    before = set(enumerate_threads())
    coming = ahead(items())
    assert next(coming) == 0
    assert {thread.name for thread in set(enumerate_threads()) - before} == {"ahead_0"}
    coming.close()
    assert len(made) <= 2
    assert not set(enumerate_threads()) - before
