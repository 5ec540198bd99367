"""In which frames must a person be looked at closely?

A network that looks at one person's crop is most of the work on a video. Who stands, sits or moves
evenly is, between two looks a moment apart, where both have seen them: so it looks at some frames
first, then half-way wherever the two looks disagree, and again half-way wherever the look between
was not on the straight line. Who changes their motion fast is looked at in every frame.

Shapes: N frames of a track, D key-points.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vibe_ray.geometry.arrays import Array
from vibe_ray.video.people import Track
from vibe_ray.video.tracking import between

MAX_STEP = 8
"""Frames from one look to the next, however fast the video plays: crops of so many are held."""
SLOW = 4
"""Times `Rest.max_moved`: who moved farther from look to look may not have moved evenly, even if it
seems so: what swings fast is on a straight line at the middle of its way."""


@dataclass(frozen=True, kw_only=True)
class Rest:
    """When frames between two looks may be drawn straight from one to the other."""

    max_unseen_s: float
    """No more seconds between the two."""
    max_moved: float
    """Either no key-point that was seen moved farther from one to the other, in sides of the box;
    or none was farther from the straight line half-way between two looks of which one is new."""
    min_conf: float
    """Of a key-point to have been seen, and of all of them, on average, of a person."""

    def step(self, tracks: Sequence[Track]) -> int:
        """Frames from one look to the next at who is at rest: a power of two, to be halved."""
        gaps_s = np.concatenate([np.diff(track.times_s) for track in tracks] or [np.empty(0)])
        if not len(gaps_s):
            return 1
        step = 2 ** np.floor(np.log2(max(self.max_unseen_s / np.median(gaps_s), 1)))
        return int(min(step, MAX_STEP))


class CloseLooks:
    """What close looks saw of one track, and where they should look next."""

    def __init__(self, track: Track, rest: Rest) -> None:
        self.track, self._rest = track, rest
        self._kp, self._conf = np.zeros_like(track.kp_2d), np.zeros_like(track.kp_2d_conf)
        self._is_seen = np.zeros(track.num_frames, bool)
        self._is_middle = np.zeros(track.num_frames, bool)
        self._open_from = 0

    def is_end(self, row: int, step: int) -> bool:
        """Whether a row of the track is looked at whatever is seen in others."""
        return row in (0, self.track.num_frames - 1) or self.track.frames[row] % step == 0

    def add(self, row: int, kp: Array, conf: Array) -> None:
        """Take in the key-points (D, 2) and confidences (D,) of one frame."""
        self._kp[row], self._conf[row], self._is_seen[row] = kp, conf, True

    def middles(self) -> set[int]:
        """Return the rows half-way between looks that do not tell what is between them.

        Who is not clearly seen may be anywhere.
        """
        rows = self._open_from + np.flatnonzero(self._is_seen[self._open_from :])
        kp, times_s = self._kp[rows], self.track.times_s[rows]
        is_at_rest, is_slow = (
            self._is_near(kp[1:], kp[:-1], reach, rows[1:], rows[:-1]) for reach in (1, SLOW)
        )
        share = ((times_s[1:-1] - times_s[:-2]) / (times_s[2:] - times_s[:-2]))[:, None, None]
        straight = (1 - share) * kp[:-2] + share * kp[2:]
        is_on_line = np.zeros(len(rows), bool)
        is_on_line[1:-1] = self._is_middle[rows[1:-1]] & self._is_near(
            kp[1:-1], straight, 1, rows[1:-1], rows[:-2], rows[2:]
        )
        is_known = is_at_rest | is_slow & (is_on_line[:-1] | is_on_line[1:])
        is_known &= np.diff(times_s) <= self._rest.max_unseen_s
        is_open = (np.diff(rows) > 1) & ~is_known
        found = ((rows[:-1] + rows[1:]) // 2)[is_open]
        self._is_middle[found] = True
        return set(found.tolist())

    def _is_near(self, kp: Array, other: Array, reach: float, *rows: Array) -> Array:
        """Whether key-points (n, D, 2) are where others are, as far as looks (n,) saw them (n,)."""
        conf = np.min([self._conf[look] for look in rows], axis=0)
        means = np.min([self._conf[look].mean(axis=1) for look in rows], axis=0)
        off = np.where(conf >= self._rest.min_conf, np.linalg.norm(kp - other, axis=-1), 0)
        side = self.track.boxes[rows[0], 2]
        is_off = off.max(axis=1, initial=0) > reach * self._rest.max_moved * side
        return ~is_off & (means >= self._rest.min_conf)

    def close(self) -> None:
        """Leave what lies before the last look as it is."""
        self._open_from = int(np.flatnonzero(self._is_seen)[-1]) if self._is_seen.any() else 0

    def drawn(self) -> tuple[Array, Array]:
        """Key-points (N, D, 2) and confidences (N, D) of all frames, drawn between the looks.

        Without a look, as of frames that could not be read again, all are of confidence 0.
        """
        if not self._is_seen.any():
            return self._kp, self._conf
        return between(self._kp, self._conf, ~self._is_seen, self.track.times_s)
