"""BVH motion files -> motion sequences.

Most motion capture is traded as BVH, whatever system recorded it; `rigs.py` lists the skeletons
that are understood.

Shapes: N frames, S joints, K channel values per frame.
"""

import re
from collections import defaultdict
from dataclasses import dataclass, field

import numpy as np
from scipy.spatial.transform import Rotation

from vibe_ray import storage
from vibe_ray.data.recordings import OnSkip, Recordings, log_skip
from vibe_ray.data.schema import MotionSequence
from vibe_ray.data.sources.conversion import (
    DEFAULT,
    Conversion,
    ConversionConfig,
    find_files,
)
from vibe_ray.data.sources.rigs import BVH_RIGS, match_rig
from vibe_ray.data.sources.skeleton import SkeletonMotion

_MOTION_HEADER = re.compile(r"\s*Frames:\s*(\d+)\s+Frame\s+Time:\s*(\S+)", re.IGNORECASE)
_CHANNELS = {f"{axis}{kind}" for axis in "XYZ" for kind in ("position", "rotation")}


@dataclass
class _Hierarchy:
    """The joints of a file in their order; end sites are left out, no rotation moves them."""

    names: list[str] = field(default_factory=list)
    parents: list[int] = field(default_factory=list)
    offsets: list[list[float]] = field(default_factory=list)
    channels: list[list[str]] = field(default_factory=list)


def read_sequences(
    root: str,
    config: ConversionConfig = DEFAULT,
    *,
    dataset: str = "bvh",
    on_skip: OnSkip = log_skip,
) -> Recordings[MotionSequence]:
    """Return every `.bvh` below `root` (folder, file or s3://) as SMPL motion, sorted by name.

    Raises:
        FileNotFoundError: No BVH file there.
        ValueError: When iterated over: see `Recordings`.
    """
    conversion = Conversion(config)

    def read(path: str, name: str) -> MotionSequence:
        text = storage.read_bytes(path).decode("utf-8", errors="replace")
        motion, fps = parse_bvh(text)
        joints = match_rig(motion.names, BVH_RIGS.values())
        return conversion.retarget(motion, joints, dataset=dataset, name=name, fps=fps)

    return conversion.convert(root, find_files(root, ".bvh"), read, on_skip)


def parse_bvh(text: str) -> tuple[SkeletonMotion, float]:
    """Read a BVH file's text.

    Returns:
        The motion and its frames per second.

    Raises:
        ValueError: Not a BVH, or its parts contradict each other; says what was found.
    """
    header, separator, motion = text.partition("MOTION")
    if not header.lstrip("\ufeff \r\n\t").startswith("HIERARCHY") or not separator:
        raise ValueError(
            f"not a BVH file: it starts with {text[:20]!r}, expected HIERARCHY, MOTION"
        )
    hierarchy = _parse_hierarchy(header.split())
    values, fps = _parse_motion(motion, hierarchy)
    return _skeleton_motion(hierarchy, values), fps


def _parse_hierarchy(tokens: list[str]) -> _Hierarchy:
    """Joints of the HIERARCHY section, given as words."""
    hierarchy = _Hierarchy()
    stack: list[int] = []  # joints whose braces are open; -1 for an end site
    opened = -1  # joint or end site named last, waiting for its brace
    words = iter(tokens[1:])
    try:
        for word in words:
            if word in ("ROOT", "JOINT"):
                opened = len(hierarchy.names)
                hierarchy.names.append(next(words))
                hierarchy.parents.append(stack[-1] if stack else -1)
                hierarchy.offsets.append([0.0, 0.0, 0.0])
                hierarchy.channels.append([])
            elif word == "End":
                next(words)
                opened = -1
            elif word == "{":
                stack.append(opened)
            elif word == "}":
                stack.pop()
            elif word == "OFFSET":
                offset = [float(next(words)) for _ in range(3)]
                if stack[-1] >= 0:
                    hierarchy.offsets[stack[-1]] = offset
            elif word == "CHANNELS":
                hierarchy.channels[stack[-1]] = [next(words) for _ in range(int(next(words)))]
            else:
                raise ValueError(f"unexpected {word!r}")
    except (StopIteration, IndexError, ValueError) as error:
        where = hierarchy.names[-1] if hierarchy.names else "its start"
        raise ValueError(
            f"broken BVH hierarchy near joint {where!r}: {error or 'it ends'}"
        ) from error
    _check_hierarchy(hierarchy, len(stack))
    return hierarchy


