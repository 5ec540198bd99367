"""What are the joints called, and in which order does each data set list them?

The one place that knows joint names, orders and numbers. Everything else asks by name: `indices`
finds names in an order, `conversion` pairs two orders by equal names, the mirror tables swap left
and right. Orders are VIBE's; equal names mean the same joint.
"""

from collections.abc import Sequence

SMPL_JOINTS = (
    *("pelvis", "left_hip", "right_hip", "spine1", "left_knee", "right_knee", "spine2"),
    *("left_ankle", "right_ankle", "spine3", "left_foot", "right_foot", "neck", "left_collar"),
    *("right_collar", "head", "left_shoulder", "right_shoulder", "left_elbow", "right_elbow"),
    *("left_wrist", "right_wrist", "left_hand", "right_hand"),
)
"""SMPL's 24 joints: what a pose turns."""
POSE_DIM = 3 * len(SMPL_JOINTS)
NUM_BETAS = 10
SMPL_PARENTS = (-1, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 12, 13, 14, 16, 17, 18, 19, 20, 21)
"""The joint that each of SMPL's joints hangs on; -1 for the root."""
MIXAMO_NAMES = {
    **{"pelvis": "Hips", "spine1": "Spine", "spine2": "Spine1", "spine3": "Spine2"},
    **{"neck": "Neck", "head": "Head"},
    **{
        f"{side}_{joint}": side.capitalize() + name
        for side in ("left", "right")
        for joint, name in (
            *(("hip", "UpLeg"), ("knee", "Leg"), ("ankle", "Foot"), ("foot", "ToeBase")),
            *(("collar", "Shoulder"), ("shoulder", "Arm"), ("elbow", "ForeArm")),
            *(("wrist", "Hand"), ("hand", "HandMiddle1")),
        )
    },
}
"""What Mixamo's rig calls SMPL's joints, without its prefix."""

VERTEX_JOINTS = (
    *("nose", "reye", "leye", "rear", "lear"),
    *("LBigToe", "LSmallToe", "LHeel", "RBigToe", "RSmallToe", "RHeel"),
    *("lthumb", "lindex", "lmiddle", "lring", "lpinky"),
    *("rthumb", "rindex", "rmiddle", "rring", "rpinky"),
)
"""The 21 points that are single vertices, in the order in which `smplx` appends them."""
SMPL_VERTEX_INDICES = (
    *(332, 6260, 2800, 4071, 583, 3216, 3226, 3387, 6617, 6624, 6787),
    *(2746, 2319, 2445, 2556, 2673, 6191, 5782, 5905, 6016, 6133),
)
"""Where `VERTEX_JOINTS` lie on SMPL's mesh. The open body's mesh is ordered so that they agree."""
EXTRA_JOINTS = (
    *("Right Hip (LSP)", "Left Hip (LSP)", "Neck (LSP)", "Top of Head (LSP)", "Pelvis (MPII)"),
    *("Thorax (MPII)", "Spine (H36M)", "Jaw (H36M)", "Head (H36M)"),
)
"""Rows of SPIN's `J_regressor_extra`: joints as data sets mark them, not as SMPL has them."""
JOINTS_54 = (*SMPL_JOINTS, *VERTEX_JOINTS, *EXTRA_JOINTS)
"""All joints that the body can compute, from which the 49 key-points are picked."""

OPENPOSE_25 = (
    *("OP Nose", "OP Neck", "OP RShoulder", "OP RElbow", "OP RWrist", "OP LShoulder", "OP LElbow"),
    *("OP LWrist", "OP MidHip", "OP RHip", "OP RKnee", "OP RAnkle", "OP LHip", "OP LKnee"),
    *("OP LAnkle", "OP REye", "OP LEye", "OP REar", "OP LEar", "OP LBigToe", "OP LSmallToe"),
    *("OP LHeel", "OP RBigToe", "OP RSmallToe", "OP RHeel"),
)
"""OpenPose's BODY_25."""
COMMON_14 = (
    *("rankle", "rknee", "rhip", "lhip", "lknee", "lankle", "rwrist", "relbow", "rshoulder"),
    *("lshoulder", "lelbow", "lwrist", "neck", "headtop"),
)
"""The joints on which 3D is supervised and evaluated (LSP's)."""
KEYPOINTS = (
    *OPENPOSE_25,
    *COMMON_14,
    *("hip", "thorax", "Spine (H36M)", "Jaw (H36M)", "Head (H36M)"),
    *("nose", "leye", "reye", "lear", "rear"),
)
"""The 49 key-points of `kp_2d` and `kp_3d`, in SPIN's and VIBE's order."""

