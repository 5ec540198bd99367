"""From a video to its people."""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch

from vibe_ray.fitting.still_camera import CameraVerdict
from vibe_ray.prediction.camera import CameraWatch
from vibe_ray.prediction.estimate import Estimator
from vibe_ray.prediction.person import Person
from vibe_ray.prediction.refine import Refiner
from vibe_ray.prediction.settings import PredictConfig
from vibe_ray.settings import override
from vibe_ray.video.detection import track_people
from vibe_ray.video.frames import Frame, Reading, Video, VideoFacts
from vibe_ray.video.keypoint_files import read_keypoints, track_keypoints
from vibe_ray.video.networks import Networks
from vibe_ray.video.people import Track
from vibe_ray.video.reader import open_video

Watch = Callable[[str, int, int], None]
"""Told the stage, how many of its frames were read, and how many there are (0: not known); perhaps
in another thread than the prediction's."""


class Tools:
    """Everything that is loaded once and used for any number of videos."""

    def __init__(self, config: PredictConfig, device: str = "") -> None:
        """Load the checkpoint, its encoder and what refines; the detector when it is asked for.

        Args:
            config: Of all the videos.
            device: As PyTorch names it; without one a GPU if there is one.

        Raises:
            FileNotFoundError: A checkpoint, an encoder, a motion prior or a user's own network for
                the close looks is not there.
            ValueError: They do not belong together, or cannot be used.
        """
        self.config = config
        self.device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        self.estimator = Estimator.load(config.checkpoint, config.encoder, self.device)
        self.refiner = Refiner(self.estimator.predictor.body, config)
        if config.detection.rtmpose:
            _ = self.networks  # what is wrong with a user's own network is told before any video

    @cached_property
    def networks(self) -> Networks:
        """The detector."""
        return Networks.load(self.device, self.config.detection.rtmpose)


@dataclass
class Prediction:
    """What came of a video."""

    people: list[Person]
    warnings: list[str] = field(default_factory=list)
    assumed: dict[str, Any] = field(default_factory=dict)
    """What was taken for granted or estimated of the camera, in words and numbers."""
    seconds: dict[str, float] = field(default_factory=dict)
    """Of compute, by part."""

    @contextmanager
    def timed(self, part: str) -> Iterator[None]:
        """Add the seconds of the block to a part."""
        start = time.monotonic()
        try:
            yield
        finally:
            self.seconds[part] = self.seconds.get(part, 0) + time.monotonic() - start


def people_in(path: str, device: str = "", **settings: Any) -> list[Person]:
    """Return a video's people; a short way for a program that has one video.

    Args:
        path: A video or a folder of pictures, local or in a store.
        device: As PyTorch names it; without one a GPU if there is one.
        settings: Of `PredictConfig`, such as `people="largest"`.

    Raises:
        FileNotFoundError: There is no video.
        ValueError: It cannot be read, or a setting is not known.
    """
    tools = Tools(override(PredictConfig(), settings), device)
    with open_video(path, focal=tools.config.focal, fps=tools.config.fps) as video:
        return predict_people(video, tools).people


def predict_people(video: Video, tools: Tools, watch: Watch | None = None) -> Prediction:
    """Find the people of a video and estimate how they move.

    Args:
        video: See `video.reader.open_video`.
        tools: Loaded once for any number of videos.
        watch: Is told how far it is.

    Raises:
        ValueError: The video or the key-points cannot be read.
    """
    made = Prediction([])
    with made.timed("detection"):
        seen = look(video, tools, watch)
    made.warnings += video.reading.warnings
    estimate_people(made, seen, video.facts, video.reading.num_frames, tools)
    return made


@dataclass(frozen=True)
class Seen:
    """What there is to be seen in a video, before anything is estimated of it."""

    tracks: list[Track]
    camera: CameraVerdict


def look(video: Video, tools: Tools, watch: Watch | None = None) -> Seen:
    """Find and follow the people of a video, and say whether its camera stands still.

    Arguments and errors are those of `predict_people`.
    """
    camera = CameraWatch()
    watched = Watched(video, watch or (lambda stage, done, total: None), camera.see)
    tracks = _tracks(watched, tools)
    return Seen(tracks, camera.judge(tracks))


def estimate_people(
    made: Prediction, seen: Seen, facts: VideoFacts, num_frames: int, tools: Tools
) -> None:
    """Estimate how the people of a video move, which was looked at.

    Args:
        made: Takes people, warnings, assumptions and seconds.
        seen: By `look`, or whatever else followed people.
        facts: The video's.
        num_frames: That were read of it.
        tools: Of whose settings those of the detector have had their effect.
    """
    with made.timed("bodies"):
        made.people += [
            tools.estimator.estimate(track, facts, flip=tools.config.flip) for track in seen.tracks
        ]
    if tools.config.fit:
        with made.timed("fit"):
            made.people = [tools.refiner.fitted(person, facts) for person in made.people]
    with made.timed("refinement"):
        _refine(made, seen.camera, tools)
        made.people = [tools.refiner.judged(person, facts, num_frames) for person in made.people]
    if not made.people:
        made.warnings.append("no people were found")


def _refine(made: Prediction, camera: CameraVerdict, tools: Tools) -> None:
    """Smooth all people, and bring them into the world if the camera stands still."""
    refiner = tools.refiner
    if tools.config.smooth:
        made.people = [refiner.calm(person) for person in made.people]
    made.assumed["camera"] = camera.words
    if camera.is_still is False:
        made.warnings.append(f"{camera.words}: no motion in the world, no floor, no locked feet")
        return
    if camera.is_still is None:
        made.warnings.append(f"{camera.words}: it is taken to stand still")
    up, words = refiner.find_up(made.people)
    made.assumed["up"] = words
    if up is not None:
        made.people = [refiner.in_world(person, up) for person in made.people]


class Watched:
    """A video that says how far it has been read."""

    def __init__(
        self,
        video: Video,
        watch: Watch,
        see: Callable[[Frame], None] = lambda frame: None,
        stage: str = "people",
    ) -> None:
        """Watch a video.

        Args:
            video: Which.
            watch: Is told the stage, and how many frames of how many were read.
            see: Is shown every frame.
            stage: What the video is read for.
        """
        self._video, self._watch, self._see = video, watch, see
        self.facts, self._stage = video.facts, stage

    @property
    def reading(self) -> Reading:
        """See `frames.Video`."""
        return self._video.reading

    def frames(self) -> Iterator[Frame]:
        """See `frames.Video`."""
        total = self._video.reading.num_frames or self.facts.num_frames
        for frame in self._video.frames():
            self._see(frame)
            yield frame
            self._watch(self._stage, frame.number + 1, total)

    def sound(self) -> AbstractContextManager[Any]:
        """See `frames.Video`."""
        return self._video.sound()


def _tracks(video: Video, tools: Tools) -> list[Track]:
    config = tools.config
    if not config.keypoints:
        return track_people(video, tools.networks, config.people, config.detection, config.tracking)
    keypoints = read_keypoints(config.keypoints)
    times_s = np.array([frame.time_s for frame in video.frames()])
    return track_keypoints(keypoints, times_s, config.people, config.tracking)