def _check_hierarchy(hierarchy: _Hierarchy, num_open: int) -> None:
    if not hierarchy.names or num_open:
        raise ValueError(
            f"broken BVH hierarchy: {len(hierarchy.names)} joints, {num_open} braces left open"
        )
    if hierarchy.parents.count(-1) != 1:
        roots = [
            n for n, parent in zip(hierarchy.names, hierarchy.parents, strict=True) if parent < 0
        ]
        raise ValueError(f"BVH with several skeletons ({', '.join(roots)}): expected one person")
    for name, channels in zip(hierarchy.names, hierarchy.channels, strict=True):
        if unknown := [channel for channel in channels if channel not in _CHANNELS]:
            raise ValueError(f"joint {name!r} has unknown channels {', '.join(unknown)}")


def _parse_motion(text: str, hierarchy: _Hierarchy) -> tuple[np.ndarray, float]:
    """Channel values (N, K) and frames per second of the MOTION section."""
    header = _MOTION_HEADER.match(text)
    if header is None:
        raise ValueError(f"BVH without 'Frames:' and 'Frame Time:' after MOTION: {text[:60]!r}")
    num_frames, frame_time = int(header[1]), float(header[2])
    if not frame_time > 0:
        raise ValueError(f"BVH with a frame time of {header[2]} s: expected a positive number")
    words = text[header.end() :].split()
    num_channels = sum(len(channels) for channels in hierarchy.channels)
    num_whole, rest = divmod(len(words), max(num_channels, 1))
    if num_frames == 0 or num_whole < num_frames or rest:
        raise ValueError(
            f"BVH with {len(words)} values: {num_frames} frames of {num_channels} channels need "
            f"{num_frames * num_channels}. The file is cut off or its header is wrong"
        )
    # Some exporters write a frame more than they announce.
    values = np.array(words[: num_frames * num_channels], dtype=np.float64)
    return values.reshape(num_frames, num_channels), 1.0 / frame_time


def _skeleton_motion(hierarchy: _Hierarchy, values: np.ndarray) -> SkeletonMotion:
    """Turn channel values (N, K) into rotations; positions count for the root alone."""
    num_frames, num_joints = len(values), len(hierarchy.names)
    rotmat = np.tile(np.eye(3), (num_frames, num_joints, 1, 1))
    root_position = np.zeros((num_frames, 3))
    by_order: dict[str, tuple[list[int], list[list[int]]]] = defaultdict(lambda: ([], []))
    column = 0
    for joint, channels in enumerate(hierarchy.channels):
        turns = []
        for number, channel in enumerate(channels, start=column):
            if channel.endswith("rotation"):
                turns.append((channel[0], number))
            elif hierarchy.parents[joint] < 0:
                root_position[:, "XYZ".index(channel[0])] = values[:, number]
        if turns:
            joints, columns = by_order["".join(axis for axis, _ in turns)]
            joints.append(joint)
            columns.append([number for _, number in turns])
        column += len(channels)
    for order, (joints, columns) in by_order.items():  # capitals: each turn in the turned axes
        angles = values[:, columns].reshape(-1, len(order))
        matrices = Rotation.from_euler(order, angles, degrees=True).as_matrix()
        rotmat[:, joints] = matrices.reshape(num_frames, len(joints), 3, 3)
    return SkeletonMotion(
        names=tuple(hierarchy.names),
        parents=tuple(hierarchy.parents),
        offsets=np.array(hierarchy.offsets),
        rotmat=rotmat,
        root_position=root_position,
    )
