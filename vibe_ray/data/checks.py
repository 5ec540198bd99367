"""Are a sequence's numbers what their names say? Units, axes, joint order, time, by their look.

Shapes: N frames.
"""

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch

from vibe_ray.body.model import BodyConfig, load_body
from vibe_ray.body.params import split_pose
from vibe_ray.body.skeletons import COMMON_14, KEYPOINTS, indices
from vibe_ray.data.labels import AnySequence, LabelledSequence
from vibe_ray.data.schema import MotionSequence, PoseSequence
from vibe_ray.data.targets import pose_targets
from vibe_ray.data.upright import find_posture
from vibe_ray.geometry.arrays import Array
from vibe_ray.geometry.rotations import axis_angle_to_rotmat

MAX_ANGLE = 2 * np.pi
MAX_BETA = 10.0
MAX_KP_2D = 3.0
BODY_SPAN_M = (0.3, 4.0)
MOSTLY = 0.5
"""Share of a sequence's frames, which may hold a handstand, in which the plausible must hold."""
MAX_STEP_ERROR = 0.75
"""Frames by which the time between two frames of labels may be off: a video's own jitter is less
than half a frame, a frame that is missing a whole one."""
MAX_OUTSIDE = 0.25
"""Share of the key-points that supervise which may lie beyond the edges of the picture."""
BONE_M = (0.1, 0.7)
"""From a small child's forearm to the thigh of the tallest."""
MAX_SIDES = 1.4
"""Ratio of a left and a right bone of one person; of markerless capture they differ by a tenth."""
MAX_GROWTH = 1.7
"""Ratio of a bone's length in its longer frames to that in its shorter ones, a tenth left out."""
_NECK, _HIP = indices(("neck", "hip"), KEYPOINTS)
_COMMON = indices(COMMON_14, KEYPOINTS)
"""Known wherever any 3D is; the others may be 0, which is far from a body before a camera."""
_RIGHT, _LEFT = indices(("rhip", "rankle"), KEYPOINTS), indices(("lhip", "lankle"), KEYPOINTS)
_BONES = {
    "thigh": ("hip", "knee"),
    "shin": ("knee", "ankle"),
    "upper arm": ("shoulder", "elbow"),
    "forearm": ("elbow", "wrist"),
}
_ENDS = [
    [indices([side + joint for joint in ends], KEYPOINTS) for ends in _BONES.values()]
    for side in "lr"
]
"""(2, 4, 2): of each side's bones both ends."""


@dataclass(frozen=True)
class Finding:
    level: Literal["error", "warning"]
    message: str


def check_sequence(where: str, sequence: AnySequence) -> Iterator[Finding]:
    """Yield what is odd about a sequence's numbers; `where` is how messages name it."""
    arrays = {name: value for name, value in vars(sequence).items() if hasattr(value, "dtype")}
    bad = {name: int((~np.isfinite(array)).sum()) for name, array in arrays.items()}
    if any(bad.values()):
        text = ", ".join(f"{count} values of {name}" for name, count in bad.items() if count)
        yield Finding("error", f"{where}: {text} are NaN or infinite: prepare it anew")
        return
    if np.abs(sequence.pose).max(initial=0) > MAX_ANGLE:
        yield Finding("error", f"{where}: pose exceeds 2 pi: expected radians, found degrees?")
    if np.abs(sequence.betas).max(initial=0) > MAX_BETA:
        yield Finding("warning", f"{where}: betas exceed {MAX_BETA:g} standard deviations")
    if isinstance(sequence, PoseSequence):
        yield from _check_kp_2d(where, sequence)
        yield from _check_body(where, sequence)
    elif isinstance(sequence, LabelledSequence):
        yield from _check_labels(where, sequence)
    else:
        yield from _check_posture(where, sequence)


def _check_posture(where: str, sequence: MotionSequence) -> Iterator[Finding]:
    """Ask the motion which way is up and ahead."""
    posture = find_posture(sequence, _rest_joints())
    if posture.problem:
        expected = "expected y up: prepare it anew" if posture.is_clear else "look at it"
        level: Literal["error", "warning"] = "error" if posture.is_clear else "warning"
        yield Finding(level, f"{where}: {posture.problem}; {expected}")


@functools.cache
def _rest_joints() -> Array:
    return load_body(BodyConfig()).rest_joints()[0]


def _check_labels(where: str, labels: LabelledSequence) -> Iterator[Finding]:
    """Check labels by what they become when they are encoded, and their time."""
    yield from _check_confidence(where, "detected_conf", labels.detected_conf)
    try:
        targets: dict[str, Any] = {**pose_targets(labels)}
    except ValueError as error:
        yield Finding("error", f"{where}: {error}")
        return
    names, features = ("dataset", "sequence", "person", "fps"), np.zeros((labels.num_frames, 0))
    same: dict[str, Any] = {name: getattr(labels, name) for name in names}
    target = PoseSequence(**same, encoder_id="", features=features, **targets)
    yield from _check_confidence(where, "kp_2d_conf", labels.kp_2d_conf)
    in_box = np.abs(target.kp_2d[target.kp_2d_conf > 0])
    in_image = np.abs(labels.kp_2d[labels.kp_2d_conf > 0])
    if in_box.size and (np.median(in_box) > MAX_KP_2D or np.median(in_image) < MAX_KP_2D):
        yield Finding(
            "error",
            f"{where}: half of kp_2d lie beyond {np.median(in_image):.3g} pixels, and beyond "
            f"{np.median(in_box):.3g} half boxes from the box's center: expected key-points "
            "in pixels of the whole image, and the box around them as center and size in pixels",
        )
    outside = np.any((labels.kp_2d < 0) | (labels.kp_2d > [labels.width, labels.height]), axis=-1)
    share = outside[labels.kp_2d_conf > 0].mean() if in_image.size else 0.0
    if share > MAX_OUTSIDE:
        yield Finding(
            "warning",
            f"{where}: {share:.0%} of the key-points that supervise lie outside of the picture, "
            f"{labels.width} x {labels.height} pixels: expected weight 0 for what is not seen",
        )
    yield from _check_body(where, target)
    steps = np.diff(labels.timestamps) * labels.fps
    if steps.size and np.abs(steps - 1).max() > MAX_STEP_ERROR:
        yield Finding(
            "error",
            f"{where}: frames are up to {steps.max():.3g} and down to {steps.min():.3g} frames "
            f"apart at {labels.fps:g} frames per second: cut the track at gaps, resample the rest",
        )


