"""From one person's key-points to their motion: what `predict` makes of a video, without one.

Shapes: N frames, D key-points of whatever detector.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

import numpy as np

from vibe_ray.features.keypoint_encoder import check_known
from vibe_ray.fitting.still_camera import CameraVerdict
from vibe_ray.geometry.arrays import Array
from vibe_ray.prediction.job import Prediction, Seen, Tools, estimate_people
from vibe_ray.video.frames import FocalWish, VideoFacts, check_size, choose_focal
from vibe_ray.video.keypoint_files import follow
from vibe_ray.video.people import Track

CAMERAS = {
    "still": CameraVerdict(True, np.nan, "said to stand still"),
    "moves": CameraVerdict(False, np.nan, "said to move"),
    "": CameraVerdict(None, np.nan, "nothing says whether the camera moves"),
}


@dataclass(frozen=True, kw_only=True, eq=False)
class KeypointClip:
    """What a detector saw of one person, frame after frame."""

    values: Array
    """(N, D, 3): x and y in pixels, and a confidence, 0 for what was missed."""
    names: Sequence[str] | None = None
    """Of the D key-points, as `body.skeletons` or a detector calls them; else by their number."""
    width: int
    height: int
    """Of the picture, in pixels."""
    fps: float
    focal: FocalWish = field(default_factory=FocalWish)
    camera: Literal["still", "moves", ""] = ""
    """Only before one that stands still there is a world to tell; it is taken to stand still, with
    a warning, where nothing is said."""

    def __post_init__(self) -> None:
        check_size("the clip", self.width, self.height)
        if self.values.ndim != 3 or self.values.shape[2] != 3 or not self.values.size:
            raise ValueError(
                f"key-points have shape {self.values.shape}, expected (frames, key-points, 3): x, "
                "y and a confidence each"
            )
        if not 0 < self.fps < np.inf:
            raise ValueError(f"{self.fps} frames per second; expected a positive number")
        if self.camera not in CAMERAS:
            raise ValueError(f"a camera that {self.camera!r}; expected still, moves or nothing")

    @cached_property
    def track(self) -> Track:
        """Of the person, from the first to the last frame in which they were seen.

        Raises:
            ValueError: Nobody is seen, joints are not named and not known by their number, none of
                them is one at which an encoder looks, or coordinates are no pixels.
        """
        times_s = np.arange(len(self.values)) / self.fps
        track = follow(self.values, self.names, times_s)
        check_known(track.names)
        return track

    @property
    def facts(self) -> VideoFacts:
        """What a video of it would be."""
        return VideoFacts(
            path="",
            width=self.width,
            height=self.height,
            fps=self.fps,
            num_frames=len(self.values),
            duration_s=len(self.values) / self.fps,
            codec="",
            focal=choose_focal(self.focal, {}, self.width, self.height),
        )


def predict_keypoints(clip: KeypointClip, tools: Tools) -> Prediction:
    """Estimate how a person moves from the first to the last frame in which they were seen.

    Args:
        clip: Of one person.
        tools: Loaded once for any number of clips.

    Raises:
        ValueError: As of `KeypointClip.track`.
    """
    seen, facts = Seen([clip.track], CAMERAS[clip.camera]), clip.facts
    made = Prediction([], assumed={"focal_px": facts.focal.pixels, "focal": facts.focal.source})
    estimate_people(made, seen, facts, len(clip.values), tools)
    return made
