"""Are two trainings of the frame encoder one? Their settings and clips, as a state keeps them.

An identity maps the dotted name of each setting to its value, each split to a hash of its clips.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from vibe_ray.config import flatten
from vibe_ray.data.schema import MotionSequence


def identity_of(
    settings: Mapping[str, Any], motion: Mapping[str, Sequence[MotionSequence]]
) -> dict[str, Any]:
    """Return a training's identity, made of plain values.

    Args:
        settings: Those that change a number, sections as mappings.
        motion: Clips by the name of their split.
    """
    plain = dict(flatten(json.loads(json.dumps(settings))))
    return plain | {f"{split} motion": _clips_hash(clips) for split, clips in motion.items()}


def changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Say in which values two identities differ; `before` is empty in a state that keeps none."""
    if not before:
        return ["an older vibe_ray did not note its settings and motion"]
    names = [name for name in {**before, **now} if before.get(name) != now.get(name)]
    return [f"{name} {before.get(name)} -> {now.get(name)}" for name in names]


def _clips_hash(motion: Sequence[MotionSequence]) -> str:
    digest = hashlib.sha256()
    for clip in motion:
        digest.update(json.dumps([clip.dataset, clip.name, float(clip.fps)]).encode())
        for array in (clip.pose, clip.trans, clip.betas):
            digest.update(repr((array.shape, array.dtype.str)).encode() + array.tobytes())
    return f"{len(motion)} clips ({digest.hexdigest()[:12]})"
