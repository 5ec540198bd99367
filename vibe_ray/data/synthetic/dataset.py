"""Which motion becomes which captured clip? The split of the open data, and its captures.

Motion is split by clip, by name, so that held-out motion is held out from everything: from the
captures, from the discriminator's real motion, and from the frame encoder's training, which uses
the same `split_motion`. Every capture is a pure function of (seed, split, clip, number).

Shapes: N frames.
"""

import dataclasses
import fnmatch
import functools
import hashlib
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch

from vibe_ray.body.params import pose_to_rotmat
from vibe_ray.data.motion_augment import MotionAugmentConfig, augmented, with_limbs_of
from vibe_ray.data.schema import MotionSequence
from vibe_ray.data.synthetic.captures import (
    CaptureConfig,
    CapturedBody,
    CapturedClips,
    capture,
)
from vibe_ray.data.synthetic.frames import ARMS, LEGS

Split = Literal["train", "val", "test", "unseen"]

TEST_CLIPS = (
    *("*[/_]03_0[1-4]*", "*[/_]01_01*", "*salsa/05*", "*salsa/20*", "*martial/10*", "*indian/15*"),
    *("*humanoid3d_dance_b", "*humanoid3d_walk", "*humanoid3d_getup_faceup"),
)
"""Never trained on: CMU's subject 03 whole; for variety a dance of two (05 and 20 are partners),
martial arts and an Indian dance; and the clips of the open motion on which the demo is judged."""
VALIDATION_CLIPS = (
    *("*salsa/*", "*[/_]6[01]_[0-9]*", "*martial/*", "*[/_]135_[0-9]*"),
    *("*indian/*", "*[/_]94_[0-9]*"),
    *("*[/_]01_14*", "*humanoid3d_dance_a", "*humanoid3d_kick"),
)
"""All else that CMU recorded of the test's dancers (60 and 61), martial artist (135) and Indian
dancer (94), so that nothing is learned from CMU's subjects whom the test shows. Subject 01 is the
exception: all of CMU that comes with the package shows this one person, so there are clips of it in
the test (01_01), here (01_14, which only the full database has) and in training. Who performed
DeepMimic's clips is not known."""
UNSEEN_CLIPS = ("*[/_]05_[0-2][0-9]*", "*[/_]49_[0-2][0-9]*", "*[/_]131_[0-9]*")
"""Kinds of motion of which nothing is learned from, nor chosen by: CMU's modern dance (05), dance
and gymnastics (49), and styled walks (131)."""


@dataclass(frozen=True, kw_only=True)
class OpenCapturesConfig:
    """How much of what is captured from some motion."""

    seed: int = 0
    fps: float = 25.0
    test_clips: tuple[str, ...] = TEST_CLIPS
    """Patterns of clip names (as the shell's) held out for the test; `*[/_]` is also the start of a
    name."""
    unseen_clips: tuple[str, ...] = UNSEEN_CLIPS
    """Held out by kind; the package's own motion has none of them."""
    validation_clips: tuple[str, ...] = VALIDATION_CLIPS
    """Of what is in neither of the two."""
    captures_2d: int = 4
    captures_3d: int = 8
    """Captures of each training clip of which only the detected key-points are given, and of those
    with full truth."""
    captures_heldout: int = 8
    """Captures of each validation and test clip."""
    max_frames: int = 250
    """Longer clips are cut, each piece with its own person and camera."""
    min_frames: int = 16
    augment: MotionAugmentConfig = field(
        default_factory=lambda: MotionAugmentConfig(joint_offset_rad=0.08)
    )
    """How the motion of training captures is varied; held-out motion stays as it is."""
    mix_arms: float = 0.35
    mix_legs: float = 0.25
    """Probability that a training capture's limbs move as those of another training clip: single
    movements are scarce, combinations need not be."""
    capture: CaptureConfig = field(default_factory=CaptureConfig)

    def captures_of(self, stream: str) -> int:
        """Return how often each clip of a stream, such as `open_3d/train`, is captured."""
        if not stream.endswith("/train"):
            return self.captures_heldout
        return self.captures_2d if stream.startswith("open_2d") else self.captures_3d


def smoke_captures(seed: int) -> OpenCapturesConfig:
    """Return what makes a world that is captured, and trained on, in seconds."""
    return OpenCapturesConfig(seed=seed, captures_2d=1, captures_3d=1, captures_heldout=1)


def open_captures(
    size: Literal["full", "smoke"], seed: int, captures: int, heldout: int
) -> OpenCapturesConfig:
    """Return what `prepare open` captures.

    Args:
        size: Of the whole.
        seed: Of all captures.
        captures: Of each training clip with full truth; half as many are 2D-only. Not of a `smoke`.
        heldout: Of each clip held out. Not of a `smoke`.

    Raises:
        ValueError: A number of captures that cannot be.
    """
    if captures < 0 or captures == 1 or heldout < 0:
        raise ValueError(
            f"--captures is {captures} and --heldout {heldout}, must be 0 or more, and of the "
            "first not 1"
        )
    if size == "smoke":
        return smoke_captures(seed)
    return OpenCapturesConfig(
        seed=seed, captures_3d=captures, captures_2d=captures // 2, captures_heldout=heldout
    )


