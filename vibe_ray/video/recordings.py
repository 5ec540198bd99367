"""Videos as recordings of labels: the road by which a user's own videos become training data.

A detector's key-points are what an encoder sees of a frame and what supervises it in 2D, as VIBE
learns from InstaVariety and Kinetics; nothing is known of the body in 3D.

Shapes: N frames of a person.
"""

from dataclasses import dataclass, replace

from vibe_ray import storage
from vibe_ray.body.skeletons import COCO_17
from vibe_ray.data.labels import LabelledSequence, LabelNames
from vibe_ray.data.manifest import Manifest
from vibe_ray.data.recordings import Recording, Recordings
from vibe_ray.data.resampling import nearest_frames
from vibe_ray.data.sources.requests import labels_header
from vibe_ray.video.detection import Networks, track_people
from vibe_ray.video.labels import label_track, picked
from vibe_ray.video.reader import find_videos, open_video
from vibe_ray.video.tracking import People

DATASET = "videos"
MIN_FRAMES = 8
"""Shorter tracks are left out."""


@dataclass(frozen=True)
class VideosRequest:
    """Videos to be watched, as it can be told to another process (`data/sources/requests.py`)."""

    raw: str
    fps: float

    def everywhere(self) -> "VideosRequest":
        """Return the same with a path that means the same in every process."""
        return replace(self, raw=storage.absolute(self.raw))

    def recordings(self, device: str) -> Recordings[LabelledSequence]:
        """Load the detector's networks, and list the videos."""
        return video_recordings(self.raw, Networks.load(device), self.fps)

    def header(self, found: Recordings[LabelledSequence], split: str) -> Manifest:
        """Return the manifest, without files, of the data set to be made."""
        return labels_header(DATASET, split, found, self.raw)


def video_recordings(
    raw: str, networks: Networks, fps: float, people: People = "all"
) -> Recordings[LabelledSequence]:
    """List the videos at a path; each is watched, and its people followed, when it is read.

    Args:
        raw: A video, or a folder in which they are looked for; local or in a store.
        networks: The detector's.
        fps: Frames per second of all labels; the nearest frames are taken.
        people: Everybody, the largest, or the N largest.

    Raises:
        FileNotFoundError: There are neither videos nor pictures.
    """

    def recording(path: str, name: str) -> Recording[LabelledSequence]:
        def read() -> list[LabelledSequence]:
            return read_video(path, name, networks, fps, people)

        return Recording(name, path, read)

    items = [recording(path, name) for path, name in find_videos(raw)]
    names = LabelNames(kp_2d=COCO_17, detected=COCO_17)
    return Recordings(raw, items, names=names, fps=fps)


def read_video(
    path: str, name: str, networks: Networks, fps: float, people: People
) -> list[LabelledSequence]:
    """Watch a video and label its people.

    Raises:
        ValueError: It cannot be read, plays more slowly than is asked for, or shows no people.
    """
    with open_video(path) as video:
        if video.facts.fps < fps / 1.2:
            raise ValueError(
                f"plays at {video.facts.fps:g} frames per second, {fps:g} are asked for: give a "
                "lower --fps"
            )
        tracks = track_people(video, networks, people)
        facts = video.facts
    labels = [label_track(track, facts, dataset=DATASET, sequence=name) for track in tracks]
    even = [picked(one, nearest_frames(one.timestamps, fps), fps) for one in labels]
    long_enough = [one for one in even if one.num_frames >= MIN_FRAMES and one.valid.any()]
    if not long_enough:
        raise ValueError("shows nobody for long enough")
    return long_enough
