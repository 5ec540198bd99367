"""Which single frames does the frame encoder learn from?

Frames of all training clips and of their mirror images, and new poses made of them: arms or legs
of one frame on the trunk of another, and every joint a little off. Motion is scarce, single poses
need not be. Each step's are captured anew, by a person, a camera and a detector of their own: a
pure function of (seed, step).

Shapes: M frames in the pool, N frames drawn, J = 24.
"""

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from vibe_ray import storage
from vibe_ray.body.model import BodyConfig, load_body
from vibe_ray.body.params import mirror_pose
from vibe_ray.body.skeletons import SMPL_JOINTS, indices
from vibe_ray.data.manifest import Manifest
from vibe_ray.data.mixing import DataConfig, StepPlan, make_plan
from vibe_ray.data.schema import MotionSequence
from vibe_ray.data.sequences import read_motion_sequences
from vibe_ray.data.shards import read_manifest
from vibe_ray.data.synthetic.captures import (
    CaptureConfig,
    CapturedBody,
    CapturedClips,
    capture,
    captured_arrays,
)
from vibe_ray.data.synthetic.draws import generator_of_step, normal
from vibe_ray.data.synthetic.novelty import novelty_weights
from vibe_ray.geometry.arrays import Array
from vibe_ray.geometry.rotations import axis_angle_to_rotmat

ARMS = indices(
    [f"{s}_{j}" for s in ("left", "right") for j in ("shoulder", "elbow", "wrist", "hand")],
    SMPL_JOINTS,
)
LEGS = indices(
    [f"{s}_{j}" for s in ("left", "right") for j in ("hip", "knee", "ankle", "foot")], SMPL_JOINTS
)


@dataclass(frozen=True, kw_only=True)
class AugmentConfig:
    """How frames are varied."""

    mix_arms: float = 0.25
    mix_legs: float = 0.15
    """Probability that a frame's limbs come from another frame."""
    offset_rad: float = 0.05
    """Mean spread of a random turn of every joint; each frame's own is between 0 and twice it."""


NOT_AUGMENTED = AugmentConfig(mix_arms=0.0, mix_legs=0.0, offset_rad=0.0)
"""Poses as they were recorded, for held-out motion."""


@dataclass(frozen=True, kw_only=True)
class FramesConfig:
    """How many single frames a step sees, and how they are captured."""

    batch_size: int = 256
    """Frames per step over all workers."""
    fps: float = 25.0
    """Rate to which clips are brought, so that none counts more for its frame rate."""
    novelty: float = 0.0
    """Power of a pose's distance to its neighbors by which it is drawn more often
    (`novelty.py`); 0 draws all poses of a clip alike."""
    validation_frames: int = 4096
    """Captured frames of held-out motion on which the encoder is validated, always the same."""
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    capture: CaptureConfig = field(default_factory=CaptureConfig)

    def __post_init__(self) -> None:
        for name in ("batch_size", "validation_frames"):
            if getattr(self, name) < 1:
                raise ValueError(f"frames.{name} is {getattr(self, name)}, must be at least 1")
        if not self.novelty >= 0:
            raise ValueError(f"frames.novelty is {self.novelty}, expected 0 or more")
        if not self.fps > 0:
            raise ValueError(f"frames.fps is {self.fps}, expected more than 0")


class FramePool:
    """All poses of some motion, ready to draw from."""

    def __init__(self, motion: Sequence[MotionSequence], fps: float, novelty: float = 0.0) -> None:
        """Collect frames.

        Args:
            motion: Clips.
            fps: Rate to which they are brought, so that none counts more for its frame rate.
            novelty: How much rare poses are preferred, `FramesConfig.novelty`.

        Raises:
            ValueError: There is no motion.
        """
        if not motion:
            raise ValueError("no motion to draw poses from")
        clips = [torch.as_tensor(clip.resampled(fps).pose).float() for clip in motion]
        poses = torch.cat([pose for clip in clips for pose in (clip, mirror_pose(clip))])
        self.rotmat = axis_angle_to_rotmat(poses.unflatten(-1, (len(SMPL_JOINTS), 3)))  # (M, J,...)
        # A clip counts as the root of its length: long clips repeat themselves.
        weight = torch.cat([torch.full((2 * len(c),), len(c) ** -0.5) for c in clips]).double()
        weight *= novelty_weights(self.rotmat, novelty)
        self._cumulative = (weight / weight.sum()).cumsum(0)

    def __len__(self) -> int:
        return len(self.rotmat)

    def draw(self, num: int, config: AugmentConfig, generator: torch.Generator) -> Tensor:
        """Draw world poses (num, J, 3, 3), varied by `config`."""
        rotmat = self.rotmat[self._frames(num, generator)]
        for joints, prob in ((ARMS, config.mix_arms), (LEGS, config.mix_legs)):
            other = self.rotmat[self._frames(num, generator)][:, joints]
            mixed = (torch.rand(num, generator=generator) < prob).view(-1, 1, 1, 1)
            rotmat[:, joints] = torch.where(mixed, other, rotmat[:, joints])
        size = 2 * config.offset_rad * torch.rand(num, 1, 1, generator=generator)
        offset = size * normal((num, len(SMPL_JOINTS), 3), generator)
        return rotmat @ axis_angle_to_rotmat(offset)

    def _frames(self, num: int, generator: torch.Generator) -> Tensor:
        draws = torch.rand(num, generator=generator, dtype=torch.float64)
        return torch.searchsorted(self._cumulative, draws).clamp(max=len(self) - 1)