@dataclass(frozen=True)
class NamedClip:
    """One clip to be captured, and what it is called."""

    name: str
    capture: Callable[[], CapturedClips]
    """Draws and captures it: a batch of one, the same every time."""


def split_motion(
    motion: Sequence[MotionSequence], config: OpenCapturesConfig
) -> dict[Split, list[MotionSequence]]:
    """Deal motion clips to the splits by name, resampled to the config's frame rate.

    Raises:
        ValueError: Train, val or test got nothing, or two clips have one name.
    """
    splits: dict[Split, list[MotionSequence]] = {"train": [], "val": [], "test": [], "unseen": []}
    names = [clip.name for clip in motion]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"several motion clips are called {twice[0]!r}: names must differ")
    for clip in sorted(motion, key=lambda c: c.name):
        splits[_split_of(clip.name, config)].append(clip.resampled(config.fps))
    empty = [split for split, clips in splits.items() if not clips and split != "unseen"]
    if empty:
        raise ValueError(
            f"no motion clip among {len(motion)} for {empty[0]}: held-out clips are chosen by the "
            f"patterns {config.validation_clips} and {config.test_clips}; the clips are called "
            f"{sorted(names)[:5]}..."
        )
    return splits


def _split_of(name: str, config: OpenCapturesConfig) -> Split:
    def matches(patterns: tuple[str, ...]) -> bool:
        names = (name, f"/{name}")  # files may lie in no folder
        return any(fnmatch.fnmatchcase(n, pattern) for n in names for pattern in patterns)

    if matches(config.test_clips):
        return "test"
    if matches(config.unseen_clips):
        return "unseen"
    return "val" if matches(config.validation_clips) else "train"


def captures(
    motion: Sequence[MotionSequence],
    stream: str,
    config: OpenCapturesConfig,
    body: CapturedBody,
) -> Iterator[NamedClip]:
    """Yield the captures of one split's clips, none of which is made yet.

    Args:
        motion: The split's clips, from `split_motion`.
        stream: `open_2d/train`, `open_3d/train`, `open_3d/val`, `open_3d/test` or
            `open_3d/unseen`.
        config: How many and of what kind.
        body: Where its key-points are, and where the detector aims.
    """
    others = motion if stream.endswith("/train") else None
    for clip in motion:
        for part in _parts(clip, config):
            for number in range(config.captures_of(stream)):
                seed = _seed(f"{config.seed}/{stream}/{part.name}/{number}")
                captured = functools.partial(_capture, part, others, config, body, seed)
                yield NamedClip(f"{part.name}/{number}", captured)


def varied(
    clip: MotionSequence,
    others: Sequence[MotionSequence],
    mix_arms: float,
    mix_legs: float,
    augment: MotionAugmentConfig,
    rng: np.random.Generator,
) -> MotionSequence:
    """Draw one variation of a training clip, at times with limbs of another one."""
    for joints, probability in ((ARMS, mix_arms), (LEGS, mix_legs)):
        draw, which = rng.random(2)  # as many numbers whatever happens and however many clips
        if draw < probability:
            clip = with_limbs_of(clip, others[int(which * len(others))], joints, rng)
    return augmented(clip, augment, rng)


def _capture(
    clip: MotionSequence,
    others: Sequence[MotionSequence] | None,
    config: OpenCapturesConfig,
    body: CapturedBody,
    seed: int,
) -> CapturedClips:
    """Capture a clip, varied first where there are others whose limbs it may borrow."""
    if others is not None:
        mix, rng = (config.mix_arms, config.mix_legs), np.random.default_rng(seed)
        clip = varied(clip, others, *mix, config.augment, rng)
    rotmat = pose_to_rotmat(torch.tensor(clip.pose, dtype=torch.float32))[None]
    trans = torch.tensor(clip.trans, dtype=torch.float32)[None]
    generator = torch.Generator().manual_seed(seed)
    return capture(rotmat, trans, clip.fps, body, config.capture, generator)


def _parts(clip: MotionSequence, config: OpenCapturesConfig) -> Iterator[MotionSequence]:
    """Cut a clip into pieces of about equal length, none above `max_frames`."""
    num_frames = len(clip.pose)
    num_parts = -(-num_frames // config.max_frames)
    edges = [num_frames * i // num_parts for i in range(num_parts + 1)]
    for start, stop in itertools.pairwise(edges):
        if stop - start >= config.min_frames:
            yield dataclasses.replace(
                clip,
                name=f"{clip.name}@{start}",
                pose=clip.pose[start:stop],
                trans=clip.trans[start:stop],
            )


def _seed(name: str) -> int:
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little") % 2**63
