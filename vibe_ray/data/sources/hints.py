"""What a user knows about recordings that their files do not say, or say wrongly.

A names file (`--names`) says which of a skeleton's joints is which of SMPL's, one a line:

    # SMPL's joint = the file's; what is not listed is recognized by itself
    left_hip = thigh.L
    spine3 = Upper Chest
    left_collar =            # nothing behind it: the skeleton has none

A list of frame rates (`--source-fps`) names recordings by patterns, as the shell knows them, one a
line; the first that fits counts, and the file's own rate where none does:

    # recording below --raw, without its ending = frames per second
    salsa/* = 60
    * = 120
"""

import difflib
from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase

from vibe_ray import storage
from vibe_ray.body.skeletons import SMPL_JOINTS

FPS_RANGE = (5.0, 1000.0)
"""Rates at which people record motion, from sparse key-frames to high-speed cameras."""


def read_names(path: str) -> dict[str, str]:
    """Read a names file: the skeleton's joint by SMPL's, empty where the skeleton has none.

    Raises:
        FileNotFoundError: No such file.
        ValueError: A line that is no such pair, or an SMPL joint that there is not.
    """
    names: dict[str, str] = {}
    for where, joint, name in _pairs(path, "left_hip = LeftUpLeg"):
        if joint not in SMPL_JOINTS:
            near = difflib.get_close_matches(joint, SMPL_JOINTS, n=1)
            meant = f"did you mean {near[0]!r}?" if near else f"they are {', '.join(SMPL_JOINTS)}"
            raise ValueError(f"{where}: SMPL has no joint {joint!r}; {meant}")
        if joint in names:
            raise ValueError(f"{where}: {joint} is listed twice")
        names[joint] = name
    return names


def read_source_fps(text: str) -> dict[str, float]:
    """Frame rates by pattern: of a number, which holds for all files, or of a list's path.

    Raises:
        FileNotFoundError: Neither a number nor a file.
        ValueError: A rate that no recording has, or a line that is no such pair.
    """
    try:
        return {"*": checked_fps(float(text), f"--source-fps {text}")}
    except ValueError:
        if _is_number(text):
            raise
    rates: dict[str, float] = {}
    for where, pattern, value in _pairs(text, "salsa/* = 60"):
        if not _is_number(value):
            raise ValueError(f"{where}: {value!r} is no frame rate")
        rates.setdefault(pattern, checked_fps(float(value), where))
    return rates


def matching_pattern(name: str, patterns: Mapping[str, object]) -> str | None:
    """The first of the patterns that a recording's name fits."""
    return next((pattern for pattern in patterns if fnmatchcase(name, pattern)), None)


def checked_fps(fps: float, where: str) -> float:
    """Return a frame rate at which motion may have been recorded.

    Raises:
        ValueError: No recording has that rate.
    """
    low, high = FPS_RANGE
    if not low <= fps <= high:
        raise ValueError(
            f"{where}: {fps:.4g} frames per second, but motion is recorded at {low:g} to {high:g}: "
            "give the right rate with --source-fps"
        )
    return fps


def _pairs(path: str, example: str) -> Iterator[tuple[str, str, str]]:
    """Place, left and right of each line `left = right`; from a # on, a line is a comment."""
    try:
        text = storage.read_bytes(path).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ValueError(
            f"{path}: not a text in UTF-8, expected lines such as {example!r}"
        ) from None
    for number, line in enumerate(text.splitlines(), start=1):
        content = line.partition("#")[0].strip()
        if not content:
            continue
        left, sign, right = (part.strip() for part in content.partition("="))
        if not (left and sign):
            raise ValueError(f"{path}, line {number}: {content!r}: expected {example!r}")
        yield f"{path}, line {number}", left, right


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