COCO_17 = (
    *("nose", "leye", "reye", "lear", "rear", "lshoulder", "rshoulder", "lelbow", "relbow"),
    *("lwrist", "rwrist", "lhip", "rhip", "lknee", "rknee", "lankle", "rankle"),
)
OPENPOSE_18 = (
    *OPENPOSE_25[:8],
    *("OP RHip", "OP RKnee", "OP RAnkle", "OP LHip", "OP LKnee", "OP LAnkle"),
    *("OP REye", "OP LEye", "OP REar", "OP LEar"),
)
"""OpenPose's older order, which it calls COCO."""
WHOLEBODY_23 = (
    *COCO_17,
    *("OP LBigToe", "OP LSmallToe", "OP LHeel", "OP RBigToe", "OP RSmallToe", "OP RHeel"),
)
"""The body's joints of COCO-WholeBody's 133; face and hands come after them. The names of the feet
are those among VIBE's 49."""
HALPE_26 = (
    *COCO_17,
    *("headtop", "OP Neck", "OP MidHip", "OP LBigToe", "OP RBigToe", "OP LSmallToe"),
    *("OP RSmallToe", "OP LHeel", "OP RHeel"),
)
"""AlphaPose's and RTMPose's joints with feet; of Halpe's 136 they are the first."""
H36M_17 = (
    *("hip", "lhip", "lknee", "lankle", "rhip", "rknee", "rankle", "Spine (H36M)", "neck"),
    *("Head (H36M)", "headtop", "lshoulder", "lelbow", "lwrist", "rshoulder", "relbow", "rwrist"),
)
"""Rows of SPIN's `J_regressor_h36m`."""
INSTA_25 = (
    *("OP RHeel", "OP RKnee", "OP RHip", "OP LHip", "OP LKnee", "OP LHeel", "OP RWrist"),
    *("OP RElbow", "OP RShoulder", "OP LShoulder", "OP LElbow", "OP LWrist", "OP Neck"),
    *("headtop", "OP Nose", "OP LEye", "OP REye", "OP LEar", "OP REar", "OP LBigToe"),
    *("OP RBigToe", "OP LSmallToe", "OP RSmallToe", "OP LAnkle", "OP RAnkle"),
)
MPII3D_28 = (
    *("spine3", "spine4", "spine2", "Spine (H36M)", "hip", "neck", "Head (H36M)", "headtop"),
    *("left_clavicle", "lshoulder", "lelbow", "lwrist", "left_hand", "right_clavicle"),
    *("rshoulder", "relbow", "rwrist", "right_hand", "lhip", "lknee", "lankle", "left_foot"),
    *("left_toe", "rhip", "rknee", "rankle", "right_foot", "right_toe"),
)
MPII3D_TEST_17 = (
    *("headtop", "neck", "rshoulder", "relbow", "rwrist", "lshoulder", "lelbow", "lwrist"),
    *("rhip", "rknee", "rankle", "lhip", "lknee", "lankle", "hip", "Spine (H36M)", "Head (H36M)"),
)
PENN_ACTION_13 = (
    *("headtop", "lshoulder", "rshoulder", "lelbow", "relbow", "lwrist", "rwrist", "lhip"),
    *("rhip", "lknee", "rknee", "lankle", "rankle"),
)
POSETRACK_17 = (
    *("nose", "neck", "headtop", "lear", "rear", "lshoulder", "rshoulder", "lelbow", "relbow"),
    *("lwrist", "rwrist", "lhip", "rhip", "lknee", "rknee", "lankle", "rankle"),
)
POSETRACK_CATEGORIES = (
    *("nose", "head_bottom", "head_top", "left_ear", "right_ear", "left_shoulder"),
    *("right_shoulder", "left_elbow", "right_elbow", "left_wrist", "right_wrist", "left_hip"),
    *("right_hip", "left_knee", "right_knee", "left_ankle", "right_ankle"),
)
"""The names that PoseTrack's own annotation files use for the joints of `POSETRACK_17`."""

