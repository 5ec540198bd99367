"""Shapes: n clips."""

import pickle
from collections import Counter
from typing import Any

import numpy as np
import pytest

from tests.data import noise
from vibe_ray.data.manifest import Manifest, ShardFile
from vibe_ray.data.windows import _GROUP, _PASS, GROUP_CLIPS, Window, WindowStream


def manifest(*files: list[int]) -> Manifest:
    shards = [
        ShardFile(name=f"f{number}", num_bytes=0, sha256="", clip_frames=clips)
        for number, clips in enumerate(files)
    ]
    return noise.header("open_3d/train", files=shards)


def make_stream(*manifests: Manifest, **changes: Any) -> WindowStream:
    known = {"stream_id": 1, "seed": 5, "length": 16, "stride": 16}
    return WindowStream.over(manifests, **(known | changes))


def clip_lengths(num_clips: int, seed: int = 0) -> list[int]:
    return [int(n) for n in np.random.default_rng(seed).integers(1, 200, num_clips)]


@pytest.mark.parametrize(("length", "stride"), [(16, 16), (16, 4), (7, 30), (200, 1), (1, 1)])
def test_a_clip_has_as_many_windows_as_fit_from_its_first_frame_on(
    length: int, stride: int
) -> None:
    lengths = clip_lengths(50)
    stream = make_stream(manifest(lengths), length=length, stride=stride)
    naive = [len([s for s in range(0, n, stride) if s + length <= n]) for n in lengths]
    assert stream.counts.tolist() == naive
    assert stream.num_windows == sum(naive)


@pytest.mark.parametrize(("length", "stride"), [(16, 16), (16, 5), (8, 40)])
@pytest.mark.parametrize("number", [0, 3])
def test_a_pass_holds_every_window_of_every_clip_once(
    length: int, stride: int, number: int
) -> None:
    files = [clip_lengths(40, 1), clip_lengths(50, 2)], [clip_lengths(30, 3)]
    stream = make_stream(*(manifest(*of) for of in files), length=length, stride=stride)
    start = number * stream.num_windows
    windows = stream.at(range(start, start + stream.num_windows))
    assert len(set(windows)) == len(windows)
    starts: dict[tuple[int, int, int], list[int]] = {}
    for window in windows:
        starts.setdefault(window[:3], []).append(window.start)
    for (dataset, file, row), found in starts.items():
        num_frames = files[dataset][file][row]
        found.sort()
        assert np.all(np.diff(found) == stride)
        assert len(found) == (num_frames - length) // stride + 1
        assert 0 <= found[0] < stride
        assert found[-1] + length <= num_frames
    usable = sum(n >= length for part in files for clips in part for n in clips)
    assert len(starts) == usable


def test_the_window_at_a_position_does_not_depend_on_how_one_came_there() -> None:
    clips = manifest(clip_lengths(100))
    stream = make_stream(clips)
    positions = np.random.default_rng(0).integers(0, 3 * stream.num_windows, 200).tolist()
    in_order = stream.at(range(3 * stream.num_windows))
    again = make_stream(clips)
    assert again.at(positions) == [in_order[position] for position in positions]
    elsewhere = pickle.loads(pickle.dumps(stream))
    assert elsewhere.at([positions[0]]) == [in_order[positions[0]]]


def test_passes_seeds_and_streams_are_ordered_differently() -> None:
    clips = manifest(clip_lengths(100))
    stream = make_stream(clips)
    n = stream.num_windows
    orders = [
        stream.at(range(n)),
        stream.at(range(n, 2 * n)),
        make_stream(clips, seed=6).at(range(n)),
        make_stream(clips, stream_id=2).at(range(n)),
    ]
    for i, one in enumerate(orders):
        for other in orders[:i]:
            same = sum(a == b for a, b in zip(one, other, strict=True))
            assert same < 0.05 * n


def test_windows_move_between_passes_to_all_places_that_a_clip_leaves_room_for() -> None:
    stream = make_stream(manifest([50]))  # three windows and two frames to spare
    firsts = Counter(min(stream.at(range(3 * p, 3 * p + 3))).start for p in range(600))
    assert set(firsts) == {0, 1, 2}
    assert min(firsts.values()) > 150


def test_every_clip_comes_first_about_equally_often() -> None:
    stream = make_stream(manifest([16] * 8))
    firsts = Counter(stream.at([8 * p])[0].row for p in range(1600))
    assert len(firsts) == 8
    expected = 200  # chi-squared with 7 degrees of freedom exceeds 24.3 once in a thousand
    assert sum((count - expected) ** 2 / expected for count in firsts.values()) < 24.3


def test_the_random_numbers_of_different_purposes_differ() -> None:
    stream = make_stream(manifest([16]))
    keys = [(_PASS, 0), (_PASS, 1), *((_GROUP, p, group) for p in (0, 1) for group in (0, 1))]
    drawn = [stream.random(*key).integers(2**60) for key in keys]
    assert len(set(drawn)) == len(keys)


def test_neighbors_in_the_stream_come_from_few_clips() -> None:
    lengths = [160] * (4 * GROUP_CLIPS)  # ten windows each
    stream = make_stream(manifest(lengths))
    windows = stream.at(range(stream.num_windows))
    for start in range(0, len(windows), 10 * GROUP_CLIPS):
        group = windows[start : start + 10 * GROUP_CLIPS]
        assert len({window.row for window in group}) == GROUP_CLIPS
        halves = [{w.row for w in group[i::2]} for i in (0, 1)]
        assert min(len(half) for half in halves) > 0.9 * GROUP_CLIPS  # and they are mixed


def test_groups_are_made_of_other_clips_in_each_pass() -> None:
    stream = make_stream(manifest([16] * (2 * GROUP_CLIPS)))
    n = stream.num_windows
    first = [{w.row for w in stream.at(range(p * n, p * n + GROUP_CLIPS))} for p in range(2)]
    assert len(first[0] & first[1]) < 0.8 * GROUP_CLIPS


def test_clips_shorter_than_a_window_are_passed_over() -> None:
    stream = make_stream(manifest([15, 16, 3]))
    assert stream.at(range(4)) == [Window(0, 0, 1, 0)] * 4


def test_without_any_window_there_is_no_stream() -> None:
    assert make_stream().num_windows == 0
    with pytest.raises(ValueError, match="no clip is as long as a window of 16 frames"):
        make_stream(manifest([15])).at([0])
