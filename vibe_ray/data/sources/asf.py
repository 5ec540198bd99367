"""Acclaim's skeletons (`.asf`): a rest pose, and the axes about which each bone turns.

Shapes: S bones and the root.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation

ROOT = "root"
TURNS = ("rx", "ry", "rz")
_CHANNELS = ("tx", "ty", "tz", *TURNS, "l")
"""Places, turns, and the length of a bone, which are not used."""


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


def parse_asf(text: str) -> AcclaimSkeleton:
    """Read a skeleton file's text.

    Raises:
        ValueError: Not a skeleton file, or bones and hierarchy contradict each other.
    """
    sections = {
        keyword.lower(): content
        for keyword, content in re.findall(
            r"^[ \t]*:(\w+)(.*?)(?=^[ \t]*:|\Z)", without_comments(text), re.MULTILINE | re.DOTALL
        )
    }
    if missing := {"bonedata", "hierarchy", ROOT} - sections.keys():
        raise ValueError(f"not an ASF skeleton: no :{', :'.join(sorted(missing))} in it")
    blocks = [_fields(block) for block in _blocks(sections["bonedata"])]
    bones = {fields["name"][0]: fields for fields in blocks if fields.get("name")}
    root = _fields(sections[ROOT])
    bones[ROOT] = {
        "direction": ["0", "0", "0"],
        "length": ["0"],
        "axis": [*root.get("orientation", ["0", "0", "0"]), *root.get("axis", ["XYZ"])],
        "dof": root.get("order", []),
    }
    parent_of = _hierarchy(sections["hierarchy"], bones)
    names = tuple(parent_of)
    units = _fields(sections.get("units", "")).get("angle", ["deg"])
    degrees = "deg" in " ".join(units).lower()
    read = [_vector_and_axes(name, bones[name], degrees) for name in names]
    return AcclaimSkeleton(
        names=names,
        parents=tuple(names.index(parent) if parent else -1 for parent in parent_of.values()),
        bones=np.stack([vector for vector, _ in read]),
        axes=np.stack([axes for _, axes in read]),
        channels=tuple(_channels(name, bones[name].get("dof", [])) for name in names),
    )


def _vector_and_axes(
    name: str, fields: Mapping[str, Sequence[str]], degrees: bool
) -> tuple[np.ndarray, np.ndarray]:
    """A bone from its start to its end (3,), and its turning axes (3, 3)."""
    words = [fields.get(key, []) for key in ("direction", "length", "axis")]
    lacking = [
        key
        for key, found, count in zip(("direction", "length", "axis"), words, (3, 1, 4), strict=True)
        if len(found) < count
    ]
    if lacking:
        raise ValueError(f"ASF skeleton: bone {name!r} lacks its {' and '.join(lacking)}")
    direction, length, axis = words
    try:
        vector = np.array([float(word) for word in direction[:3]]) * float(length[0])
        return vector, _axes(axis, degrees)
    except ValueError as error:
        raise ValueError(f"ASF skeleton: bone {name!r}: {error}") from error


def _channels(name: str, words: Sequence[str]) -> tuple[str, ...]:
    """The numbers that frames give for a bone, in small letters."""
    channels = tuple(word.lower() for word in words)
    if unknown := [word for word in channels if word not in _CHANNELS]:
        raise ValueError(f"ASF bone {name!r} has unknown degrees of freedom {', '.join(unknown)}")
    if len(set(channels)) < len(channels):
        raise ValueError(f"ASF bone {name!r} lists a degree of freedom twice: {' '.join(words)}")
    return channels


def without_comments(text: str) -> str:
    """A file's text without its comments."""
    return re.sub(r"#.*", "", text)


def _hierarchy(section: str, bones: Mapping[str, object]) -> dict[str, str]:
    """Parent's name of each bone, parents first; the root's is empty."""
    parent_of = {ROOT: ""}
    for line in section.splitlines():
        parent, *children = line.split() or [""]
        if parent.lower() in ("", "begin", "end"):
            continue
        for bone in (parent, *children):
            if bone not in bones:
                raise ValueError(f"ASF hierarchy names {bone!r}, which is not in :bonedata")
        if again := [bone for bone in children if bone in parent_of]:
            raise ValueError(f"ASF hierarchy hangs {again[0]!r} on two bones")
        if parent not in parent_of:
            raise ValueError(f"ASF hierarchy lists children of {parent!r} before {parent!r} itself")
        parent_of.update(dict.fromkeys(children, parent))
    return parent_of


def _blocks(section: str) -> list[str]:
    """What stands between lines that say `begin` and `end`, in any case."""
    between = r"^[ \t]*begin[ \t\r]*$(.*?)^[ \t]*end[ \t\r]*$"
    return re.findall(between, section, re.MULTILINE | re.DOTALL | re.IGNORECASE)


def _fields(block: str) -> dict[str, list[str]]:
    """First word of each line -> the others."""
    lines = [line.split() for line in block.splitlines() if line.strip()]
    return {line[0].lower(): line[1:] for line in lines}


def _axes(words: Sequence[str], degrees: bool) -> np.ndarray:
    """Rotation (3, 3) written as three angles and their order, such as `0 0 20 XYZ`."""
    order = words[3].lower()
    if sorted(order) != ["x", "y", "z"]:
        raise ValueError(f"{words[3]!r} is no order of three axes")
    angles = dict(zip("xyz", map(float, words[:3]), strict=True))
    return Rotation.from_euler(order, [angles[axis] for axis in order], degrees=degrees).as_matrix()