# Joints whose side is a single letter before the name, as in "rhip" and "LHeel".
_PAIRED = frozenset(
    (
        *("ankle", "knee", "hip", "wrist", "elbow", "shoulder", "eye", "ear"),
        *("thumb", "index", "middle", "ring", "pinky", "BigToe", "SmallToe", "Heel"),
    )
)
_OTHER_SIDE = str.maketrans("lrLR", "rlRL")


def indices(names: Sequence[str], order: Sequence[str]) -> list[int]:
    """Find each of `names` in `order`.

    Raises:
        ValueError: A name is not in the order.
    """
    missing = [name for name in names if name not in order]
    if missing:
        raise ValueError(f"no joints {missing} in this order; it has {list(order)}")
    return [order.index(name) for name in names]


def conversion(
    source_order: Sequence[str], target_order: Sequence[str]
) -> tuple[list[int], list[int]]:
    """Pair two orders by equal names: `target[target_idx] = source[source_idx]`.

    Returns:
        The indices into the target and into the source. Joints of the target that the source lacks
        are in neither: their confidence must stay zero.
    """
    shared = [name for name in target_order if name in source_order]
    return indices(shared, target_order), indices(shared, source_order)


def mirrored_name(name: str) -> str:
    """Name of the joint on the other side, or the name itself if it has no side."""
    for left, right in (("left_", "right_"), ("Left ", "Right "), ("OP L", "OP R")):
        if name.startswith(left):
            return right + name.removeprefix(left)
        if name.startswith(right):
            return left + name.removeprefix(right)
    if name[1:] in _PAIRED:
        return name[0].translate(_OTHER_SIDE) + name[1:]
    return name


def mirror_table(order: Sequence[str]) -> list[int]:
    """Where each joint of `order` finds its mirror image: `mirrored = joints[mirror_table]`."""
    return indices([mirrored_name(name) for name in order], order)


SMPL_MIRROR = mirror_table(SMPL_JOINTS)

EVALUATION_14_FROM_H36M = indices(COMMON_14, H36M_17)
"""Which rows of the H36M regressor are the 14 evaluation joints, in the order of `COMMON_14`."""

# Key-points that go by another name among the body's 54 joints.
_ALIASES = {
    **{f"OP {side}{joint}": f"{word}_{joint.lower()}"
       for side, word in (("L", "left"), ("R", "right"))
       for joint in ("Shoulder", "Elbow", "Wrist", "Hip", "Knee", "Ankle")},
    **{f"{word[0]}{joint}": f"{word}_{joint}"
       for word in ("left", "right")
       for joint in ("shoulder", "elbow", "wrist", "knee", "ankle")},
    **{f"OP {name}": name for name in VERTEX_JOINTS if name[0] in "LR"},
    "OP Nose": "nose", "OP REye": "reye", "OP LEye": "leye", "OP REar": "rear", "OP LEar": "lear",
    "OP Neck": "neck", "OP MidHip": "pelvis", "lhip": "Left Hip (LSP)", "rhip": "Right Hip (LSP)",
    "neck": "Neck (LSP)", "headtop": "Top of Head (LSP)", "hip": "Pelvis (MPII)",
    "thorax": "Thorax (MPII)",
}  # fmt: skip
KEYPOINTS_FROM_54 = indices([_ALIASES.get(name, name) for name in KEYPOINTS], JOINTS_54)
"""Which of `JOINTS_54` each key-point is. Twice over for some: 34 joints serve the 49."""
