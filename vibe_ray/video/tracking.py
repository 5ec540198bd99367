"""Who is who from frame to frame?

People are paired with tracks by an optimal assignment of what looks alike, each track being moved
on by its velocity first: so two who cross keep their names, and one who is missed for a moment
comes back under theirs. Who leaves for longer is somebody new.

Shapes: P people in a frame, M tracks, N frames of a track, D key-points.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment

from vibe_ray.data.boxes import track_boxes
from vibe_ray.geometry.arrays import Array
from vibe_ray.video.people import FramePeople, Track
from vibe_ray.video.similarity import TOLERANCE, long_side, person_similarity

People = Literal["all", "largest"] | int

SIZE_SIGHTINGS = 5


@dataclass(frozen=True, kw_only=True)
class TrackingConfig:
    """When a person is the same, a new one, or none."""

    min_score: float = 0.1
    """Who is seen less clearly is not there."""
    min_start_score: float = 0.25
    """To be somebody new; a known person may be seen less clearly."""
    min_similarity: float = 0.15
    """Of a person and a track, for them to be one."""
    drift_per_s: float = 1.5
    """How far from where they were expected people may have got, in sizes of theirs per second."""
    max_gap_s: float = 1.0
    """A person who is not seen for longer is not the same any more."""
    min_sightings: int = 3
    min_length_s: float = 0.3
    """Who is seen less often or shorter is noise."""
    velocity_memory_s: float = 0.1
    """A track's velocity forgets older displacements within this time."""

    def __post_init__(self) -> None:
        for name in ("max_gap_s", "velocity_memory_s"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} is {getattr(self, name)}, must be positive")


@dataclass(eq=False)
class Sightings:
    """A track in the making: who of which frame."""

    frames: list[int] = field(default_factory=list)
    people: list[FramePeople] = field(default_factory=list)
    """Each with one person."""
    last_s: float = 0.0
    velocity: Array = field(default_factory=lambda: np.zeros(2))
    """Pixels per second of the box's center."""

    def add(self, person: FramePeople, time_s: float, memory_s: float) -> None:
        """Take in one person, seen at a time."""
        if self.people:
            moved = _center(person.boxes[0]) - _center(self.people[-1].boxes[0])
            passed_s = max(time_s - self.last_s, 1e-6)
            newest = moved / passed_s
            share = 1 - math.exp(-passed_s / memory_s) if len(self.people) > 1 else 1.0
            self.velocity = self.velocity + share * (newest - self.velocity)
        self.frames.append(person.frame)
        self.people.append(person)
        self.last_s = time_s

    @property
    def size(self) -> float:
        """Longer side of the box in pixels, as it was of late: one sighting may be of a part."""
        boxes = np.concatenate([person.boxes for person in self.people[-SIZE_SIGHTINGS:]])
        return float(np.median(long_side(boxes)))

    def expected(self, time_s: float) -> FramePeople:
        """Return where the person would be by now."""
        last = self.people[-1]
        shift = self.velocity * (time_s - self.last_s)
        return FramePeople(
            frame=last.frame,
            boxes=last.boxes + np.tile(shift, 2),
            scores=last.scores,
            kp_2d=last.kp_2d + shift,
            kp_2d_conf=last.kp_2d_conf,
        )


def link(
    people: Iterable[FramePeople], times_s: Array, config: TrackingConfig | None = None
) -> list[Sightings]:
    """Follow people over frames; return who was seen often enough, in the order of appearance.

    Args:
        people: Of frames in the order of time; frames in which nobody was looked for are left out.
        times_s: Seconds of all the video's frames, by their number.
        config: When a person is the same.
    """
    config = config or TrackingConfig()
    done: list[Sightings] = []
    live: list[Sightings] = []
    for seen in people:
        time_s = float(times_s[seen.frame])
        live_now = [track for track in live if time_s - track.last_s <= config.max_gap_s]
        done += [track for track in live if track not in live_now]
        live = live_now
        clear = seen.pick(seen.scores >= config.min_score)
        unpaired = _pair(live, clear, time_s, config)
        for i in unpaired:
            if clear.scores[i] >= config.min_start_score:
                live.append(Sightings())
                live[-1].add(clear.pick([i]), time_s, config.velocity_memory_s)
    kept = [track for track in [*done, *live] if _is_somebody(track, times_s, config)]
    return sorted(kept, key=lambda track: track.frames[0])


def _pair(
    live: list[Sightings], seen: FramePeople, time_s: float, config: TrackingConfig
) -> list[int]:
    """Add the people of a frame to their tracks; return who of them belongs to none."""
    if seen.identities is not None:
        return _pair_by_identity(live, seen, time_s, config)
    if not live or len(seen.scores) == 0:
        return list(range(len(seen.scores)))
    # Who moved may go on or stop: what is more like what is seen counts.
    ways = [[track.expected(time_s) for track in live], [track.people[-1] for track in live]]
    unseen_s = np.array([time_s - track.last_s for track in live])
    sizes = np.array([track.size for track in live])
    reach = (TOLERANCE + config.drift_per_s * unseen_s) * sizes
    similarity = np.max([person_similarity(joined(way), seen, reach) for way in ways], axis=0)
    rows, columns = linear_sum_assignment(similarity, maximize=True)
    paired = set()
    for row, column in zip(rows, columns, strict=True):
        if similarity[row, column] >= config.min_similarity:
            live[row].add(seen.pick([column]), time_s, config.velocity_memory_s)
            paired.add(int(column))
    return [i for i in range(len(seen.scores)) if i not in paired]


