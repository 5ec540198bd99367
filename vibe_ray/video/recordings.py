"""Videos as recordings of labels: the road by which a user's own videos become training data.

A detector's key-points, found here or by another program before, are what an encoder sees of a
frame and what supervises it in 2D, as VIBE learns from InstaVariety and Kinetics; nothing is known
of the body in 3D.

Shapes: N frames of a person.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

import numpy as np

from vibe_ray import storage
from vibe_ray.data.labels import LabelledSequence, LabelNames
from vibe_ray.data.manifest import Manifest
from vibe_ray.data.recordings import Recording, Recordings, recording_of
from vibe_ray.data.resampling import nearest_frames
from vibe_ray.data.sources.requests import labels_header
from vibe_ray.video.detection import track_people
from vibe_ray.video.frames import Video
from vibe_ray.video.keypoint_files import read_keypoints, track_keypoints
from vibe_ray.video.labels import label_track, picked
from vibe_ray.video.networks import Networks
from vibe_ray.video.people import Track
from vibe_ray.video.reader import find_videos, open_video, stem_of

DATASET = "videos"
MIN_FRAMES = 8
"""Shorter tracks are left out."""
FindPeople = Callable[[Video, str], Sequence[Track]]
"""Follows the people of a video of that name."""


@dataclass(frozen=True)
class VideosRequest:
    """Videos to be watched, as it can be told to another process (`data/sources/requests.py`)."""

    raw: str
    fps: float
    keypoints: str = ""
    """Folder of what another program saw in the videos; without it people are looked for."""

    def everywhere(self) -> "VideosRequest":
        """Return the same with paths that mean the same in every process."""
        keypoints = storage.absolute(self.keypoints) if self.keypoints else ""
        return replace(self, raw=storage.absolute(self.raw), keypoints=keypoints)

    def recordings(self, device: str) -> Recordings[LabelledSequence]:
        """List the videos, and load the detector's networks if they are needed.

        Raises:
            FileNotFoundError: There are neither videos nor pictures, or no key-points of any.
            ValueError: Key-points cannot be told from those of another video.
        """
        videos = find_videos(self.raw)
        if self.keypoints:
            known_as = Counter(stem_of(name) for _, name in videos)
            if doubled := [stem for stem, count in known_as.items() if count > 1]:
                raise ValueError(
                    f"the key-points of several videos would be called {doubled[0]}: rename one, "
                    "or convert them apart"
                )
            names = _names(self.keypoints, [name for _, name in videos])
            find = _listed(self.keypoints, names)
        else:
            networks = Networks.load(device)
            names, find = networks.close.names, _detected(networks)

        def recording(path: str, name: str) -> Recording[LabelledSequence]:
            return recording_of(name, path, lambda: read_video(path, name, self.fps, find))

        items = [recording(path, name) for path, name in videos]
        known = LabelNames(kp_2d=names, detected=names)
        return Recordings(self.raw, items, names=known, fps=self.fps)

    def header(self, found: Recordings[LabelledSequence], split: str) -> Manifest:
        """Return the manifest, without files, of the data set to be made."""
        keypoints = f"; key-points {self.keypoints}" if self.keypoints else ""
        return labels_header(DATASET, split, found, self.raw + keypoints)


def _detected(networks: Networks) -> FindPeople:
    return lambda video, _: track_people(video, networks)


def _listed(folder: str, names: tuple[str, ...]) -> FindPeople:
    """Return what takes a video's people from the files of another program."""

    def find(video: Video, name: str) -> Sequence[Track]:
        found = read_keypoints(_place(folder, name))
        if found.names != names:
            raise ValueError(
                f"its key-points are {', '.join(found.names)}, those of the first video "
                f"{', '.join(names)}: convert them apart"
            )
        return track_keypoints(found, np.array([frame.time_s for frame in video.frames()]))

    return find


def _place(folder: str, name: str) -> str:
    """Where a video's key-points are: a folder or a file of its name, without its ending."""
    stem = stem_of(name)
    for known_as in (stem, f"{stem}.json"):
        if storage.exists(place := storage.join(folder, known_as)):
            return place
    raise ValueError(f"no key-points of it: neither {stem} nor {stem}.json is in {folder}")


def _names(folder: str, videos: Sequence[str]) -> tuple[str, ...]:
    """What the key-points of the first video are called that has some."""
    for name in videos:
        with suppress(ValueError):  # which is told when its turn comes
            return read_keypoints(_place(folder, name)).names
    raise FileNotFoundError(
        f"no key-points of the {len(videos)} videos in {folder}: expected a folder of OpenPose's "
        f"or a .json file that is called as {videos[0]} is, without its ending"
    )


def read_video(path: str, name: str, fps: float, find: FindPeople) -> list[LabelledSequence]:
    """Watch a video and label its people.

    Args:
        path: Of the video.
        name: By which the data set knows it.
        fps: Frames per second of the labels; the nearest frames are taken.
        find: Follows its people.

    Raises:
        ValueError: It cannot be read, plays more slowly than is asked for, or shows no people.
    """
    with open_video(path) as video:
        if video.facts.fps < fps / 1.2:
            raise ValueError(
                f"plays at {video.facts.fps:g} frames per second, {fps:g} are asked for: give a "
                "lower --fps"
            )
        tracks = find(video, name)
        facts = video.facts
    labels = [label_track(track, facts, dataset=DATASET, sequence=name) for track in tracks]
    even = [picked(one, nearest_frames(one.timestamps, fps), fps) for one in labels]
    long_enough = [one for one in even if one.num_frames >= MIN_FRAMES and one.valid.any()]
    if not long_enough:
        raise ValueError("shows nobody for long enough")
    return long_enough