def _check_body(where: str, sequence: PoseSequence) -> Iterator[Finding]:
    if sequence.has_kp_3d.any():
        yield from _check_kp_3d(where, sequence.kp_3d[sequence.has_kp_3d])
        yield from _check_bones(where, sequence.kp_3d[sequence.has_kp_3d])
    yield from _check_facing(where, sequence)


def _check_confidence(where: str, name: str, conf: Array) -> Iterator[Finding]:
    low, high = conf.min(initial=0), conf.max(initial=0)
    if low < 0 or high > 1:
        yield Finding("error", f"{where}: {name} has {low:g} to {high:g}, expected 0 to 1")


def _check_kp_2d(where: str, sequence: PoseSequence) -> Iterator[Finding]:
    yield from _check_confidence(where, "kp_2d_conf", sequence.kp_2d_conf)
    known = np.abs(sequence.kp_2d[sequence.kp_2d_conf > 0])
    if known.size and np.median(known) > MAX_KP_2D:
        yield Finding(
            "error",
            f"{where}: half of kp_2d lie beyond {np.median(known):.0f}: expected the crop to be "
            "[-1, 1], found pixels?",
        )


def _check_kp_3d(where: str, kp_3d: Array) -> Iterator[Finding]:
    low, high = BODY_SPAN_M
    common = kp_3d[:, _COMMON].astype(np.float64)
    span = float(np.median(np.ptp(common, axis=1).max(axis=-1)))
    if not low <= span <= high:
        yield Finding("error", f"{where}: kp_3d span {span:.3g}: expected a body in meters")
    upright = np.mean(kp_3d[:, _NECK, 1] < kp_3d[:, _HIP, 1])  # y points down in camera axes
    if upright < MOSTLY:
        yield Finding(
            "warning",
            f"{where}: the neck is above the hips in {upright:.0%} of frames: expected camera axes "
            "with y down, and the 49 key-points in VIBE's order",
        )
    across = kp_3d[:, _LEFT] - kp_3d[:, _RIGHT]  # (N, 2, 3): hips, ankles
    if np.mean((across[:, 0] * across[:, 1]).sum(axis=-1) > 0) < MOSTLY:
        yield Finding(
            "warning", f"{where}: hips and ankles disagree on left and right: wrong joint order?"
        )


def _check_bones(where: str, kp_3d: Array) -> Iterator[Finding]:
    """Bones are of one length, on both sides of a body, and do not grow from frame to frame."""
    ends = kp_3d[:, _ENDS].astype(np.float64)  # (N, 2, 4, 2, 3)
    lengths = np.linalg.norm(ends[..., 0, :] - ends[..., 1, :], axis=-1)  # (N, 2, 4)
    typical = np.median(lengths, axis=0)
    short, long = np.quantile(lengths, (0.1, 0.9), axis=0).clip(1e-6)
    low, high = BONE_M
    problems = []
    for number, bone in enumerate(_BONES):
        left, right = typical[:, number]
        if min(left, right) < low or max(left, right) > high:
            problems.append(f"{bone}s of {left:.2g} and {right:.2g} m")
        elif max(left, right) > MAX_SIDES * min(left, right):
            problems.append(f"a left {bone} of {left:.2g} m, a right one of {right:.2g} m")
        elif ((long / short)[:, number] > MAX_GROWTH).any():
            problems.append(
                f"{bone}s of {short[:, number].min():.2g} to {long[:, number].max():.2g} m"
            )
    if problems:
        yield Finding(
            "warning",
            f"{where}: kp_3d has {', '.join(problems)}: expected bones of {low:g} to {high:g} m, "
            "as long on the left as on the right and in every frame: wrong joint order?",
        )


def _check_facing(where: str, sequence: PoseSequence) -> Iterator[Finding]:
    """Compare the side on which the left hip is with the one on which the pose turns it."""
    known = sequence.has_kp_3d & sequence.has_smpl
    if not known.any():
        return
    root_orient, _ = split_pose(torch.from_numpy(sequence.pose[known]))
    left = axis_angle_to_rotmat(root_orient)[..., 0].numpy()  # SMPL's left is +x
    across = sequence.kp_3d[known][:, _LEFT[0]] - sequence.kp_3d[known][:, _RIGHT[0]]
    agree = np.mean((left * across).sum(axis=-1) > 0)
    if agree < MOSTLY:
        yield Finding(
            "error",
            f"{where}: kp_3d has the left hip on the pose's left in {agree:.0%} of frames: expect "
            "pose and kp_3d in the same camera axes, and the 49 key-points in VIBE's order",
        )
