"""In which frames must a person be looked at closely?

A network that looks at one person's crop is most of the work on a video. Who stands, sits or moves
slowly is where two looks a moment apart have seen them: so it looks at some frames first, and then,
halving the time, wherever the two looks disagree. Who moves fast is looked at in every frame.

Shapes: N frames of a track, D key-points.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vibe_ray.video.people import Array, Track
from vibe_ray.video.tracking import between


@dataclass(frozen=True, kw_only=True)
class Rest:
    """What counts as hardly to have moved from one look to the next."""

    max_unseen_s: float
    """No more seconds between the two."""
    max_moved: float
    """No key-point that both saw moved farther, in sides of the box."""
    min_conf: float
    """Of a key-point to have been seen, and of all of them, on average, of a person."""

    def step(self, tracks: Sequence[Track]) -> int:
        """Frames from one look to the next at who is at rest: a power of two, to be halved."""
        gaps_s = np.concatenate([np.diff(track.times_s) for track in tracks] or [np.empty(0)])
        if not len(gaps_s):
            return 1
        return int(2 ** np.floor(np.log2(max(self.max_unseen_s / np.median(gaps_s), 1))))


class CloseLooks:
    """What close looks saw of one track, and where they should look next."""

    def __init__(self, track: Track, rest: Rest) -> None:
        self.track, self._rest = track, rest
        self._kp, self._conf = np.zeros_like(track.kp_2d), np.zeros_like(track.kp_2d_conf)
        self._is_seen = np.zeros(track.num_frames, bool)
        self._open_from = 0

    def is_end(self, row: int, step: int) -> bool:
        """Whether a row of the track is looked at whatever is seen in others."""
        return row in (0, self.track.num_frames - 1) or self.track.frames[row] % step == 0

    def add(self, row: int, kp: Array, conf: Array) -> None:
        """Take in the key-points (D, 2) and confidences (D,) of one frame."""
        self._kp[row], self._conf[row], self._is_seen[row] = kp, conf, True

    def middles_of_motion(self) -> set[int]:
        """Return the rows half-way between looks from one of which to the next the person moved.

        Who is not clearly seen is taken to move.
        """
        rest, ends = self._rest, self._open_from + np.flatnonzero(self._is_seen[self._open_from :])
        before, after = ends[:-1], ends[1:]
        conf = np.minimum(self._conf[before], self._conf[after])
        side = np.minimum(self.track.boxes[before, 2], self.track.boxes[after, 2])
        moved = np.linalg.norm(self._kp[after] - self._kp[before], axis=-1)  # (looks - 1, D)
        farthest = np.where(conf >= rest.min_conf, moved, 0).max(axis=1, initial=0)
        is_at_rest = (
            (farthest <= rest.max_moved * side)
            & (conf.mean(axis=1) >= rest.min_conf)
            & (np.diff(self.track.times_s[ends]) <= rest.max_unseen_s)
        )
        is_open = (after - before > 1) & ~is_at_rest
        return set(((before + after) // 2)[is_open].tolist())

    def close(self) -> None:
        """Leave what lies before the last look as it is."""
        self._open_from = int(np.flatnonzero(self._is_seen)[-1]) if self._is_seen.any() else 0

    def drawn(self) -> tuple[Array, Array]:
        """Key-points (N, D, 2) and confidences (N, D) of all frames, drawn between the looks."""
        return between(self._kp, self._conf, ~self._is_seen, self.track.times_s)