def _pair_by_identity(
    live: list[Sightings], seen: FramePeople, time_s: float, config: TrackingConfig
) -> list[int]:
    by_name = {int(track.people[-1].identities[0]): track for track in live}  # type: ignore[index]
    unpaired = []
    for i, name in enumerate(seen.identities.tolist()):  # type: ignore[union-attr]
        if (track := by_name.get(name)) is None:
            unpaired.append(i)
        else:
            track.add(seen.pick([i]), time_s, config.velocity_memory_s)
    return unpaired


def joined(people: Sequence[FramePeople]) -> FramePeople:
    """Put people side by side, as if of one frame."""
    return FramePeople(
        frame=people[0].frame,
        boxes=np.concatenate([p.boxes for p in people]),
        scores=np.concatenate([p.scores for p in people]),
        kp_2d=np.concatenate([p.kp_2d for p in people]),
        kp_2d_conf=np.concatenate([p.kp_2d_conf for p in people]),
    )


def _is_somebody(track: Sightings, times_s: Array, config: TrackingConfig) -> bool:
    length_s = times_s[track.frames[-1]] - times_s[track.frames[0]]
    return len(track.frames) >= config.min_sightings and length_s >= config.min_length_s


def _center(box: Array) -> Array:
    return (box[:2] + box[2:]) / 2


def fill(sightings: Sightings, person: int, names: tuple[str, ...], times_s: Array) -> Track:
    """Make a track of every frame between the first and the last sighting, gaps filled and marked.

    Args:
        sightings: Whose.
        person: Their number.
        names: Of the key-points.
        times_s: Seconds of all the video's frames, by their number.
    """
    kp_2d = np.concatenate([p.kp_2d for p in sightings.people])
    conf = np.concatenate([p.kp_2d_conf for p in sightings.people])
    frames = np.arange(sightings.frames[0], sightings.frames[-1] + 1)
    filled = np.ones(len(frames), bool)
    filled[np.array(sightings.frames) - frames[0]] = False
    dense_kp = np.zeros((len(frames), *kp_2d.shape[1:]), np.float32)
    dense_conf = np.zeros((len(frames), conf.shape[1]), np.float32)
    dense_kp[~filled], dense_conf[~filled] = kp_2d, conf
    return completed(
        Track(
            person=person,
            names=names,
            frames=frames,
            times_s=times_s[frames],
            boxes=np.zeros((len(frames), 3), np.float32),
            kp_2d=dense_kp,
            kp_2d_conf=dense_conf,
            filled=filled,
        )
    )


def completed(track: Track) -> Track:
    """Draw the key-points of a track's marked frames anew, from their neighbors; box all frames."""
    kp_2d, conf = between(track.kp_2d, track.kp_2d_conf, track.filled, track.times_s)
    boxes = track_boxes(torch.from_numpy(kp_2d), torch.from_numpy(conf)).numpy()
    shown = np.where(track.filled[:, None], 0, conf).astype(np.float32)
    return replace(track, kp_2d=kp_2d, kp_2d_conf=shown, boxes=boxes)


def between(kp_2d: Array, conf: Array, filled: Array, times_s: Array) -> tuple[Array, Array]:
    """Draw the marked frames of (N, D, 2) straight between their neighbors in time.

    Returns:
        Key-points (N, D, 2), and confidences (N, D): of a drawn frame the lower neighbor's.
    """
    known = np.flatnonzero(~filled)
    after = np.searchsorted(known, np.arange(len(filled))).clip(max=len(known) - 1)
    right = known[after]
    left = np.where(right > np.arange(len(filled)), known[(after - 1).clip(min=0)], right)
    span = times_s[right] - times_s[left]
    share = np.where(span > 0, (times_s - times_s[left]) / np.where(span > 0, span, 1), 0)
    share = share.clip(0, 1)[:, None, None].astype(np.float32)
    drawn = (1 - share) * kp_2d[left] + share * kp_2d[right]
    return drawn.astype(np.float32), np.minimum(conf[left], conf[right]).astype(np.float32)


def choose(tracks: Sequence[Track], people: People) -> list[Track]:
    """Choose who is kept: everybody, the largest, or the N largest.

    Large is who fills much of the picture for long: the box's side summed over the frames seen.

    Raises:
        ValueError: The number is not positive.
    """
    if people == "all":
        return list(tracks)
    count = 1 if people == "largest" else people
    if count < 1:
        raise ValueError(f"{count} people are asked for; expected all, largest or a number")
    ranked = sorted(tracks, key=lambda t: -float(t.boxes[~t.filled, 2].sum()))
    return sorted(ranked[:count], key=lambda track: track.person)
