from collections.abc import Callable

import numpy as np
import pytest

from tests.video.made_up_people import figure, seen
from vibe_ray.body.skeletons import COCO_17
from vibe_ray.geometry.arrays import Array
from vibe_ray.video.close_looks import MAX_STEP, CloseLooks, Rest
from vibe_ray.video.people import Track
from vibe_ray.video.tracking import fill, link

FPS = 30
REST = Rest(max_unseen_s=0.17, max_moved=0.03, min_conf=0.2)
STEP = 4
Place = Callable[[Array], Array]


def track(num_frames: int, times_s: Array | None = None) -> Track:
    """Somebody whose box is about 125 pixels wide."""
    stamps = np.arange(num_frames) / FPS if times_s is None else times_s
    people = [seen(i, [figure(200, 150, 100)]) for i in range(num_frames)]
    return fill(link(people, stamps)[0], 0, COCO_17, stamps)


def looked_at(
    person: Track, place: Place, conf: Place = lambda t: 0 * t + 0.9, rest: Rest = REST
) -> tuple[list[int], Array, Array]:
    """Look at a person whose key-points are moved sideways by `place` of their times.

    Returns:
        The rows looked at, and what was drawn: by how much key-points were moved, and how sure.
    """
    looks, rows = CloseLooks(person, rest), []
    step = rest.step([person])
    due = {row for row in range(person.num_frames) if looks.is_end(row, step)}
    moved, sure = place(person.times_s), conf(person.times_s)
    while due:
        for row in due:
            rows.append(row)
            looks.add(row, person.kp_2d[row] + [moved[row], 0], np.full(17, sure[row]))
        due = looks.middles()
    assert len(set(rows)) == len(rows)
    kp, shown = looks.drawn()
    return sorted(rows), (kp - person.kp_2d)[:, 0, 0], shown[:, 0]


def test_at_whom_is_at_rest_few_looks_are_enough() -> None:
    rows, moved, sure = looked_at(track(22), lambda t: 5 + 0 * t)
    assert rows == [0, 4, 8, 12, 16, 20, 21]
    np.testing.assert_allclose(moved, 5, atol=1e-4)
    np.testing.assert_allclose(sure, 0.9, atol=1e-6)


def test_even_motion_is_drawn_from_every_second_frame() -> None:
    """At 150 pixels a second, 10 from look to look, but straight on."""
    rows, moved, _ = looked_at(track(17), lambda t: 150 * t)
    assert rows == list(range(0, 17, 2))
    np.testing.assert_allclose(moved, 150 * np.arange(17) / FPS, atol=1e-3)


def test_who_changes_their_motion_is_looked_at_in_every_frame() -> None:
    place: Place = lambda t: 40 * np.sin(2 * np.pi * 3 * t)  # noqa: E731
    person = track(41)
    rows, moved, _ = looked_at(person, place)
    assert rows == list(range(41))
    np.testing.assert_allclose(moved, place(person.times_s), atol=1e-3)


def test_a_jolt_is_looked_at_where_it_is() -> None:
    rows, *_ = looked_at(track(41), lambda t: 30.0 * (t > 20.5 / FPS))
    assert {20, 21, 22} <= set(rows)  # between the looks at 20 and at 24
    assert [row for row in rows if not 20 <= row <= 24] == [*range(0, 20, 4), *range(28, 41, 4)]


def test_who_is_not_clearly_seen_may_be_anywhere() -> None:
    rows, *_ = looked_at(track(17), lambda t: 0 * t, lambda t: np.where(t < 4.5 / FPS, 0.1, 0.9))
    assert rows == [*range(7), 8, 12, 16]


def test_a_long_time_between_two_frames_is_not_drawn_over() -> None:
    stamps = np.arange(17) / FPS
    stamps[9:] += 0.5  # the camera waited for light
    rows, *_ = looked_at(track(17, stamps), lambda t: 0 * t)
    assert rows == [0, 4, 8, 9, 10, 12, 16]


@pytest.mark.parametrize("fps", [5, 11, 24, 30, 60])
def test_the_time_between_looks_is_what_is_asked_for_whatever_the_frame_rate(fps: int) -> None:
    step = REST.step([track(20, np.arange(20) / fps)])
    assert step == 1 or step / fps <= REST.max_unseen_s
    assert 2 * step / fps > REST.max_unseen_s


@pytest.mark.parametrize("fps", [100, 240, 1000])
def test_of_a_video_that_plays_fast_no_more_frames_are_held(fps: int) -> None:
    assert REST.step([track(fps, np.arange(fps) / fps)]) == MAX_STEP


def test_where_nothing_could_be_looked_at_nothing_was_seen() -> None:
    kp, conf = CloseLooks(track(20), REST).drawn()
    assert kp.shape == (20, 17, 2)
    assert not conf.any()


def test_every_frame_if_that_is_asked_for() -> None:
    every = Rest(max_unseen_s=0, max_moved=0.03, min_conf=0.2)
    rows, *_ = looked_at(track(12), lambda t: 0 * t, rest=every)
    assert rows == list(range(12))
    assert every.step([]) == 1


def test_looks_in_pieces_are_those_of_the_whole() -> None:
    person, place = track(33), lambda t: 8 * np.sin(2 * np.pi * 3 * t)
    rows, moved, _ = looked_at(person, place)
    looks, found = CloseLooks(person, REST), []
    for piece in np.split(np.arange(33), [17]):
        due = {int(row) for row in piece if looks.is_end(int(row), STEP)}
        while due:
            found += due
            for row in due:
                kp = person.kp_2d[row] + [place(person.times_s[row]), 0]
                looks.add(row, kp, np.full(17, 0.9))
            due = looks.middles()
            assert due <= set(piece.tolist())
        looks.close()
    assert sorted(found) == rows
    np.testing.assert_array_equal((looks.drawn()[0] - person.kp_2d)[:, 0, 0], moved)
