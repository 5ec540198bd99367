"""Which windows does the generator learn from, if they are captured as it learns?

Windows of motion come in the order of every stream (`data/windows.py`); each is varied, and seen by
a person, a camera and a detector of its own, anew at every step: a pure function of (seed, step).
So a clip is never seen twice alike, and nothing but the motion lies on disk.

Shapes: B windows of a step, T frames.
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import torch

from vibe_ray.body.model import BodyConfig
from vibe_ray.body.params import pose_to_rotmat
from vibe_ray.body.skeletons import NUM_BETAS
from vibe_ray.data.manifest import Manifest
from vibe_ray.data.mixing import DataConfig, ShardSource, StepPlan, make_plan, make_source
from vibe_ray.data.motion_augment import MotionAugmentConfig
from vibe_ray.data.reading import source_clip
from vibe_ray.data.schema import MotionSequence
from vibe_ray.data.synthetic.captures import CaptureConfig, capture, captured_arrays
from vibe_ray.data.synthetic.dataset import varied
from vibe_ray.data.synthetic.draws import generator_of_step
from vibe_ray.data.synthetic.frames import captured_body
from vibe_ray.data.windows import Window
from vibe_ray.geometry.arrays import Array

STREAM_ID = 3
"""Behind those of `mixing.make_plan`."""


@dataclass(frozen=True, kw_only=True)
class WindowsConfig:
    """Of which motion windows are captured at every step, and how."""

    motion: tuple[str, ...] = ()
    """Motion data sets below `data.root` whose captured windows fill the 3D share of a batch, in
    the place of `data.pose_3d`; none: windows are read as they are stored."""
    encoder: str = "open"
    """Makes their features: `open` (the packaged one) or the folder of one, of key-points."""
    augment: MotionAugmentConfig = field(
        default_factory=lambda: MotionAugmentConfig(joint_offset_rad=0.08)
    )
    mix_arms: float = 0.35
    mix_legs: float = 0.2
    """Probability that a window's limbs move as those of another window of the step."""
    capture: CaptureConfig = field(default_factory=CaptureConfig)


@dataclass(frozen=True, kw_only=True, eq=False)
class WindowSource:
    """Captured windows of some motion data sets; small, and the same in every process."""

    stream: ClassVar[str] = "windows.motion"
    size_name: ClassVar[str] = "data.batch_size"
    source: ShardSource
    config: WindowsConfig
    body: BodyConfig
    """Whose key-points are seen."""
    encoder_id: str
    """Of what will make their features."""
    length: int
    """T."""
    seed: int

    @property
    def paths(self) -> tuple[str, ...]:
        """Of the motion data sets."""
        return self.source.paths

    @property
    def manifests(self) -> tuple[Manifest, ...]:
        """Of the motion."""
        return self.source.manifests

    @property
    def per_step(self) -> int:
        """B, over all workers."""
        return self.source.per_step

    def arrays(self, step: int) -> dict[str, Array]:
        """Return a step's windows (B, T, ...) by the columns of `reading.SHARE_SCHEMA`.

        Every worker captures all of them and keeps its share, since the random numbers of a step
        come from one generator.
        """
        windows = self.source.windows(step)
        motion = [self._motion(window) for window in windows]
        rngs = [np.random.default_rng([self.seed, step, i]) for i in range(len(windows))]
        clips = [self._varied(i, motion, rng) for i, rng in enumerate(rngs)]
        pose = torch.from_numpy(np.stack([clip.pose for clip in clips])).float()
        trans = torch.from_numpy(np.stack([clip.trans for clip in clips])).float()
        captured = capture(
            pose_to_rotmat(pose),
            trans,
            clips[0].fps,
            captured_body(self.body),
            self.config.capture,
            generator_of_step(self.seed, step),
        )
        return captured_arrays(captured)

    def _motion(self, window: Window) -> MotionSequence:
        """Read a window, with the frames behind it that it takes to play it faster."""
        clip = source_clip(self.source, window)
        fastest = max(1.0, self.config.augment.speed[1])
        span = slice(window.start, window.start + int(np.ceil((self.length - 1) * fastest)) + 2)
        return MotionSequence(
            dataset=self.source.manifests[window.dataset].dataset,
            name="",
            fps=self.source.manifests[window.dataset].fps,
            pose=clip["pose"][span],
            trans=clip["trans"][span],
            betas=np.zeros(NUM_BETAS, np.float32),
        )

    def _varied(
        self, index: int, motion: Sequence[MotionSequence], rng: np.random.Generator
    ) -> MotionSequence:
        """Vary one of a step's windows, and cut it to its length."""
        config, clip = self.config, motion[index]
        slowest, fastest = config.augment.speed
        bound = (len(clip.pose) - 1) / (self.length - 1)  # a clip may end behind the window
        speed = min(slowest, bound), min(fastest, bound)
        augment = dataclasses.replace(config.augment, speed=speed)
        probs = config.mix_arms, config.mix_legs
        clip = varied(clip, motion, *probs, augment, rng)
        return dataclasses.replace(
            clip, pose=clip.pose[: self.length], trans=clip.trans[: self.length]
        )


def window_plan(
    data: DataConfig, windows: WindowsConfig, body: BodyConfig, encoder_id: str, seed: int
) -> StepPlan:
    """Return a plan by which the 3D share of every step is captured anew.

    Args:
        data: What is read as it is stored: 2D data sets, captured motion.
        windows: Of which motion the 3D share is made.
        body: Whose key-points are seen.
        encoder_id: Of what will make the features.
        seed: Of the windows' order and of all that is drawn.

    Raises:
        FileNotFoundError: A data set is missing.
        ValueError: A manifest is of another schema version or kind, no window fits, or the 3D share
            is to be read as well.
    """
    if data.pose_3d:
        raise ValueError(
            f"data.pose_3d names {', '.join(data.pose_3d)} and windows.motion "
            f"{', '.join(windows.motion)}, but either fills the 3D share of a batch: set one of "
            "them to nothing"
        )
    if not data.num_3d:
        raise ValueError(
            f"data.ratio_2d is {data.ratio_2d} and data.batch_size {data.batch_size}: no window is "
            "left for windows.motion to capture; set ratio_2d lower, or windows.motion to nothing"
        )
    stored = dataclasses.replace(data, batch_size=data.num_2d, ratio_2d=1.0)
    source = make_source(data, windows.motion, "motion", STREAM_ID, data.num_3d, seed)
    if len({manifest.fps for manifest in source.manifests}) > 1:
        rates = ", ".join(f"{m.fps:g}" for m in source.manifests)
        raise ValueError(
            f"windows.motion {', '.join(windows.motion)} plays at {rates} frames per second: a "
            "step's windows are captured together, so prepare them at one rate"
        )
    captured = WindowSource(
        source=source,
        config=windows,
        body=body,
        encoder_id=encoder_id,
        length=data.window_length,
        seed=seed,
    )
    return dataclasses.replace(make_plan(stored, seed), captured=captured)
