"""Acclaim motion capture (a skeleton `.asf`, motions `.amc`) -> motion sequences.

CMU's own format: `01.asf` is the skeleton of subject 01, `01_03.amc` its third motion; HDM05's are
`HDM_bd.asf` and `HDM_bd_01-01_01_120.amc`. The files do not tell their frame rate; CMU recorded at
120 frames per second, others are given by `--source-fps`.

Shapes: N frames, S bones and the root.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath

import numpy as np
from scipy.spatial.transform import Rotation

from vibe_ray import storage
from vibe_ray.data.recordings import OnSkip, Recordings, log_skip
from vibe_ray.data.schema import MotionSequence
from vibe_ray.data.sources.asf import (
    ROOT,
    TURNS,
    AcclaimSkeleton,
    parse_asf,
    without_comments,
)
from vibe_ray.data.sources.conversion import (
    DEFAULT,
    Conversion,
    ConversionConfig,
    find_files,
    read_text,
)
from vibe_ray.data.sources.rigs import match_rig
from vibe_ray.data.sources.skeleton import SkeletonMotion

CMU_FPS = 120.0


def read_sequences(
    root: str,
    config: ConversionConfig = DEFAULT,
    *,
    dataset: str = "cmu",
    on_skip: OnSkip = log_skip,
) -> Recordings[MotionSequence]:
    """Return every `.amc` below `root` (folder, file or s3://) as SMPL motion, sorted by name.

    The skeleton of `01_03.amc` is `01.asf` beside it: the one with the longest name that the
    motion's begins with, or the only one there is.

    Raises:
        FileNotFoundError: No AMC file there.
        ValueError: When iterated over: see `Recordings`.
    """
    conversion = Conversion(config)

    def read(path: str, name: str) -> MotionSequence:
        skeleton = parse_asf(read_text(find_skeleton(path)))
        motion = parse_amc(read_text(path), skeleton)
        joints = match_rig(motion.names, motion.parents, config.names)
        fps = conversion.rate(name, CMU_FPS)
        return conversion.retarget(motion, joints, dataset=dataset, name=name, fps=fps)

    return conversion.convert(root, find_files(root, ".amc"), read, on_skip)


def find_skeleton(amc_path: str) -> str:
    """Path of the skeleton that belongs to a motion.

    Raises:
        ValueError: None beside it, or several and none of the motion's subject.
    """
    folder, _, file = amc_path.rpartition("/")
    paths = [PurePosixPath(path) for path in storage.list_files(folder or ".", ".asf")]
    shown = [path for path in paths if not path.name.startswith(".")]
    nearest = min((len(path.parts) for path in shown), default=0)  # beside it rather than below
    skeletons = {path.stem: str(path) for path in shown if len(path.parts) == nearest}
    stem = PurePosixPath(file).stem
    if subjects := [name for name in skeletons if _begins(name, stem)]:
        return skeletons[max(subjects, key=len)]
    if len(skeletons) != 1:
        subject = stem.rpartition("_")[0] or stem
        raise ValueError(
            f"no skeleton {subject}.asf beside it, found {', '.join(sorted(skeletons)) or 'none'}: "
            "a motion needs its subject's skeleton, download it into the same folder"
        )
    return next(iter(skeletons.values()))


def _begins(subject: str, motion: str) -> bool:
    """Whether a motion's name begins with a subject's; subject 1 has no part in 10_01."""
    rest = motion[len(subject) :]
    cuts_number = subject[-1:].isdigit() and rest[:1].isdigit()
    return motion.lower().startswith(subject.lower()) and not cuts_number


def parse_amc(text: str, skeleton: AcclaimSkeleton) -> SkeletonMotion:
    """Read a motion file's text.

    Raises:
        ValueError: Not a motion of this skeleton, or cut off; says where.
    """
    code = without_comments(text)
    unit = re.search(r"^[ \t]*:(DEGREES|RADIANS)\s*$", code, re.MULTILINE | re.IGNORECASE)
    if unit is None:
        raise ValueError(f"not an AMC motion: it starts with {text[:20]!r} and lacks :DEGREES")
    degrees = unit[1].upper() == "DEGREES"
    columns, values = _frame_table(code[unit.end() :].split(), skeleton)
    num_frames = len(values)
    rotmat = np.tile(np.eye(3), (num_frames, len(skeleton.names), 1, 1))
    for bone, channels in enumerate(skeleton.channels):
        turns = [channel for channel in channels if channel in TURNS]
        if turns:
            start = columns[skeleton.names[bone]]
            angles = values[:, [start + channels.index(channel) for channel in turns]]
            # Small letters: each turn is about the bone's own axes, in the order listed.
            order = "".join(channel[1] for channel in turns)
            turn = Rotation.from_euler(order, angles, degrees=degrees).as_matrix()
            axes = skeleton.axes[bone]
            rotmat[:, bone] = axes @ turn @ axes.T
    return SkeletonMotion(
        names=skeleton.names,
        parents=skeleton.parents,
        offsets=_joint_offsets(skeleton),
        rotmat=rotmat,
        root_position=_root_position(values, columns, skeleton),
    )


def _frame_table(
    words: Sequence[str], skeleton: AcclaimSkeleton
) -> tuple[dict[str, int], np.ndarray]:
    """All frames' numbers (N, K) and the column of each bone's first one.

    Every frame lists the same bones, so that the words form a table with the names in columns.
    """
    num_channels = {
        name: len(channels)
        for name, channels in zip(skeleton.names, skeleton.channels, strict=True)
    }
    columns, names_at, position, num_values = {}, [], 1, 0
    while position < len(words) and not words[position].isdigit():
        name = words[position]
        if name not in num_channels or name in columns:
            known = "listed twice" if name in columns else "not a bone of the skeleton"
            raise ValueError(f"AMC frame {words[0]}: {name!r} is {known}")
        columns[name] = num_values
        names_at.append(position)
        position += 1 + num_channels[name]
        num_values += num_channels[name]
    if not words or (
        missing := [n for n, count in num_channels.items() if count and n not in columns]
    ):
        raise ValueError(f"AMC without numbers for {', '.join(missing) if words else 'any frame'}")
    if len(words) % position:
        raise ValueError(
            f"AMC with {len(words)} words: not whole frames of {position}; the file is cut off, or "
            "a bone has more or fewer numbers than the skeleton says"
        )
    table = np.array(words, dtype=object).reshape(-1, position)
    if (table[:, names_at] != table[0, names_at]).any():
        frame = int((table[:, names_at] != table[0, names_at]).any(axis=1).argmax())
        raise ValueError(f"AMC frame {frame + 1} lists other bones than the first, or other counts")
    numbers = np.delete(table, [0, *names_at], axis=1)
    try:
        return columns, numbers.astype(np.float64)
    except ValueError as error:
        raise ValueError(f"AMC frames hold what is no number: {error}") from error


def _root_position(
    values: np.ndarray, columns: Mapping[str, int], skeleton: AcclaimSkeleton
) -> np.ndarray:
    position = np.zeros((len(values), 3))
    for number, channel in enumerate(skeleton.channels[skeleton.names.index(ROOT)]):
        if channel not in TURNS and channel[0] == "t":
            position[:, "xyz".index(channel[1])] = values[:, columns[ROOT] + number]
    return position


def _joint_offsets(skeleton: AcclaimSkeleton) -> np.ndarray:
    """(S, 3): a bone turns about its start, which is the end of the bone it hangs on."""
    offsets = np.zeros_like(skeleton.bones)
    for bone, parent in enumerate(skeleton.parents):
        if parent >= 0:
            offsets[bone] = skeleton.bones[parent]
    return offsets
