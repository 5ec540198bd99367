"""Reads what a plan names: a rank's windows of some steps, as one Arrow table.

The same in Ray's readers and without Ray, and without torch, which a reader of windows does not
need: starting one would take two seconds and 250 MB more. A reader that captures has it.

Shapes: M steps, B windows of one step, T frames.
"""

from collections import OrderedDict
from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa

from vibe_ray import storage
from vibe_ray.body.skeletons import WHOLEBODY_23
from vibe_ray.data.clips import DamagedFileError, read_clip
from vibe_ray.data.manifest import ShardFile
from vibe_ray.data.mixing import ShardSource, Share, StepPlan
from vibe_ray.data.rows import decode_clip, value
from vibe_ray.data.schema import MOTION_ARRAYS, POSE_ARRAYS
from vibe_ray.data.windows import Window
from vibe_ray.geometry.arrays import Array

CACHE_BYTES = 256 * 2**20
"""Clips that a process keeps: the groups (`windows.py`) that all streams of a plan are in."""

WINDOW_ARRAYS = {name: spec for name, spec in POSE_ARRAYS.items() if name != "valid"}
"""The pose shards' arrays that training uses: number type and shape per frame."""
MOTION_COLUMN = "motion_pose"
MOTION_SPEC = MOTION_ARRAYS["pose"]
DETECTION_ARRAYS: dict[str, tuple[str, tuple[int, ...]]] = {
    "detected": ("<f4", (len(WHOLEBODY_23), 2)),
    "detected_conf": ("<f4", (len(WHOLEBODY_23),)),
    "box": ("<f4", (3,)),
    "image_size": ("<f4", (2,)),
}
"""What a detector saw in a captured frame, from which features are yet to be made."""
SHARE_SCHEMA = pa.schema(
    [
        ("step", pa.int64()),
        ("rank", pa.int32()),
        ("window_length", pa.int32()),
        ("num_windows", pa.int32()),
        ("num_motion", pa.int32()),
        ("num_captured", pa.int32()),
        *((name, pa.large_binary()) for name in (*WINDOW_ARRAYS, MOTION_COLUMN, *DETECTION_ARRAYS)),
    ]
)
"""A row is one rank's share of one step: pose windows (B, T, ...), 2D first, and motion windows.
Captured windows stand behind the stored ones, without features, and what was detected in them
beside."""

Clip = dict[str, Array]


def read_shares(plan: StepPlan, shares: Sequence[Share]) -> pa.Table:
    """Read the windows of some shares (M rows) into a table of `SHARE_SCHEMA`.

    Each number is copied once, from the clip it was read in to its place in the table.

    Raises:
        ValueError: A number is NaN or infinite, or a clip is not what its manifest says; names the
            sequence or the file.
    """
    T = plan.window_length
    num_captured = [len(share.captured) for share in shares]
    num_windows = [
        len(share.pose_2d) + len(share.pose_3d) + len(share.captured) for share in shares
    ]
    num_motion = [len(share.motion) for share in shares]
    pose = {
        name: np.empty((sum(num_windows), T, *_shape(spec, plan.feature_dim)), spec[0])
        for name, spec in WINDOW_ARRAYS.items()
    }
    motion = np.empty((sum(num_motion), T, *MOTION_SPEC[1]), MOTION_SPEC[0])
    detections = {
        name: np.empty((sum(num_captured), T, *shape), dtype)
        for name, (dtype, shape) in DETECTION_ARRAYS.items()
    }
    _capture(plan, shares, pose, detections)
    for index, clip, start in _pose_windows(plan, shares):
        for name, array in pose.items():
            array[index] = clip[name][start : start + T]
    for index, (clip, start) in enumerate(_motion_windows(plan, shares)):
        motion[index] = clip["pose"][start : start + T]
    columns = [
        np.array([share.step for share in shares]),
        np.array([share.rank for share in shares], np.int32),
        np.full(len(shares), T, np.int32),
        np.array(num_windows, np.int32),
        np.array(num_motion, np.int32),
        np.array(num_captured, np.int32),
        *(_binary(array, num_windows) for array in pose.values()),
        _binary(motion, num_motion),
        *(_binary(array, num_captured) for array in detections.values()),
    ]
    return pa.table(columns, schema=SHARE_SCHEMA)


def num_row_bytes(plan: StepPlan, num_workers: int) -> int:
    """Size of the largest row of `read_shares`."""

    def num_bytes(spec: tuple[str, tuple[int, ...]]) -> int:
        shape = _shape(spec, plan.feature_dim)
        return int(np.prod(shape, dtype=int)) * np.dtype(spec[0]).itemsize

    share = plan.share(0, 0, num_workers)
    num_windows = len(share.pose_2d) + len(share.pose_3d) + len(share.captured)
    return plan.window_length * (
        num_windows * sum(map(num_bytes, WINDOW_ARRAYS.values()))
        + len(share.motion) * num_bytes(MOTION_SPEC)
        + len(share.captured) * sum(map(num_bytes, DETECTION_ARRAYS.values()))
    )