@dataclass(frozen=True, kw_only=True, eq=False)
class FrameSource:
    """Captured frames of some motion data sets; small, and the same in every process."""

    stream: ClassVar[str] = "motion"
    size_name: ClassVar[str] = "frames.batch_size"
    encoder_id: ClassVar[str] = ""
    """None has made features of them: it is what learns."""
    paths: tuple[str, ...]
    manifests: tuple[Manifest, ...]
    config: FramesConfig
    body: BodyConfig
    """Whose key-points are seen."""
    seed: int

    @classmethod
    def over(
        cls, paths: Sequence[str], config: FramesConfig, body: BodyConfig, seed: int
    ) -> "FrameSource":
        """Read the data sets' manifests.

        Raises:
            FileNotFoundError: A data set is missing.
            ValueError: One is of another schema version, or holds no motion.
        """
        manifests = tuple(read_manifest(path, "motion") for path in paths)
        return cls(paths=tuple(paths), manifests=manifests, config=config, body=body, seed=seed)

    @property
    def per_step(self) -> int:
        """N, over all workers."""
        return self.config.batch_size

    def pool(self) -> FramePool:
        """Return all poses of the motion; read once in a process.

        Raises:
            ValueError: There is no motion, or a number of it is NaN or infinite.
        """
        hashes = tuple(manifest.hash() for manifest in self.manifests)
        return _pool(self.paths, hashes, self.config.fps, self.config.novelty)

    def captured(self, step: int) -> CapturedClips:
        """Capture the frames of a step, as clips of one frame each.

        Every worker captures all of them and keeps its share, since the random numbers of a step
        come from one generator: a small part of what an update costs.
        """
        config, generator = self.config, generator_of_step(self.seed, step)
        rotmat = self.pool().draw(config.batch_size, config.augment, generator)[:, None]
        trans = torch.zeros(config.batch_size, 1, 3)
        body = captured_body(self.body)
        return capture(rotmat, trans, config.fps, body, config.capture, generator)

    def arrays(self, step: int) -> dict[str, Array]:
        """Return a step's frames (N, 1, ...) by the columns of `reading.SHARE_SCHEMA`."""
        return captured_arrays(self.captured(step))


def frame_plan(data: DataConfig, frames: FramesConfig, body: BodyConfig, seed: int) -> StepPlan:
    """Return a plan by which every step sees freshly captured frames of `data.motion`, not windows.

    Raises:
        FileNotFoundError: A data set is missing.
        ValueError: One holds no motion, or windows are asked for beside the frames.
    """
    if data.batch_size or data.motion_batch_size:
        raise ValueError(
            f"data.batch_size is {data.batch_size} and data.motion_batch_size "
            f"{data.motion_batch_size}, but a frame encoder learns from frames.batch_size captured "
            "frames alone: set both to 0"
        )
    if not data.motion:
        raise ValueError("data.motion names no data set: a frame encoder captures its motion")
    paths = [storage.join(data.root, name) for name in data.motion]
    source = FrameSource.over(paths, frames, body, seed)
    read_manifest(storage.join(data.root, data.validation), "motion")
    return dataclasses.replace(make_plan(data, seed), window_length=1, captured=source)


def held_out_frames(
    data: DataConfig, frames: FramesConfig, body: BodyConfig, seed: int
) -> CapturedClips:
    """Capture frames of the validation motion, poses as they were recorded, always the same."""
    config = dataclasses.replace(
        frames, batch_size=frames.validation_frames, augment=NOT_AUGMENTED, novelty=0.0
    )
    path = storage.join(data.root, data.validation)
    return FrameSource.over([path], config, body, seed).captured(-1)


@lru_cache(maxsize=2)
def _pool(paths: tuple[str, ...], hashes: tuple[str, ...], fps: float, novelty: float) -> FramePool:
    """Read motion; the hashes tell apart what lay at the same paths before."""
    return FramePool(list(_finite(paths)), fps, novelty)


def _finite(paths: Sequence[str]) -> Iterator[MotionSequence]:
    for path in paths:
        for clip in read_motion_sequences(path):
            if not np.isfinite(clip.pose).all():
                raise ValueError(
                    f"{path}: pose of sequence {clip.name!r} holds NaN or infinity; `python -m "
                    "vibe_ray.prepare validate` lists all such sequences"
                )
            yield clip


@lru_cache(maxsize=2)
def captured_body(body: BodyConfig) -> CapturedBody:
    """Fold a body for captures; made once in a process."""
    return CapturedBody.of(load_body(body))
