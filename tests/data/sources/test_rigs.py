from collections.abc import Callable

import pytest

from tests.data.sources.people import JOINTS, Person, walk
from vibe_ray.data.sources.rigs import match_rig

Name = Callable[[str], str]


def limbs(pattern: str, words: str, trunk: str) -> Name:
    """Names of limbs by a pattern of {side}, {Side}, {s}, {S} and {word}, and of the trunk."""
    order = ["hip", "knee", "ankle", "foot", "collar", "shoulder", "elbow", "wrist"]
    by_joint = dict(zip(order, words.split(), strict=True))
    by_joint |= dict(zip(list(JOINTS)[:6], trunk.split(","), strict=True))

    def name(joint: str) -> str:
        side, _, part = joint.rpartition("_")
        if not side:
            return by_joint[joint]
        sides = {"side": side, "Side": side.title(), "s": side[0], "S": side[0].upper()}
        return pattern.format(word=by_joint[part], **sides)

    return name


MIXAMO = limbs(
    "{Side}{word}",
    "UpLeg Leg Foot ToeBase Shoulder Arm ForeArm Hand",
    "Hips,Spine,Spine1,Spine2,Neck,Head",
)
UNREAL = limbs(
    "{word}_{s}",
    "thigh calf foot ball clavicle upperarm lowerarm hand",
    "pelvis,spine_01,spine_02,spine_03,neck_01,head",
)
RIGS: dict[str, Name] = {
    "MotionBuilder": MIXAMO,
    "Unreal": UNREAL,
    "SMPL": lambda joint: joint,
    "SMPL in a model of its own": lambda joint: f"f_avg_{joint.title()}",
    "Rokoko": limbs(
        "{Side}{word}",
        "Thigh Shin Foot Toe Shoulder Arm ForeArm Hand",
        "Hips,Spine,Spine1,Chest,Neck,Head",
    ),
    "Biovision": limbs(
        "{Side}{word}",
        "Hip Knee Ankle Toe Collar Shoulder Elbow Wrist",
        "Hips,Chest,Chest2,Chest3,Neck,Head",
    ),
    "Poser": limbs(
        "{s}{word}",
        "Thigh Shin Foot Toe Collar Shldr ForeArm Hand",
        "hip,abdomen,abdomen2,chest,neck,head",
    ),
    "Genesis": limbs(
        "{s}{word}",
        "ThighBend Shin Foot Toe Collar ShldrBend ForearmBend Hand",
        "pelvis,abdomenLower,abdomenUpper,chestLower,neckLower,head",
    ),
    "Acclaim": limbs(
        "{s}{word}",
        "femur tibia foot toes clavicle humerus radius hand",
        "root,lowerback,upperback,thorax,lowerneck,head",
    ),
    "Biped": lambda joint: (
        "Bip001 "
        + limbs(
            "{S} {word}",
            "Thigh Calf Foot Toe0 Clavicle UpperArm Forearm Hand",
            "Pelvis,Spine,Spine1,Spine2,Neck,Head",
        )(joint)
    ),
    "VRM": lambda joint: (
        "J_Bip_"
        + limbs(
            "{S}_{word}",
            "UpperLeg LowerLeg Foot ToeBase Shoulder UpperArm LowerArm Hand",
            "C_Hips,C_Spine,C_Chest,C_UpperChest,C_Neck,C_Head",
        )(joint)
    ),
    "OptiTrack": limbs(
        "{S}{word}",
        "Thigh Shin Foot Toe Shoulder UArm FArm Hand",
        "Hip,Ab,Ab2,Chest,Neck,Head",
    ),
    "Kinect": limbs(
        "{word}{Side}",
        "Hip Knee Ankle Foot Clavicle Shoulder Elbow Wrist",
        "Pelvis,SpineBase,SpineNavel,SpineChest,Neck,Head",
    ),
    "Bandai-Namco": limbs(
        "{word}_{S}",
        "UpperLeg LowerLeg Foot Toes Shoulder UpperArm LowerArm Hand",
        "Hips,Spine,Chest,Chest2,Neck,Head",
    ),
    "Blender": limbs(
        "DEF-{word}.{S}",
        "thigh shin foot toe shoulder upper_arm forearm hand",
        "DEF-spine,DEF-spine.001,DEF-spine.002,DEF-spine.003,DEF-neck,DEF-head",
    ),
}