class ClipCache:
    """Keeps the clips read last, up to a number of bytes."""

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.num_bytes = 0
        self.num_reads = 0
        """Clips read from storage, for tests and benchmarks."""
        self._clips: OrderedDict[tuple[str, str, int], Clip] = OrderedDict()

    def get(self, path: str, file: ShardFile, row: int) -> Clip:
        """Return a clip's arrays, from memory if it was read a short while ago."""
        key = (path, file.name, row)
        if key in self._clips:
            self._clips.move_to_end(key)
            return self._clips[key]
        try:
            table = read_clip(path, file, row)
            clip = decode_clip(table)
        except DamagedFileError:
            raise
        except ValueError as error:
            where = f"{storage.join(path, file.name)}: row {row}"
            raise ValueError(f"{where} is no clip ({error}): prepare the data set anew") from None
        _check_finite(clip, path, table)
        self._clips[key] = clip
        self.num_reads += 1
        self.num_bytes += _num_bytes(clip)
        while self.num_bytes > self.max_bytes and len(self._clips) > 1:
            self.num_bytes -= _num_bytes(self._clips.popitem(last=False)[1])
        return clip


CACHE = ClipCache(CACHE_BYTES)
"""Of this process: one plan is read at a time."""


def _pose_windows(plan: StepPlan, shares: Sequence[Share]) -> Iterator[tuple[int, Clip, int]]:
    """Yield where each stored window goes, its clip and where it starts there."""
    index = 0
    for share in shares:
        for source, windows in ((plan.pose_2d, share.pose_2d), (plan.pose_3d, share.pose_3d)):
            for window in windows:
                yield index, source_clip(source, window), window.start
                index += 1
        index += len(share.captured)


def _capture(
    plan: StepPlan, shares: Sequence[Share], pose: dict[str, Array], detections: dict[str, Array]
) -> None:
    """Write shares of freshly captured windows behind the stored ones of their rows."""
    if plan.captured is None:
        return
    end = first = 0
    for share in shares:
        end += len(share.pose_2d) + len(share.pose_3d) + len(share.captured)
        last = first + len(share.captured)
        for name, values in plan.captured.arrays(share.step).items():
            own = values[share.captured.start :: share.captured.step]
            if name in pose:
                pose[name][end - len(own) : end] = own
            else:
                detections[name][first:last] = own
        pose["features"][end - len(share.captured) : end] = 0  # they are yet to be made
        first = last


def _motion_windows(plan: StepPlan, shares: Sequence[Share]) -> Iterator[tuple[Clip, int]]:
    for share in shares:
        for window in share.motion:
            yield source_clip(plan.motion, window), window.start


def source_clip(source: ShardSource, window: Window) -> Clip:
    """Return the arrays of the whole clip that a window is of, from memory if read lately.

    Raises:
        ValueError: A number is NaN or infinite, or the clip is not what its manifest says.
    """
    path, manifest = source.paths[window.dataset], source.manifests[window.dataset]
    file = manifest.files[window.file]
    clip = CACHE.get(path, file, window.row)
    found = len(clip["pose"]), clip["features"].shape[1] if "features" in clip else 0
    expected = file.clip_frames[window.row], manifest.feature_dim
    if found != expected:  # else a single frame would be taken for a window of equal ones
        raise ValueError(
            f"{storage.join(path, file.name)}: row {window.row} has (frames, feature width) "
            f"{found}, the manifest says {expected}: prepare the data set anew"
        )
    return clip


def _shape(spec: tuple[str, tuple[int, ...]], feature_dim: int) -> tuple[int, ...]:
    return tuple(feature_dim if size == -1 else size for size in spec[1])


def _binary(array: Array, counts: Sequence[int]) -> pa.LargeBinaryArray:
    """View an array as one binary value per row, `counts` saying how much of it is each row's."""
    size = array[:1].nbytes
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64) * size
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(array)]
    return pa.LargeBinaryArray.from_buffers(pa.large_binary(), len(counts), buffers)


def _num_bytes(clip: Clip) -> int:
    return sum(array.nbytes for array in clip.values())


def _check_finite(clip: Clip, path: str, row: pa.Table) -> None:
    bad = [name for name, array in clip.items() if not _is_finite(array)]
    if bad:
        raise ValueError(
            f"{path}: {', '.join(bad)} of sequence {value(row, 'sequence')!r} hold NaN or "
            "infinity; `python -m vibe_ray.prepare validate` lists all such sequences"
        )


def _is_finite(array: Array) -> bool:
    if array.dtype != np.float16:
        return bool(np.isfinite(array).all())
    exponent = np.uint16(0x7C00)  # all its bits set: NaN or infinity; 8 times faster than isfinite
    return bool((array.view(np.uint16) & exponent).max(initial=0) < exponent)
