"""Finding people in a video and following each through all of its frames.

Twice through the video: first the network that finds people looks at some frames a second, and
tracks are made of what it saw; then the network for one person's key-points follows each track: it
looks at some frames, and at those between wherever the person moved. Memory holds a few frames, and
the tracks.

Shapes: P people in a frame, N frames of a track, D key-points of the network that looks closely.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
import torch

from vibe_ray.body.skeletons import COCO_17, conversion
from vibe_ray.geometry.arrays import Array
from vibe_ray.video.close_looks import CloseLooks, Rest
from vibe_ray.video.cores import ahead
from vibe_ray.video.crops import Shrunk, Square, cut, from_square, shrink, square_around
from vibe_ray.video.frames import Frame, Video
from vibe_ray.video.movenet.network import SIZE_MULTIPLE
from vibe_ray.video.networks import Networks
from vibe_ray.video.people import FramePeople, Track
from vibe_ray.video.similarity import TOLERANCE, without_duplicates
from vibe_ray.video.tracking import People, TrackingConfig, choose, completed, fill, joined, link

T = TypeVar("T")

STEPS_AT_ONCE = 4
"""Of frames whose crops are looked at together: as many more are cut meanwhile, each of them 0.2 MB
for each person, or RTMPose's 0.4."""


@dataclass(frozen=True, kw_only=True)
class DetectionConfig:
    """How closely a video is looked at."""

    long_sides: tuple[int, ...] = (256, 544)
    """Pixels of the pictures in which people are found. The network sees people of 50 to 400 pixels
    as wholes: the smaller picture shows it who fills the frame, the larger one who is far away."""
    every_s: float = 0.2
    """Seconds between two looks for people."""
    crop_margin: float = 1.25
    """Side of a person's crop over the side of the track's box."""
    max_unseen_s: float = 0.17
    """Seconds between two close looks at a person who is at rest or moves evenly: the frames
    between are drawn straight from what both saw. 0 looks at every frame."""
    max_moved: float = 0.03
    """Sides of the box by which a key-point may be elsewhere: `close_looks.Rest`."""
    min_conf: float = 0.2
    """Of a person's key-points, on average, to have been seen."""
    min_coverage: float = 0.3
    """Share of a track's frames in which a close look must find the person: a post, a picture on a
    wall and a crossing of two people are seen as somebody now and then."""
    rtmpose: str = ""
    """An `.onnx` file of RTMPose's that looks closely instead of MoveNet (`rtmpose.py`)."""
    batch: int = 8
    """Pictures or crops that are held, and on a GPU computed, at once."""

    def __post_init__(self) -> None:
        for name in ("every_s", "crop_margin", "batch"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} is {getattr(self, name)}, must be positive")
        for name in ("max_unseen_s", "max_moved"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise ValueError(
                    f"{name} is {getattr(self, name)}, expected a finite number, 0 or more"
                )
        if not self.long_sides or min(self.long_sides) < SIZE_MULTIPLE:
            raise ValueError(
                f"long_sides is {self.long_sides}, expected sizes of at least {SIZE_MULTIPLE}"
            )


def track_people(
    video: Video,
    networks: Networks,
    people: People = "all",
    config: DetectionConfig | None = None,
    tracking: TrackingConfig | None = None,
) -> list[Track]:
    """Find people in a video and follow them; in the order of their appearance, perhaps nobody.

    Args:
        video: Is read twice.
        networks: See `Networks.load`.
        people: Everybody, the largest, or the N largest.
        config: How closely to look.
        tracking: When a person is the same.

    Raises:
        ValueError: The video cannot be read.
    """
    config = config or DetectionConfig()
    seen, times_s = find_people(video, networks, config)
    sightings = link(seen, times_s, tracking)
    tracks = [
        named(fill(s, i, COCO_17, times_s), networks.close.names) for i, s in enumerate(sightings)
    ]
    looked_at = refine(video, tracks, networks, config)
    kept = [track for track in looked_at if track.coverage >= config.min_coverage]
    return choose([replace(track, person=i) for i, track in enumerate(kept)], people)


def find_people(
    video: Video, networks: Networks, config: DetectionConfig
) -> tuple[list[FramePeople], Array]:
    """Look for people in some of a video's frames.

    Returns:
        The people of those frames, and the seconds of all the video's frames.
    """
    times_s: list[float] = []

    def watched() -> Iterator[_Glance]:
        due_s, last = 0.0, None
        for frame in video.frames():
            times_s.append(frame.time_s)
            last = frame
            if frame.time_s >= due_s - 1e-6:
                due_s, last = frame.time_s + config.every_s, None
                yield _Glance.at(frame, config.long_sides)
        if last is not None:  # who is there at the end is seen to the end
            yield _Glance.at(last, config.long_sides)

    found: list[FramePeople] = []
    for glances in ahead(_batches(watched(), config.batch)):
        sizes = [_find_in(glances, i, networks) for i in range(len(config.long_sides))]
        found += [without_duplicates(joined(seen)) for seen in zip(*sizes, strict=True)]
    return found, np.array(times_s)


@dataclass(frozen=True)
class _Glance:
    """A frame in which people are to be found, as large as the network shall see it."""

    frame: int
    pictures: tuple[Shrunk, ...]
    """One for each of `DetectionConfig.long_sides`."""

    @classmethod
    def at(cls, frame: Frame, long_sides: Sequence[int]) -> "_Glance":
        sizes = (shrink(frame.pixels, side, SIZE_MULTIPLE) for side in long_sides)
        return cls(frame.number, tuple(sizes))


def _find_in(glances: Sequence[_Glance], size: int, networks: Networks) -> list[FramePeople]:
    """Find people in frames as they look at one size, given by its place among the sizes."""
    pictures = [glance.pictures[size] for glance in glances]
    found = networks.find([picture.pixels for picture in pictures])
    boxes, kp, scores, conf = (
        torch.cat([getattr(people, name) for people in found]).cpu().numpy()
        for name in ("boxes", "kp", "scores", "conf")
    )
    return [
        FramePeople(
            frame=glance.frame,
            boxes=picture.scale * boxes[i],
            scores=scores[i],
            kp_2d=picture.scale * kp[i],
            kp_2d_conf=conf[i],
        )
        for i, (glance, picture) in enumerate(zip(glances, pictures, strict=True))
    ]


def named(track: Track, names: tuple[str, ...]) -> Track:
    """Give a track other key-points; those that nobody has looked for yet are of confidence 0."""
    targets, sources = conversion(track.names, names)
    kp_2d = np.zeros((track.num_frames, len(names), 2), np.float32)
    conf = np.zeros(kp_2d.shape[:2], np.float32)
    kp_2d[:, targets], conf[:, targets] = track.kp_2d[:, sources], track.kp_2d_conf[:, sources]
    return replace(track, names=names, kp_2d=kp_2d, kp_2d_conf=conf)


def refine(
    video: Video, tracks: Sequence[Track], networks: Networks, config: DetectionConfig
) -> list[Track]:
    """Look at every track closely: better key-points, and fewer gaps.

    What is found counts where it is clear, and more like this track than like another's there: in
    the crop of somebody who is hidden stands whoever hides them.
    """
    rest = Rest(
        max_unseen_s=config.max_unseen_s, max_moved=config.max_moved, min_conf=config.min_conf
    )
    looks = [CloseLooks(track, rest) for track in tracks]
    step = rest.step(tracks)
    size = networks.close.size
    for crops in ahead(_crops(video, tracks, config, STEPS_AT_ONCE * step, size)):
        due = [crop for crop in crops if looks[crop.track].is_end(crop.row, step)]
        while due:
            for batch in _batches(iter(due), config.batch):
                found = networks.look([crop.pixels for crop in batch])
                kp, conf = (values.numpy() for values in found)
                for i, crop in enumerate(batch):
                    looks[crop.track].add(crop.row, from_square(kp[i], crop.square, size), conf[i])
            middles = [look.middles() for look in looks]
            due = [crop for crop in crops if crop.row in middles[crop.track]]
        for look in looks:
            look.close()
    return [
        _taken_over(look.track, *look.drawn(), [t for t in tracks if t is not look.track], config)
        for look in looks
    ]


@dataclass(frozen=True)
class _Crop:
    """What one frame shows of one track."""

    track: int
    row: int
    square: Square
    pixels: torch.Tensor


def _crops(
    video: Video, tracks: Sequence[Track], config: DetectionConfig, num_frames: int, size: int
) -> Iterator[list[_Crop]]:
    """Yield the crops of so many frames at a time; the last of them is one in which all look."""
    last = max((int(track.frames[-1]) for track in tracks), default=-1)
    crops: list[_Crop] = []
    for frame in video.frames() if tracks else ():
        for i, track in enumerate(tracks):
            row = frame.number - int(track.frames[0])
            if 0 <= row < track.num_frames:
                square = square_around(track.boxes[row], config.crop_margin)
                crops.append(_Crop(i, row, square, cut(frame.pixels, square, size)))
        if frame.number % num_frames == 0 or frame.number >= last:
            yield crops
            crops = []
        if frame.number >= last:
            return
    if crops:  # this time fewer frames could be read
        yield crops


def _taken_over(
    track: Track, kp: Array, conf: Array, others: Sequence[Track], config: DetectionConfig
) -> Track:
    """Put what was found (N, D, 2) in the place of a track's own key-points, where it is theirs."""
    own = _likeness(kp, conf, track, track)
    rivals = [_likeness(kp, conf, track, other) for other in others]
    rival = np.max([np.zeros(len(own)), *rivals], axis=0)
    clear = conf.mean(axis=1) >= config.min_conf
    is_theirs = clear & (own >= rival) & (own > 0)
    if not is_theirs.any():
        return track
    refined = replace(
        track,
        kp_2d=np.where(is_theirs[:, None, None], kp, track.kp_2d),
        kp_2d_conf=np.where(is_theirs[:, None], conf, track.kp_2d_conf),
        filled=~is_theirs & track.filled,
    )
    return completed(refined)


def _likeness(kp: Array, conf: Array, track: Track, other: Track) -> Array:
    """Return how much key-points (N, D, 2) in a track's frames are like another track's (N,)."""
    like = np.zeros(track.num_frames)
    rows = track.frames - other.frames[0]
    both = np.flatnonzero((rows >= 0) & (rows < other.num_frames))
    if len(both) == 0:
        return like
    at = rows[both]
    # All joints count alike: in filled frames the track's own confidences are zero.
    squared = ((kp[both] - other.kp_2d[at]) ** 2).sum(axis=-1)
    reach = TOLERANCE * other.boxes[at, 2:]
    near = np.exp(-squared / (2 * np.maximum(reach, 1e-6) ** 2))
    like[both] = (near * conf[both]).sum(axis=-1) / np.maximum(conf[both].sum(axis=-1), 1e-9)
    return like


def _batches(items: Iterator[T], size: int) -> Iterator[list[T]]:
    batch: list[T] = []
    for item in items:
        batch.append(item)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch
