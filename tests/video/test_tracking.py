"""Made-up people whose way is known."""

import numpy as np
import pytest

from tests.video.made_up_people import figure, seen
from vibe_ray.body.skeletons import COCO_17
from vibe_ray.video.people import FramePeople, Track
from vibe_ray.video.tracking import TrackingConfig, choose, completed, fill, link

FPS = 25.0


def times(num_frames: int) -> np.ndarray:
    return np.arange(num_frames) / FPS


def tracks_of(people: list[FramePeople], times_s: np.ndarray) -> list[Track]:
    return [fill(s, i, COCO_17, times_s) for i, s in enumerate(link(people, times_s))]


def middle(track: Track) -> np.ndarray:
    return track.kp_2d.mean(axis=1) - figure(0, 0).mean(axis=0)


@pytest.mark.parametrize("hidden", [range(0), range(18, 32)])
@pytest.mark.parametrize("order", [1, -1])
def test_who_cross_keep_their_names(hidden: range, order: int) -> None:
    """Two walk past each other; around the crossing one is not seen for half a second."""
    people = []
    for i in range(50):
        figures = [figure(60 + 4 * i), *([] if i in hidden else [figure(260 - 4 * i, 105)])]
        people.append(seen(i, figures[::order]))
    tracks = tracks_of(people, times(50))
    assert len(tracks) == 2
    for track in tracks:
        first, last = middle(track)[[0, -1], 0]
        assert {(60, 256), (260, 64)} & {(round(first), round(last))}
    if hidden:
        missed = next(track for track in tracks if track.filled.any())
        assert np.flatnonzero(missed.filled).tolist() == list(hidden)


@pytest.mark.parametrize(
    "places",
    [
        [100, 100, 100, *(130 + 461 / 2 * (i / 5) ** 2 for i in range(1, 5)), 300],
        [100, 148, 165, 165, 165, 165, 165, 165],
        [100, 140, 180, 220, 220, 220, 220, 220],
    ],
    ids=["leaps, falls freely, lands", "is seen first within a fall", "stops at once"],
)
def test_who_moves_far_between_two_looks_stays_who_they_are(places: list[float]) -> None:
    """Five looks a second; a standing person of 1.7 m is 80 pixels high."""
    (track,) = tracks_of([seen(i, [figure(200, y)]) for i, y in enumerate(places)], times(8) * 5)
    assert track.frames.tolist() == list(range(8))


def test_a_gap_is_drawn_straight_by_the_clock_and_marked() -> None:
    """Uneven frames: the person moves evenly in time, so every filled frame is known."""
    stamps = np.cumsum(np.random.default_rng(0).uniform(0.01, 0.08, 30))

    def at(i: int) -> np.ndarray:
        return figure(50 + 100 * stamps[i], 100 - 20 * stamps[i])

    missed = {7, 8, 9, 20}
    people = [seen(i, [] if i in missed else [at(i)]) for i in range(30)]
    (track,) = tracks_of(people, stamps)
    assert set(np.flatnonzero(track.filled)) == missed
    np.testing.assert_allclose(track.kp_2d, [at(i) for i in range(30)], atol=1e-3)
    assert (track.kp_2d_conf[track.filled] == 0).all()
    np.testing.assert_allclose(track.kp_2d_conf[~track.filled], 0.8)
    assert track.coverage == pytest.approx(26 / 30)


def test_who_comes_late_and_leaves_early_has_their_own_frames() -> None:
    people = [
        seen(i, [figure(50), *([figure(200 + i)] if 12 <= i < 40 else [])]) for i in range(60)
    ]
    always, late = tracks_of(people, times(60))
    assert (always.frames[0], always.frames[-1]) == (0, 59)
    assert late.frames.tolist() == list(range(12, 40))
    np.testing.assert_allclose(late.times_s, late.frames / FPS)
    np.testing.assert_allclose(middle(late)[:, 0], 200 + late.frames, atol=1e-3)
    np.testing.assert_allclose(late.boxes[2:-2, 0] - late.boxes[2, 0], np.arange(24), atol=1e-3)


@pytest.mark.parametrize(("num_missed", "num_tracks"), [(20, 1), (30, 2)])
def test_who_is_gone_for_over_a_second_is_somebody_new(num_missed: int, num_tracks: int) -> None:
    people = [seen(i, [figure(50)] if i < 20 or i >= 20 + num_missed else []) for i in range(80)]
    assert len(tracks_of(people, times(80))) == num_tracks


def test_frames_hours_apart_are_different_people_and_no_memory() -> None:
    stamps = np.array([0.0, 18000.0, 36000.0])
    assert tracks_of([seen(i, [figure(50)]) for i in range(3)], stamps) == []


def test_a_faint_person_goes_on_but_does_not_begin() -> None:
    def at(i: int, score: float) -> FramePeople:
        return seen(i, [figure(50)], [score])

    assert tracks_of([at(i, 0.2) for i in range(30)], times(30)) == []
    (track,) = tracks_of([at(i, 0.9 if i == 5 else 0.2) for i in range(30)], times(30))
    assert (track.frames[0], track.frames[-1]) == (5, 29)
    assert tracks_of([at(i, 0.9 if i == 5 else 0.05) for i in range(30)], times(30)) == []


def test_a_source_s_own_names_are_kept() -> None:
    """Two who swap places at once, which no eye could tell."""
    people = []
    for i in range(30):
        one = seen(i, [figure(50), figure(150)])
        names = np.array([7, 3] if i < 15 else [3, 7])
        people.append(FramePeople(**{**vars(one), "identities": names}))
    tracks = tracks_of(people, times(30))
    ends = sorted(tuple(middle(track)[[0, -1], 0].round().tolist()) for track in tracks)
    assert ends == [(50, 150), (150, 50)]


def test_looking_at_some_frames_only_fills_the_others() -> None:
    (track,) = tracks_of([seen(i, [figure(50 + i)]) for i in range(0, 31, 5)], times(40))
    assert track.frames.tolist() == list(range(31))
    np.testing.assert_allclose(middle(track)[:, 0], 50 + np.arange(31), atol=1e-3)


def track_of_size(person: int, size: float, num_frames: int) -> Track:
    stamps = times(num_frames)
    people = [seen(i, [figure(200, 200, size)]) for i in range(num_frames)]
    return fill(link(people, stamps)[0], person, COCO_17, stamps)


def test_the_largest_fill_the_most_for_the_longest() -> None:
    tracks = [track_of_size(0, 50, 30), track_of_size(1, 150, 12), track_of_size(2, 80, 60)]
    assert [t.person for t in choose(tracks, "all")] == [0, 1, 2]
    assert [t.person for t in choose(tracks, "largest")] == [2]
    assert [t.person for t in choose(tracks, 2)] == [1, 2]
    assert choose([], "largest") == []
    with pytest.raises(ValueError, match="0 people are asked for"):
        choose(tracks, 0)


def test_completing_a_track_again_changes_nothing() -> None:
    track = track_of_size(0, 50, 20)
    again = completed(track)
    np.testing.assert_array_equal(again.kp_2d, track.kp_2d)
    np.testing.assert_array_equal(again.boxes, track.boxes)


def test_a_gap_must_be_positive() -> None:
    with pytest.raises(ValueError, match="max_gap_s is 0"):
        TrackingConfig(max_gap_s=0)
