"""BVH motion files -> motion sequences.

Most motion capture is traded as BVH, whatever system recorded it. The joints' names are recognized
as `rigs.py` describes. Position channels count on every joint that has them, so that bones may lie
in them with offsets of zero, and a still root may stand above hips that move.

Shapes: N frames, S joints, K channel values per frame.
"""

import re
import warnings
from collections import defaultdict
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from scipy.spatial.transform import Rotation

from vibe_ray.data.recordings import OnSkip, Recordings, log_skip
from vibe_ray.data.schema import MotionSequence
from vibe_ray.data.sources.conversion import (
    DEFAULT,
    Conversion,
    ConversionConfig,
    find_files,
    read_text,
)
from vibe_ray.data.sources.rigs import match_rig
from vibe_ray.data.sources.skeleton import SkeletonMotion

_WORD = re.compile(r"[{}]|[^\s{}]+")
_MOTION_HEADER = re.compile(r"\s*Frames\s*:\s*(\d{1,12})\s+Frame\s+Time\s*:\s*(\S+)", re.IGNORECASE)
_CHANNELS = {f"{axis}{kind}" for axis in "xyz" for kind in ("position", "rotation")}


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
        motion, recorded_fps = parse_bvh(read_text(path))
        fps = conversion.rate(name, recorded_fps)
        joints = match_rig(motion.names, motion.parents, config.names)
        return conversion.retarget(motion, joints, dataset=dataset, name=name, fps=fps)

    return conversion.convert(root, find_files(root, ".bvh"), read, on_skip)


def parse_bvh(text: str) -> tuple[SkeletonMotion, float]:
    """Read a BVH file's text.

    Returns:
        The motion and its frames per second.

    Raises:
        ValueError: Not a BVH, or its parts contradict each other; says what was found.
    """
    hierarchy, end = _parse_hierarchy(text)
    values, fps = _parse_motion(text[end:], hierarchy)
    return _skeleton_motion(hierarchy, values), fps


def _parse_hierarchy(text: str) -> tuple[_Hierarchy, int]:
    """The joints of the HIERARCHY section, and where in the text its end, the word MOTION, ends.

    Keywords count only where the grammar has them: a joint may be called `Motion` or `End`.
    """
    words = _WORD.finditer(text.removeprefix("\ufeff"))
    start = len(text) - len(text.removeprefix("\ufeff"))
    first = next(words, None)
    if first is None or first[0].upper() != "HIERARCHY":
        raise ValueError(
            f"not a BVH file: it starts with {text[:20]!r}, expected HIERARCHY, MOTION"
        )
    hierarchy = _Hierarchy()
    stack: list[int] = []  # joints whose braces are open; -1 for an end site
    try:
        for word in words:
            if not stack and word[0].upper() == "MOTION":
                _check_hierarchy(hierarchy)
                return hierarchy, start + word.end()
            _parse_statement(word[0], words, stack, hierarchy)
    except (StopIteration, IndexError) as error:
        raise ValueError(_broken(hierarchy, "it ends")) from error
    raise ValueError("not a BVH file: it has a HIERARCHY, but no MOTION")


def _parse_statement(
    word: str, words: Iterator[re.Match[str]], stack: list[int], hierarchy: _Hierarchy
) -> None:
    """Read what the grammar allows next, which `word` begins."""
    keyword = word.upper()
    if keyword in ("ROOT", "JOINT", "END"):
        # A name may have blanks: it goes on until the brace.
        name = " ".join(iter(lambda: next(words)[0], "{"))
        if keyword == "END":
            stack.append(-1)
            return
        hierarchy.names.append(name)
        hierarchy.parents.append(stack[-1] if stack else -1)
        hierarchy.offsets.append([0.0, 0.0, 0.0])
        hierarchy.channels.append([])
        stack.append(len(hierarchy.names) - 1)
    elif word == "}":
        stack.pop()
    elif keyword == "OFFSET" and stack:
        offset = [next(words)[0] for _ in range(3)]
        if stack[-1] >= 0:
            hierarchy.offsets[stack[-1]] = [_number(value, hierarchy) for value in offset]
    elif keyword == "CHANNELS" and stack:
        count = next(words)[0]
        if not (count.isdecimal() and len(count) < 4):
            raise ValueError(_broken(hierarchy, f"{count!r} channels"))
        channels = [next(words)[0] for _ in range(int(count))]
        if stack[-1] >= 0:
            hierarchy.channels[stack[-1]] = [channel.lower() for channel in channels]
    else:
        found = f"{len(stack)} braces left open" if keyword == "MOTION" else f"unexpected {word!r}"
        raise ValueError(_broken(hierarchy, found))


def _number(word: str, hierarchy: _Hierarchy) -> float:
    try:
        return float(word)
    except ValueError:
        raise ValueError(_broken(hierarchy, f"{word!r} is no number")) from None


