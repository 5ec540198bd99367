"""Which joint of a foreign skeleton is which SMPL joint? Names as data; a new rig is one entry.

SMPL joints that a rig lacks are filled in by `retarget.py`: a spine joint shares its neighbors'
turn, a collar takes part of the arm's, feet and hands follow what they hang on.
"""

from collections.abc import Iterable, Mapping, Sequence

from vibe_ray.body.skeletons import SMPL_JOINTS

REQUIRED = (
    "pelvis",
    "spine3",
    "head",
    *(
        f"{side}_{joint}"
        for side in ("left", "right")
        for joint in ("hip", "knee", "ankle", "shoulder", "elbow")
    ),
)
"""Without these a recording is refused."""


def _rig(trunk: Mapping[str, str], limbs: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    """Source names (alternatives separated by blanks) by SMPL joint; {side}: left, {s}: l."""
    rig = {joint: tuple(names.split()) for joint, names in trunk.items()}
    for side in ("left", "right"):
        for joint, names in limbs.items():
            rig[f"{side}_{joint}"] = tuple(names.format(side=side, s=side[0]).split())
    return rig


ACCLAIM = _rig(
    {
        "pelvis": "root",
        "spine1": "lowerback",
        "spine2": "upperback",
        "spine3": "thorax",
        "neck": "lowerneck",
        "head": "head",
    },
    {
        "collar": "{s}clavicle",
        "shoulder": "{s}humerus",
        "elbow": "{s}radius",
        "wrist": "{s}hand",
        "hip": "{s}femur",
        "knee": "{s}tibia",
        "ankle": "{s}foot",
        "foot": "{s}toes",
    },
)
"""ASF/AMC as CMU writes it."""

_FULL_NAME_LIMBS = {
    "collar": "{side}shoulder",
    "shoulder": "{side}arm",
    "elbow": "{side}forearm",
    "wrist": "{side}hand",
    "hip": "{side}upleg",
    "knee": "{side}leg",
    "ankle": "{side}foot",
    "foot": "{side}toebase {side}toe",
}
_JOINT_NAME_LIMBS = {
    "collar": "{side}collar",
    "shoulder": "{side}shoulder",
    "elbow": "{side}elbow",
    "wrist": "{side}wrist",
    "hip": "{side}hip",
    "knee": "{side}knee",
    "ankle": "{side}ankle",
    "foot": "{side}toes {side}toe",
}
_HEAD = {"neck": "neck", "head": "head"}

BVH_RIGS: Mapping[str, Mapping[str, Sequence[str]]] = {
    "CMU, cgspeed's conversion": _rig(
        {"pelvis": "hips", "spine1": "lowerback", "spine2": "spine", "spine3": "spine1", **_HEAD},
        # LeftHand is Acclaim's lwrist, the turning of the forearm; LeftFingerBase is the hand.
        {**_FULL_NAME_LIMBS, "wrist": "{side}fingerbase"},
    ),
    "MotionBuilder and Mixamo": _rig(
        {"pelvis": "hips", "spine1": "spine", "spine2": "spine1", "spine3": "spine2", **_HEAD},
        _FULL_NAME_LIMBS,
    ),
    "Poser and Daz": _rig(
        {"pelvis": "hip", "spine1": "abdomen", "spine3": "chest", **_HEAD},
        {
            "collar": "{s}collar",
            "shoulder": "{s}shldr",
            "elbow": "{s}forearm",
            "wrist": "{s}hand",
            "hip": "{s}thigh",
            "knee": "{s}shin",
            "ankle": "{s}foot",
            "foot": "{s}toe {s}toes",
        },
    ),
    "Biovision": _rig(
        {"pelvis": "hips", "spine1": "ab abdomen", "spine3": "chest", **_HEAD}, _JOINT_NAME_LIMBS
    ),
    "Xsens": _rig(
        {"pelvis": "hips", "spine1": "chest", "spine2": "chest3", "spine3": "chest4", **_HEAD},
        _JOINT_NAME_LIMBS,
    ),
}
"""Rigs of BVH files, by who writes them; of those that fit, the one with most joints counts."""


def match_rig(names: Sequence[str], rigs: Iterable[Mapping[str, Sequence[str]]]) -> dict[str, int]:
    """Index of the source joint for each SMPL joint's name, of the rig that fits `names` best.

    Letter case, blanks, underscores and name spaces (`mixamorig:`) do not matter.

    Raises:
        ValueError: No rig has all the joints that are needed; says which the nearest one misses.
    """
    found = {_plain(name): index for index, name in reversed(list(enumerate(names)))}
    matches = []
    for rig in rigs:
        match = {
            joint: found[name]
            for joint in SMPL_JOINTS
            for name in [next((name for name in rig.get(joint, ()) if name in found), None)]
            if name is not None
        }
        missing = [
            f"{joint} ({' or '.join(rig[joint])})" for joint in REQUIRED if joint not in match
        ]
        matches.append((not missing, len(match), match, missing))
    fits, _, best, missing = max(matches, key=lambda entry: entry[:2])
    if not fits:
        raise ValueError(
            f"unknown skeleton: its joints are {', '.join(names)}; the nearest known rig lacks "
            f"{', '.join(missing)}. Add its names to vibe_ray/data/converters/rigs.py"
        )
    return best


def _plain(name: str) -> str:
    name = name.rpartition(":")[2].lower()
    for character in "_- .":
        name = name.replace(character, "")
    return name.removeprefix("mixamorig")
