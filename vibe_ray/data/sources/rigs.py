"""Which joint of a foreign skeleton is which SMPL joint? Asked of the names and of the structure.

Names tell the limbs: `LeftUpLeg`, `thigh_l`, `Bip01 L Thigh`, `lfemur` and `left_hip` are one
joint. Case, blanks, separators, name spaces and whatever all names have before or after them
(`mixamorig1_`, `Character1_`, `_jnt`) do not matter, and a word that means one joint in one rig
and another in the next (`shoulder`, `leg`, `foot`) is settled by what stands above and below it.
The structure tells the trunk: the pelvis is what the legs hang on, the chest is what the arms hang
on, however many joints are between them and whatever they are called. Joints between and beside
these, such as twists, fingers and faces, are passed over. A names file says the rest (`hints.py`).

SMPL joints that a rig lacks are filled in by `retarget.py`: a spine joint shares its neighbors'
turn, a collar takes part of the arm's, feet and hands follow what they hang on.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import pairwise, product

_SIDES = {"left": ("left", "l", "lft"), "right": ("right", "r", "rgt")}
_LEG = {
    "hip": "hip thigh thighbend upthigh upleg upperleg femur leg",
    "knee": "knee shin calf tibia shank leg lowleg lowerleg foreleg",
    "ankle": "ankle foot",
    "foot": "foot toe toes toe0 toebase ball",
}
_ARM = {
    "collar": "collar clavicle clav collarbone scapula shoulder",
    "shoulder": "shoulder shldr shldrbend arm upperarm uparm uarm humerus",
    "elbow": "elbow forearm forearmbend farm lowerarm lowarm radius",
    "wrist": "wrist hand fingerbase",
}
"""What a joint is called, by SMPL's joint without its side; a word may stand in several rows."""
_HEAD = ("head",)
_NECK = ("neck", "neck1", "neck01", "lowerneck", "necklower")
_TRUNK = ("hips", "hip", "pelvis", "root", "spine", "spine1", "spine2", "chest", *_HEAD, *_NECK)
"""Known so that they count when the prefix of all names is looked for."""
_GIVES_WAY = {"hand": "fingerbase", "wrist": "radius"}
"""Words that mean a turn of the forearm where the other one is in the same arm: in Acclaim's
skeletons and what is made of them, the hand is the joint after `wrist`."""
_BEARERS = ("hip", "shoulder")
_NEEDED_OF_LIMBS = ("hip", "knee", "ankle", "shoulder", "elbow")
REQUIRED = (
    "pelvis",
    "spine3",
    "head",
    *(f"{side}_{joint}" for side in _SIDES for joint in _NEEDED_OF_LIMBS),
)
"""Without these a recording is refused."""


def match_rig(
    names: Sequence[str], parents: Sequence[int], known: Mapping[str, str] | None = None
) -> dict[str, int]:
    """Index of the source joint for each SMPL joint's name that the skeleton has.

    Args:
        names: Joint names (S).
        parents: (S) index of the joint that each hangs on, -1 for the root, parents first.
        known: The skeleton's joint by SMPL's, as `hints.read_names` reads it; empty for none.

    Raises:
        ValueError: Joints that are needed were not found, or `known` names one that is not there.
    """
    said = {joint: _find(name, joint, names) for joint, name in (known or {}).items()}
    taken = {index for index in said.values() if index is not None}
    words = {i: word for i, word in enumerate(_words(names)) if word and i not in taken}
    joints: dict[str, int | None] = {}
    for side in _SIDES:
        for rows in (_LEG, _ARM):
            joints |= _limb(side, rows, words, parents, said)
    joints |= said
    _add_trunk(joints, words, parents)
    found = {joint: index for joint, index in joints.items() if index is not None}
    if missing := [joint for joint in REQUIRED if joint not in found]:
        raise ValueError(
            f"joints not found: {', '.join(missing)}. The skeleton has {', '.join(names)}. Say "
            f"which of them is which in a file of lines such as '{missing[-1]} = {names[-1]}', "
            "and give it with --names"
        )
    return found


def _find(name: str, joint: str, names: Sequence[str]) -> int | None:
    """Index of the joint that a user calls so: exactly, or but for case and separators."""
    if not name:
        return None
    for spell in (str, _plain):
        alike = [index for index, other in enumerate(names) if spell(other) == spell(name)]
        if alike:
            return alike[0]
    raise ValueError(
        f"no joint {name!r}, which the names file has for {joint}; the skeleton has "
        f"{', '.join(names)}"
    )


def _spellings() -> dict[str, tuple[str, str]]:
    """Side ('' for the trunk) and bare word of each name that is known."""
    known = {mark + word: ("", word) for word in _TRUNK for mark in ("", "c")}  # c: center
    for side, marks in _SIDES.items():
        for word in {
            word for rows in (_LEG, _ARM) for row in rows.values() for word in row.split()
        }:
            for mark in marks:
                known[mark + word] = known[word + mark] = (side, word)
    return known


_SPELLINGS = _spellings()