def _broken(hierarchy: _Hierarchy, problem: str) -> str:
    where = f"near joint {hierarchy.names[-1]!r}" if hierarchy.names else "at its start"
    return f"broken BVH hierarchy {where}: {problem}"


def _check_hierarchy(hierarchy: _Hierarchy) -> None:
    if not hierarchy.names:
        raise ValueError("broken BVH hierarchy: it has no joints")
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
    num_frames = int(header[1])
    try:
        frame_time = float(header[2])
    except ValueError:
        frame_time = np.nan
    if not 0 < frame_time < np.inf:
        raise ValueError(f"BVH with a frame time of {header[2]} s: expected a positive number")
    values = _numbers(text[header.end() :])
    num_channels = sum(len(channels) for channels in hierarchy.channels)
    num_whole, rest = divmod(len(values), max(num_channels, 1))
    if num_frames == 0 or num_whole < num_frames or rest:
        raise ValueError(
            f"BVH with {len(values)} values: {num_frames} frames of {num_channels} channels need "
            f"{num_frames * num_channels}. The file is cut off or its header is wrong"
        )
    # Some exporters write a frame more than they announce.
    return values[: num_frames * num_channels].reshape(num_frames, num_channels), 1.0 / frame_time


def _numbers(text: str) -> np.ndarray:
    """All numbers of a text. By NumPy's own parser, which makes no object of each."""
    if not text.strip():
        return np.empty(0)
    with warnings.catch_warnings():
        warnings.simplefilter("error", DeprecationWarning)  # how older NumPy tells of other words
        with suppress(DeprecationWarning, ValueError):
            return np.fromstring(text, dtype=np.float64, sep=" ")
    for word in text.split():
        try:
            float(word)
        except ValueError:
            raise ValueError(f"{word!r} among the BVH's numbers is none") from None
    return np.array(text.split(), dtype=np.float64)


def _skeleton_motion(hierarchy: _Hierarchy, values: np.ndarray) -> SkeletonMotion:
    """Turn channel values (N, K) into rotations and positions."""
    num_frames, num_joints = len(values), len(hierarchy.names)
    offsets = np.array(hierarchy.offsets)
    rotmat = np.tile(np.eye(3), (num_frames, num_joints, 1, 1))
    root_position = np.zeros((num_frames, 3))
    shifts = {}
    by_order: dict[str, tuple[list[int], list[list[int]]]] = defaultdict(lambda: ([], []))
    column = 0
    for joint, channels in enumerate(hierarchy.channels):
        numbers = range(column, column + len(channels))
        turns = [(c[0], n) for c, n in zip(channels, numbers, strict=True) if c[1:] == "rotation"]
        moves = [(c[0], n) for c, n in zip(channels, numbers, strict=True) if c[1:] == "position"]
        if moves and hierarchy.parents[joint] < 0:
            for axis, number in moves:
                root_position[:, "xyz".index(axis)] = values[:, number]
        elif moves:
            shift = _shift(offsets[joint], moves, values)
            offsets[joint] = np.median(shift, axis=0)
            if not (shift == shift[0]).all():
                shifts[joint] = shift
        if turns:
            joints, columns = by_order["".join(axis for axis, _ in turns).upper()]
            joints.append(joint)
            columns.append([number for _, number in turns])
        column += len(channels)
    for order, (joints, columns) in by_order.items():  # capitals: each turn in the turned axes
        angles = values[:, columns].reshape(-1, len(order))
        matrices = _turns(order, angles)
        rotmat[:, joints] = matrices.reshape(num_frames, len(joints), 3, 3)
    return SkeletonMotion(
        names=tuple(hierarchy.names),
        parents=tuple(hierarchy.parents),
        offsets=offsets,
        rotmat=rotmat,
        root_position=root_position,
        shifts=shifts,
    )


def _shift(offset: np.ndarray, moves: list[tuple[str, int]], values: np.ndarray) -> np.ndarray:
    """Where a joint is in its parent's axes (N, 3), by its position channels.

    Most exporters repeat the offset in them, some write what is to be added to it: taken is what
    leaves the joint nearer to where its offset says.
    """
    axes = ["xyz".index(axis) for axis, _ in moves]
    given = values[:, [number for _, number in moves]]
    own = offset[axes]
    middle = np.median(given, axis=0)
    adds = np.linalg.norm(middle) < np.linalg.norm(middle - own)
    shift = np.tile(offset, (len(values), 1))
    shift[:, axes] = own + given if adds else given
    return shift


def _turns(order: str, degrees: np.ndarray) -> np.ndarray:
    """Rotations (M, 3, 3) by Euler angles (M, len(order)) about axes that turn along."""
    if len(order) > 3 or any(a == b for a, b in pairwise(order)):
        raise ValueError(f"a joint turns about {order}: expected three axes in some order")
    return Rotation.from_euler(order, degrees, degrees=True).as_matrix()
