"""Reads the windows that a plan names, in Ray's readers and in this process alike. No torch."""

from collections import OrderedDict
from typing import Any

import numpy as np

from vibe_ray.data.mixing import Share, Source, StepPlan
from vibe_ray.data.schema import MOTION_ARRAYS, POSE_ARRAYS, Array
from vibe_ray.data.shards import decode, read_clip
from vibe_ray.data.windows import Window

CACHE_BYTES = 128 * 2**20
"""Clips that a process keeps; a little more than a group of `windows.GROUP_CLIPS`."""
UNUSED = "valid"

Clip = dict[str, Array]
_cache: "OrderedDict[tuple[str, str, int], Clip]" = OrderedDict()


def read_share(plan: StepPlan, share: Share) -> tuple[dict[str, Array], Array]:
    """Read one rank's windows of one step: pose arrays (B, T, ...), 2D first, and motion (B, T, P).

    Raises:
        ValueError: A feature is NaN or infinite; names the sequence.
    """
    T = plan.window_length
    parts = [
        _cut(source, window, T)
        for source, windows in ((plan.pose_2d, share.pose_2d), (plan.pose_3d, share.pose_3d))
        for window in windows
    ]
    names = [name for name in POSE_ARRAYS if name != UNUSED]
    pose = {name: np.stack([part[name] for part in parts]) for name in names} if parts else {}
    motion = [_cut(plan.motion, window, T)["pose"] for window in share.motion]
    return pose, np.stack(motion) if motion else np.empty((0, T, *POSE_ARRAYS["pose"][1]), "<f4")


def _cut(source: Source, window: Window, length: int) -> Clip:
    path = source.paths[window.dataset]
    name = source.manifests[window.dataset].files[window.file].name
    clip = _clip(path, name, window.row)
    return {key: array[window.start : window.start + length] for key, array in clip.items()}


def _clip(path: str, name: str, row: int) -> Clip:
    """Return a clip's arrays, from memory if it was read a short while ago."""
    key = (path, name, row)
    if key in _cache:
        _cache.move_to_end(key)
        return _cache[key]
    columns = read_clip(path, name, row)
    specs = POSE_ARRAYS if "features" in columns else MOTION_ARRAYS
    clip = {key: decode(columns[key], *spec, columns) for key, spec in specs.items()}
    _check_finite(clip, path, columns)
    _cache[key] = clip
    while sum(_size(kept) for kept in _cache.values()) > CACHE_BYTES and len(_cache) > 1:
        _cache.popitem(last=False)
    return clip


def _size(clip: Clip) -> int:
    return sum(array.nbytes for array in clip.values())


def _check_finite(clip: Clip, path: str, columns: dict[str, Any]) -> None:
    bad = [name for name, array in clip.items() if not np.isfinite(array).all()]
    if bad:
        raise ValueError(
            f"{path}: {', '.join(bad)} of sequence {columns['sequence'].as_py()!r} hold NaN or "
            "infinity; `python -m vibe_ray.prepare validate` lists all such sequences"
        )