def found_in(person: Person, name: Name, known: dict[str, str] | None = None) -> dict[str, str]:
    """The person's joint by SMPL's."""
    joints = list(person.parents)
    parents = [joints.index(above) if above else -1 for above in person.parents.values()]
    match = match_rig([name(joint) for joint in joints], parents, known)
    return {joint: joints[index] for joint, index in match.items()}


def itself(joints: list[str]) -> dict[str, str]:
    return {joint: joint for joint in joints}


@pytest.mark.parametrize("rig", RIGS)
def test_every_rig_is_told_by_its_names(rig: str) -> None:
    assert found_in(walk(2), RIGS[rig]) == itself(list(JOINTS))


@pytest.mark.parametrize(
    "spell",
    [
        "mixamorig:{}",
        "mixamorig1_{}",
        "Character1_{}",
        "Armature|Root:{}",
        "LOCOMOTION{}",
        "Bip01 {}",
        "{}_jnt",
        "SK_{}_001",
        "Человек {}",
    ],
)
@pytest.mark.parametrize("rig", ["MotionBuilder", "Unreal", "SMPL"])
@pytest.mark.parametrize("case", [str, str.upper, str.lower])
def test_what_all_names_share_does_not_matter(
    spell: str, rig: str, case: Callable[[str], str]
) -> None:
    assert found_in(walk(2), lambda j: case(spell.format(RIGS[rig](j)))) == itself(list(JOINTS))


def test_a_root_without_the_prefix_of_the_rest() -> None:
    name = {"pelvis": "Reference", "head": "Head"}
    found = found_in(walk(2), lambda joint: name.get(joint) or "Actor2_" + MIXAMO(joint))
    assert found == itself(list(JOINTS))


@pytest.mark.parametrize(
    ("gone", "expected"),
    [
        (["spine1"], {"spine1": "spine2", "spine2": None}),
        (["spine1", "spine2"], {"spine1": None, "spine2": None}),
        (["neck"], {"neck": None}),
        (["spine1", "spine2", "neck"], {"spine1": None, "spine2": None, "neck": None}),
        (["left_collar", "right_collar"], {"left_collar": None, "right_collar": None}),
        (["left_foot", "right_foot"], {"left_foot": None, "right_foot": None}),
        (["left_wrist", "right_wrist"], {"left_wrist": None, "right_wrist": None}),
    ],
)
@pytest.mark.parametrize("rig", ["MotionBuilder", "Biovision", "Unreal", "SMPL"])
def test_the_chest_is_where_the_arms_hang(
    gone: list[str], expected: dict[str, str | None], rig: str
) -> None:
    found = found_in(walk(2).without(*gone), RIGS[rig])
    wanted = {**itself(list(JOINTS)), **expected}
    assert found == {joint: name for joint, name in wanted.items() if name}
    assert found["spine3"] == "spine3"  # whatever it is called


@pytest.mark.parametrize(
    ("num_more", "expected"), [(1, ("spine1", "spine3")), (2, ("spine1", "spine3"))]
)
def test_of_many_spine_joints_the_last_is_the_chest(
    num_more: int, expected: tuple[str, str]
) -> None:
    arms_and_neck = ("neck", "left_collar", "right_collar")
    person, chest = walk(2), "spine3"
    for number in range(num_more):
        person = person.with_joint(f"more{number}", chest, (0, 5, 0), bears=arms_and_neck)
        chest = f"more{number}"
    found = found_in(person, lambda joint: MIXAMO(joint) if joint in JOINTS else joint)
    assert (found["spine1"], found["spine2"], found["spine3"]) == (*expected, chest)