def _words(names: Sequence[str]) -> list[tuple[str, str] | None]:
    """Side and bare word of each name, or None for one that says nothing.

    What stands before and after the known words of most names, such as `mixamorig1`, is no part of
    them; names that lack it are read as they are.
    """
    plain = [_plain(name) for name in names]
    around: Counter[tuple[str, str]] = Counter()
    for name in set(plain):
        around.update(
            {
                (name[:at], name[at + len(word) :])
                for word in _SPELLINGS
                if (at := name.find(word)) >= 0
            }
        )
    ranked = sorted(around.items(), key=lambda entry: (-entry[1], sum(map(len, entry[0]))))
    before, after = ranked[0][0] if ranked else ("", "")
    return [
        _SPELLINGS.get(name.removeprefix(before).removesuffix(after)) or _SPELLINGS.get(name)
        for name in plain
    ]


def _plain(name: str) -> str:
    """A name without its name space, case and separators."""
    return re.sub(r"[\W_]+", "", re.split(r"[:|]", name)[-1].lower())


def _limb(
    side: str,
    rows: Mapping[str, str],
    words: Mapping[int, tuple[str, str]],
    parents: Sequence[int],
    said: Mapping[str, int | None],
) -> dict[str, int | None]:
    """SMPL's joints of one limb: of all chains of joints with its words, what fits one best."""
    rows = {joint: row for joint, row in rows.items() if f"{side}_{joint}" not in said}
    options = {
        index: [joint for joint, row in rows.items() if found[1] in row.split()]
        for index, found in words.items()
        if found[0] == side
    }
    beside = {words[index][1] for index, joints in options.items() if joints}
    options = {i: j for i, j in options.items() if _GIVES_WAY.get(words[i][1]) not in beside}
    best: dict[str, int] = {}
    for end in options:
        chain = [index for index in reversed(ancestors(end, parents)) if options.get(index)]
        best = max(best, _best_assignment(chain, options, list(rows)), key=_goodness)
    return {f"{side}_{joint}": index for joint, index in best.items()}


def _best_assignment(
    chain: Sequence[int], options: Mapping[int, Sequence[str]], order: Sequence[str]
) -> dict[str, int]:
    """Joints of a chain by SMPL joint, further out for further out; as many as can be."""
    best: dict[str, int] = {}
    for choice in product(*((*options[index], "") for index in chain)):
        places = [order.index(joint) for joint in choice if joint]
        if all(inner < outer for inner, outer in pairwise(places)):
            match = {joint: index for joint, index in zip(choice, chain, strict=True) if joint}
            best = max(best, match, key=_goodness)
    return best


def _goodness(match: Mapping[str, int]) -> tuple[int, int, int]:
    """How good a match is: by the joints that are needed, by all, by where they are.

    Of two joints with a thigh's name, the one nearer to the knee bears it; of two with a hand's,
    the one nearer to the elbow.
    """
    inward = sum(index if joint in _BEARERS else -index for joint, index in match.items())
    return sum(joint in _NEEDED_OF_LIMBS for joint in match), len(match), inward


def _add_trunk(
    joints: dict[str, int | None],
    words: Mapping[int, tuple[str, str]],
    parents: Sequence[int],
) -> None:
    """Add the trunk's joints by what hangs on them."""
    hips, shoulders = ([joints.get(f"{s}_{j}") for s in _SIDES] for j in ("hip", "shoulder"))
    joints.setdefault("pelvis", _common_ancestor(hips, parents))
    joints.setdefault("spine3", _common_ancestor(shoulders, parents))
    heads = [index for index, (_, word) in words.items() if word in _HEAD]
    necks = [index for index, (_, word) in words.items() if word in _NECK]
    joints.setdefault("head", next(iter(heads or necks), None))
    pelvis, chest, head = joints["pelvis"], joints["spine3"], joints["head"]
    if pelvis is None or chest is None or head is None:
        return
    if spine := _between(pelvis, chest, parents):
        joints.setdefault("spine1", spine[0])
    if len(spine) > 1:
        joints.setdefault("spine2", spine[(len(spine) + 1) // 2])
    if neck := _between(chest, head, parents):
        joints.setdefault("neck", next((index for index in neck if index in necks), neck[0]))


def ancestors(joint: int, parents: Sequence[int]) -> list[int]:
    """A joint and all that it hangs on, up to the root."""
    line = [joint]
    while parents[line[-1]] >= 0:
        line.append(parents[line[-1]])
    return line


def _common_ancestor(joints: Sequence[int | None], parents: Sequence[int]) -> int | None:
    """The nearest joint that all of them hang on, themselves not among them."""
    lines = [ancestors(joint, parents)[1:] for joint in joints if joint is not None]
    if not lines or len(lines) < len(joints):
        return None
    return next((joint for joint in lines[0] if all(joint in line for line in lines)), None)


def _between(start: int, end: int, parents: Sequence[int]) -> list[int]:
    """The joints from one to another, both left out, those that bear `start` too left out."""
    line = set(ancestors(start, parents))
    return [joint for joint in reversed(ancestors(end, parents)[1:]) if joint not in line]
