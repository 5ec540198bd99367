"""Acclaim motion capture (a skeleton `.asf`, motions `.amc`) -> motion sequences.

CMU's own format: `01.asf` is the skeleton of subject 01, `01_03.amc` its third motion. The files do
not tell their frame rate; CMU recorded at 120 frames per second.

Shapes: N frames, S bones and the root.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

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
from vibe_ray.data.sources.rigs import ACCLAIM, match_rig
from vibe_ray.data.sources.skeleton import SkeletonMotion

CMU_FPS = 120.0

_ROOT = "root"
_TURNS = ("rx", "ry", "rz")


@dataclass(frozen=True, kw_only=True)
class AcclaimSkeleton:
    """A rest pose and, for each bone, the axes about which it turns."""

    names: tuple[str, ...]
    """(S): the root, then each bone after the one it hangs on."""
    parents: tuple[int, ...]
    bones: np.ndarray
    """(S, 3) from a bone's start to its end, in the file's unit; zero for the root."""
    axes: np.ndarray
    """(S, 3, 3) rotation of a bone's turning axes in the world."""
    channels: tuple[tuple[str, ...], ...]
    """Numbers a frame gives for each bone: of tx ty tz rx ry rz; empty for a stiff bone."""


def read_sequences(
    root: str,
    config: ConversionConfig = DEFAULT,
    *,
    source_fps: float = CMU_FPS,
    dataset: str = "cmu",
    on_skip: OnSkip = log_skip,
) -> Recordings[MotionSequence]:
    """Return every `.amc` below `root` (folder, file or s3://) as SMPL motion, sorted by name.

    The skeleton of `01_03.amc` is `01.asf` beside it, or the one `.asf` there is beside it.

    Raises:
        FileNotFoundError: No AMC file there.
        ValueError: When iterated over: see `Recordings`.
    """
    conversion = Conversion(config)

    def read(path: str, name: str) -> MotionSequence:
        skeleton = parse_asf(_read_text(find_skeleton(path)))
        motion = parse_amc(_read_text(path), skeleton)
        joints = match_rig(motion.names, [ACCLAIM])
        return conversion.retarget(motion, joints, dataset=dataset, name=name, fps=source_fps)

    return conversion.convert(root, find_files(root, ".amc"), read, on_skip)


def find_skeleton(amc_path: str) -> str:
    """Path of the skeleton that belongs to a motion.

    Raises:
        ValueError: None beside it, or several and none of the motion's subject.
    """
    folder, _, file = amc_path.rpartition("/")
    skeletons = {
        PurePosixPath(path).stem: path for path in storage.list_files(folder or ".", ".asf")
    }
    stem = PurePosixPath(file).stem
    subject = stem.rpartition("_")[0] or stem
    if subject in skeletons:
        return skeletons[subject]
    if len(skeletons) != 1:
        raise ValueError(
            f"no skeleton {subject}.asf beside it, found {', '.join(sorted(skeletons)) or 'none'}: "
            "a motion needs its subject's skeleton, download it into the same folder"
        )
    return next(iter(skeletons.values()))


def parse_asf(text: str) -> AcclaimSkeleton:
    """Read a skeleton file's text.

    Raises:
        ValueError: Not a skeleton file, or bones and hierarchy contradict each other.
    """
    sections = dict(re.findall(r"^:(\w+)(.*?)(?=^:|\Z)", text, re.MULTILINE | re.DOTALL))
    if missing := {"bonedata", "hierarchy", _ROOT} - sections.keys():
        raise ValueError(f"not an ASF skeleton: no :{', :'.join(sorted(missing))} in it")
    blocks = [_fields(block) for block in _blocks(sections["bonedata"])]
    bones = {fields["name"][0]: fields for fields in blocks if fields.get("name")}
    root = _fields(sections[_ROOT])
    bones[_ROOT] = {
        "direction": ["0", "0", "0"],
        "length": ["0"],
        "axis": [*root.get("orientation", ["0", "0", "0"]), *root.get("axis", ["XYZ"])],
        "dof": [word.lower() for word in root.get("order", [])],
    }
    parent_of = _hierarchy(sections["hierarchy"], bones)
    names = tuple(parent_of)
    degrees = "deg" in " ".join(_fields(sections.get("units", "")).get("angle", ["deg"]))
    try:
        return AcclaimSkeleton(
            names=names,
            parents=tuple(names.index(parent) if parent else -1 for parent in parent_of.values()),
            bones=np.array(
                [
                    np.array(bones[name]["direction"], float) * float(bones[name]["length"][0])
                    for name in names
                ]
            ),
            axes=np.stack([_axes(bones[name]["axis"], degrees) for name in names]),
            channels=tuple(tuple(bones[name].get("dof", [])) for name in names),
        )
    except (KeyError, IndexError) as error:
        raise ValueError(f"ASF skeleton: a bone lacks its {error}") from error