def test_arms_on_the_neck_and_legs_on_the_spine() -> None:
    """As Bipeds of 3ds Max have it."""
    person = walk(2)
    person = person.with_joint("low", "pelvis", (0, 5, 0), bears=("left_hip", "right_hip"))
    person.parents.update(left_collar="neck", right_collar="neck", spine1="low")
    found = found_in(person, lambda joint: MIXAMO(joint) if joint in JOINTS else joint)
    assert (found["pelvis"], found["spine3"]) == ("low", "neck")
    assert "neck" not in found
    assert (found["spine1"], found["spine2"]) == ("spine1", "spine3")


def test_joints_beside_the_body_are_passed_over() -> None:
    person = walk(2).with_joint("HeadTop_End", "head", (0, 9, 0))
    for side in ("Left", "Right"):
        low = side.lower()
        more = [
            (f"{side}HipJoint", "pelvis", (f"{low}_hip",)),
            (f"{side}UpLegRoll", f"{low}_hip", (f"{low}_knee",)),
            (f"{side}ArmTwist", f"{low}_shoulder", (f"{low}_elbow",)),
            (f"{side}ForeArmTwist1", f"{low}_elbow", ()),
            (f"{side}Foot_IK", f"{low}_ankle", ()),
            (f"{side}ToeBase_End", f"{low}_foot", ()),
            *((f"{side}Hand{finger}1", f"{low}_wrist", ()) for finger in ("Thumb", "Index")),
        ]
        for name, parent, bears in more:
            person = person.with_joint(name, parent, (1, 1, 1), bears=bears)
    found = found_in(person, lambda joint: MIXAMO(joint) if joint in JOINTS else joint)
    assert found == itself(list(JOINTS))


def test_the_hand_comes_after_what_turns_the_forearm() -> None:
    """Acclaim's skeletons, and cgspeed's conversion of CMU's."""
    for after, rig in (("lhand", "Acclaim"), ("LeftFingerBase", "MotionBuilder")):
        person = walk(2).with_joint("tip", "left_wrist", (2, 0, 0))
        names = {"tip": after, "left_wrist": {"lhand": "lwrist"}.get(after, "LeftHand")}
        found = found_in(person, lambda joint: names.get(joint) or RIGS[rig](joint))  # noqa: B023
        assert found["left_wrist"] == "tip"
        assert found["right_wrist"] == "right_wrist"


def test_of_two_thighs_the_one_above_the_knee() -> None:
    person = walk(2).with_joint("LeftHip", "pelvis", (5, 0, 0), bears=("left_hip",))
    found = found_in(person, lambda joint: MIXAMO(joint) if joint in JOINTS else joint)
    assert found["left_hip"] == "left_hip"


def test_missing_joints_are_named_and_how_to_name_them() -> None:
    names = {"left_knee": "Tentacle", "head": "Crown", "neck": "Stalk"}
    with pytest.raises(
        ValueError,
        match=r"joints not found: head, left_knee\. The skeleton has Hips, .*Tentacle.* --names",
    ) as info:
        found_in(walk(2), lambda joint: names.get(joint) or MIXAMO(joint))
    assert "rigs.py" not in str(info.value)


def test_what_a_user_says_goes_before_what_names_tell() -> None:
    names = {"left_knee": "Tentacle", "head": "Crown"}
    person = walk(2).with_joint("LeftLegHelper", "left_hip", (0, -20, 0), bears=("left_knee",))

    def name(joint: str) -> str:
        return names.get(joint) or (MIXAMO(joint) if joint in JOINTS else joint)

    said = {"left_knee": "tentacle", "head": "Crown", "spine2": "", "left_collar": ""}
    found = found_in(person, name, said)
    expected = itself(list(JOINTS))
    del expected["spine2"], expected["left_collar"]
    assert found == expected
    with pytest.raises(ValueError, match=r"no joint 'Claw', which the names file has for left_kn"):
        found_in(person, name, said | {"left_knee": "Claw"})


def test_a_skeleton_of_names_without_meaning_is_named_whole() -> None:
    names = {joint: f"joint{number}" for number, joint in enumerate(JOINTS)}
    with pytest.raises(ValueError, match="joints not found: pelvis, spine3, head, left_hip"):
        found_in(walk(2), lambda joint: names[joint])
    assert found_in(walk(2), lambda joint: names[joint], names) == itself(list(JOINTS))
