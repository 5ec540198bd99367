import pytest

from vibe_ray.body.skeletons import SMPL_JOINTS
from vibe_ray.data.sources.rigs import ACCLAIM, BVH_RIGS, match_rig

MIXAMO = [
    *("Hips", "Spine", "Spine1", "Spine2", "Neck", "Head", "HeadTop_End"),
    *(f"{side}{joint}" for side in ("Left", "Right") for joint in ("Shoulder", "Arm", "ForeArm")),
    *(f"{side}{joint}" for side in ("Left", "Right") for joint in ("Hand", "UpLeg", "Leg", "Foot")),
    *("LeftToeBase", "RightToeBase"),
]


@pytest.mark.parametrize("rig", [*BVH_RIGS.values(), ACCLAIM])
def test_rigs_name_smpl_joints(rig: dict[str, tuple[str, ...]]) -> None:
    assert set(rig) <= set(SMPL_JOINTS)


@pytest.mark.parametrize("name", BVH_RIGS)
def test_a_rig_fits_its_own_names_best(name: str) -> None:
    names = [alternatives[0] for alternatives in BVH_RIGS[name].values()]
    match = match_rig(names, BVH_RIGS.values())
    assert {joint: names[index] for joint, index in match.items()} == {
        joint: alternatives[0] for joint, alternatives in BVH_RIGS[name].items()
    }


@pytest.mark.parametrize("prefix", ["", "mixamorig:", "mixamorig_", "Character1:Reference:"])
def test_name_spaces_and_spelling_do_not_matter(prefix: str) -> None:
    match = match_rig([prefix + name for name in MIXAMO], BVH_RIGS.values())
    assert MIXAMO[match["left_shoulder"]] == "LeftArm"
    assert MIXAMO[match["left_collar"]] == "LeftShoulder"
    assert MIXAMO[match["spine3"]] == "Spine2"
    assert len(match) == 22


def test_an_unknown_skeleton_lists_what_was_found_and_what_is_missing() -> None:
    names = [name for name in MIXAMO if name not in ("LeftLeg", "Head")]
    with pytest.raises(
        ValueError, match=r"Hips, Spine.* lacks head \(head\), left_knee \(leftleg\)\. Add"
    ):
        match_rig(names, BVH_RIGS.values())
