"""What a user may choose about a prediction; flags, summaries and jobs speak of it."""

import dataclasses
from dataclasses import dataclass, field
from typing import Literal

from vibe_ray import storage
from vibe_ray.export import EXPORTS
from vibe_ray.fitting.fit_settings import FitSettings
from vibe_ray.prediction.overlay import OverlayConfig
from vibe_ray.video.detection import DetectionConfig
from vibe_ray.video.frames import FocalWish
from vibe_ray.video.tracking import People, TrackingConfig

FILES = ("npz", *(export.name for export in EXPORTS), "overlay")
"""What may be written beside `summary.json`."""


@dataclass(frozen=True, kw_only=True)
class PredictConfig:
    """How a video becomes people."""

    people: People = "all"
    """Everybody, the largest, or the N largest."""
    checkpoint: str = "open"
    """A checkpoint, a run's folder, or `open`, the packaged VIBE."""
    encoder: str = "open"
    """The frame encoder whose features the checkpoint was trained on."""
    keypoints: str = ""
    """A file or folder of another program's key-points, instead of detecting."""
    focal: FocalWish = field(default_factory=FocalWish)
    fps: float | None = None
    """Of a folder of pictures."""
    flip: bool = True
    """Look at the mirrored person, too, and average."""
    smooth: bool = True
    """Smooth rotations and places in time."""
    fit: bool = True
    """Fit bodies to the key-points, where those that are held out do not contradict it."""
    feet: Literal["lock", "free"] = "lock"
    """Whether feet on the floor stay where they are, where the camera stands still."""
    tilt_deg: float | None = None
    """How far the camera looks down; estimated from the people where it is not given."""
    bvh_names: Literal["smpl", "mixamo"] = "smpl"
    files: tuple[str, ...] = ("npz", "glb", "bvh", "overlay")
    detection: DetectionConfig = field(default_factory=DetectionConfig)
    tracking: TrackingConfig = field(default_factory=TrackingConfig)
    fitting: FitSettings = field(default_factory=FitSettings)
    """How bodies are fitted."""
    motion_prior: str = "open"
    """A trained motion prior that the fit asks where `fitting.prior` is above 0."""
    overlay: OverlayConfig = field(default_factory=OverlayConfig)

    def __post_init__(self) -> None:
        if unknown := [name for name in self.files if name not in FILES]:
            raise ValueError(f"files {unknown} are not known; expected some of {', '.join(FILES)}")
        if self.fps is not None and not 0 < self.fps < float("inf"):
            raise ValueError(f"{self.fps} frames per second; expected a positive number")
        if self.people not in ("all", "largest") and int(self.people) < 1:
            raise ValueError(f"{self.people} people; expected all, largest or a number")
        if self.keypoints and self.detection.rtmpose:
            raise ValueError(
                "keypoints and detection.rtmpose are both set: key-points are either given or found"
            )

    def everywhere(self) -> "PredictConfig":
        """Return the same with paths that mean the same in a process with another folder."""

        def absolute(path: str) -> str:
            return path if path in ("open", "") else storage.absolute(path)

        return dataclasses.replace(
            self,
            checkpoint=absolute(self.checkpoint),
            encoder=absolute(self.encoder),
            motion_prior=absolute(self.motion_prior),
            keypoints=absolute(self.keypoints),
            detection=dataclasses.replace(self.detection, rtmpose=absolute(self.detection.rtmpose)),
        )