def parse_amc(text: str, skeleton: AcclaimSkeleton) -> SkeletonMotion:
    """Read a motion file's text.

    Raises:
        ValueError: Not a motion of this skeleton, or cut off; says where.
    """
    body = re.split(
        r"^:(?:DEGREES|RADIANS)\s*$", text, maxsplit=1, flags=re.MULTILINE | re.IGNORECASE
    )
    if len(body) != 2:
        raise ValueError(f"not an AMC motion: it starts with {text[:20]!r} and lacks :DEGREES")
    degrees = re.search(r"^:RADIANS", text, re.MULTILINE | re.IGNORECASE) is None
    columns, values = _frame_table(body[1].split(), skeleton)
    num_frames = len(values)
    rotmat = np.tile(np.eye(3), (num_frames, len(skeleton.names), 1, 1))
    for bone, channels in enumerate(skeleton.channels):
        turns = [channel for channel in channels if channel in _TURNS]
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
    return columns, numbers.astype(np.float64)


def _root_position(
    values: np.ndarray, columns: Mapping[str, int], skeleton: AcclaimSkeleton
) -> np.ndarray:
    position = np.zeros((len(values), 3))
    for number, channel in enumerate(skeleton.channels[skeleton.names.index(_ROOT)]):
        if channel not in _TURNS and channel[0] == "t":
            position[:, "xyz".index(channel[1])] = values[:, columns[_ROOT] + number]
    return position


def _joint_offsets(skeleton: AcclaimSkeleton) -> np.ndarray:
    """(S, 3): a bone turns about its start, which is the end of the bone it hangs on."""
    offsets = np.zeros_like(skeleton.bones)
    for bone, parent in enumerate(skeleton.parents):
        if parent >= 0:
            offsets[bone] = skeleton.bones[parent]
    return offsets


def _hierarchy(section: str, bones: Mapping[str, object]) -> dict[str, str]:
    """Parent's name of each bone, parents first; the root's is empty."""
    parent_of = {_ROOT: ""}
    for line in section.splitlines():
        parent, *children = line.split() or [""]
        if parent in ("", "begin", "end"):
            continue
        for bone in (parent, *children):
            if bone not in bones:
                raise ValueError(f"ASF hierarchy names {bone!r}, which is not in :bonedata")
        if parent not in parent_of:
            raise ValueError(f"ASF hierarchy lists children of {parent!r} before {parent!r} itself")
        parent_of.update(dict.fromkeys(children, parent))
    return parent_of


def _blocks(section: str) -> list[str]:
    return re.findall(r"\bbegin\b(.*?)\bend\b", section, re.DOTALL)


def _fields(block: str) -> dict[str, list[str]]:
    """First word of each line -> the others."""
    lines = [line.split() for line in block.splitlines() if line.strip()]
    return {line[0].lower(): line[1:] for line in lines}


def _axes(words: Sequence[str], degrees: bool) -> np.ndarray:
    """Rotation (3, 3) written as three angles and their order, such as `0 0 20 XYZ`."""
    order = words[3].lower()
    angles = dict(zip("xyz", map(float, words[:3]), strict=True))
    return Rotation.from_euler(order, [angles[axis] for axis in order], degrees=degrees).as_matrix()


def _read_text(path: str) -> str:
    return storage.read_bytes(path).decode("utf-8", errors="replace")
