import pytest

from vibe_ray.body import skeletons
from vibe_ray.body.skeletons import (
    COCO_17,
    COMMON_14,
    EVALUATION_14_FROM_H36M,
    EXTRA_JOINTS,
    H36M_17,
    JOINTS_54,
    KEYPOINTS,
    KEYPOINTS_FROM_54,
    MPII3D_28,
    OPENPOSE_25,
    POSETRACK_17,
    POSETRACK_CATEGORIES,
    SMPL_JOINTS,
    SMPL_MIRROR,
    SMPL_PARENTS,
    VERTEX_JOINTS,
    conversion,
    indices,
    mirror_table,
    mirrored_name,
)

ORDERS = {
    name: value
    for name, value in vars(skeletons).items()
    if isinstance(value, tuple) and value and isinstance(value[0], str)
}
# As published with VIBE's and SPIN's code, number by number.
SPIN_MAP = [
    *(24, 12, 17, 19, 21, 16, 18, 20, 0, 2, 5, 8, 1, 4, 7, 25, 26, 27, 28, 29, 30, 31, 32, 33, 34),
    *(8, 5, 45, 46, 4, 7, 21, 19, 17, 16, 18, 20, 47, 48, 49, 50, 51, 52, 53, 24, 26, 25, 28, 27),
]
H36M_TO_J14 = [6, 5, 4, 1, 2, 3, 16, 15, 14, 11, 12, 13, 8, 10]


@pytest.mark.parametrize("name", ORDERS)
def test_an_order_names_each_joint_once_and_says_how_many(name: str) -> None:
    order = ORDERS[name]
    assert len(set(order)) == len(order)
    digits = name.rpartition("_")[2]
    if digits.isdigit():
        assert len(order) == int(digits)


def test_sizes() -> None:
    sizes = [len(order) for order in (SMPL_JOINTS, VERTEX_JOINTS, EXTRA_JOINTS, KEYPOINTS)]
    assert sizes == [24, 21, 9, 49]


def test_keypoints_and_evaluation_joints_are_those_of_vibe() -> None:
    assert KEYPOINTS_FROM_54 == SPIN_MAP
    assert EVALUATION_14_FROM_H36M == H36M_TO_J14


def test_the_two_necks_are_different_joints() -> None:
    assert JOINTS_54[KEYPOINTS_FROM_54[KEYPOINTS.index("OP Neck")]] == "neck"
    assert JOINTS_54[KEYPOINTS_FROM_54[KEYPOINTS.index("neck")]] == "Neck (LSP)"


def test_parents_come_before_children() -> None:
    assert SMPL_PARENTS[0] == -1
    assert all(parent < joint for joint, parent in enumerate(SMPL_PARENTS))
    for joint, parent in enumerate(SMPL_PARENTS[1:], start=1):
        mirrored = SMPL_PARENTS[SMPL_MIRROR[joint]]
        assert mirrored == SMPL_MIRROR[parent]


@pytest.mark.parametrize("name", ORDERS)
def test_mirror_is_an_involution_that_swaps_sides(name: str) -> None:
    order = ORDERS[name]
    table = mirror_table(order)
    assert [table[other] for other in table] == list(range(len(order)))
    on_middle = {joint for joint, other in zip(order, table, strict=True) if order[other] == joint}
    middle_words = {
        *("pelvis", "hip", "nose", "neck", "head", "head_top", "head_bottom", "headtop", "thorax"),
        *("spine1", "spine2", "spine3", "spine4", "OP Nose", "OP Neck", "OP MidHip"),
        *("Neck (LSP)", "Top of Head (LSP)", "Pelvis (MPII)", "Thorax (MPII)"),
        *("Spine (H36M)", "Jaw (H36M)", "Head (H36M)"),
    }
    assert on_middle <= middle_words


@pytest.mark.parametrize(
    ("name", "other"),
    [
        ("left_hip", "right_hip"),
        ("OP RShoulder", "OP LShoulder"),
        ("rankle", "lankle"),
        ("LHeel", "RHeel"),
        ("Left Hip (LSP)", "Right Hip (LSP)"),
        ("neck", "neck"),
        ("OP Neck", "OP Neck"),
    ],
)
def test_mirrored_names(name: str, other: str) -> None:
    assert mirrored_name(name) == other
    assert mirrored_name(other) == name


def test_given_mirror_tables() -> None:
    assert mirror_table(SMPL_JOINTS) == SMPL_MIRROR
    # COCO's usual flip table.
    assert mirror_table(COCO_17) == [0, 2, 1, 4, 3, 6, 5, 8, 7, 10, 9, 12, 11, 14, 13, 16, 15]


@pytest.mark.parametrize("name", ORDERS)
def test_conversion_pairs_equal_names(name: str) -> None:
    source = ORDERS[name]
    target_idx, source_idx = conversion(source, KEYPOINTS)
    assert [KEYPOINTS[i] for i in target_idx] == [source[i] for i in source_idx]
    assert {KEYPOINTS[i] for i in target_idx} == set(source) & set(KEYPOINTS)


def test_data_sets_reach_the_key_points() -> None:
    for order in (COCO_17, COMMON_14, H36M_17, OPENPOSE_25, POSETRACK_17):
        assert len(conversion(order, KEYPOINTS)[0]) == len(order)
    assert set(COMMON_14) <= set(MPII3D_28)
    assert len(POSETRACK_CATEGORIES) == len(POSETRACK_17)


def test_an_unknown_name_is_an_error() -> None:
    with pytest.raises(ValueError, match="no joints \\['tail'\\]"):
        indices(["nose", "tail"], COCO_17)
