"""Is a data set what it claims to be? Quick checks before a run, thorough ones on request."""

import functools
import hashlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch

from vibe_ray import storage
from vibe_ray.body.model import BodyConfig, load_body
from vibe_ray.body.params import split_pose
from vibe_ray.body.skeletons import KEYPOINTS, indices
from vibe_ray.data.agreement import row_problems
from vibe_ray.data.mixing import DataConfig, Source, StepPlan, make_plan
from vibe_ray.data.schema import (
    MANIFEST_FILE,
    Array,
    Manifest,
    MotionSequence,
    PoseSequence,
)
from vibe_ray.data.sequences import read_motion_sequences, read_pose_sequences
from vibe_ray.data.shards import read_manifest
from vibe_ray.data.upright import find_posture
from vibe_ray.geometry.rotations import axis_angle_to_rotmat

MAX_ANGLE = 2 * np.pi
MAX_BETA = 10.0
MAX_KP_2D = 3.0
BODY_SPAN_M = (0.3, 4.0)
FPS_RANGE = (10.0, 60.0)
SAME_FPS = 0.01
"""Share by which frame rates may differ: 29.97 are 30."""
MOSTLY = 0.5
"""Share of a sequence's frames, which may hold a handstand, in which the plausible must hold."""
_NECK, _HIP = indices(("neck", "hip"), KEYPOINTS)
_RIGHT, _LEFT = indices(("rhip", "rankle"), KEYPOINTS), indices(("lhip", "lankle"), KEYPOINTS)


@dataclass(frozen=True)
class Finding:
    level: Literal["error", "warning"]
    message: str


def check_usable(config: DataConfig, feature_dim: int, seed: int = 0) -> StepPlan:
    """Make sure, from the manifests alone, that a run can begin, and return its plan.

    Args:
        config: What the run reads. Without windows of features it learns from motion alone, and is
            validated on motion.
        feature_dim: F, as the generator expects it.
        seed: Of the windows' order.

    Raises:
        FileNotFoundError: A data set is missing.
        ValueError: Another schema version or kind, features of another width, no usable window,
            motion at another frame rate than what it is compared with.
    """
    plan = make_plan(config, seed)
    validation = storage.join(config.root, config.validation)
    if not config.batch_size:
        read_manifest(validation, "motion")
        return plan
    train_sets = [*_sets(plan.pose_2d), *_sets(plan.pose_3d)]
    pose_sets = [*train_sets, (validation, read_manifest(validation, "pose"))]
    for path, manifest in pose_sets:
        if manifest.feature_dim != feature_dim:
            raise ValueError(
                f"{path} has features of width {manifest.feature_dim} (encoder "
                f"{manifest.encoder_id!r}), the generator expects {feature_dim}: set "
                "generator.feature_dim, or prepare the data with the other encoder"
            )
    encoders = {manifest.encoder_id for _, manifest in pose_sets}
    if len(encoders) > 1:
        raise ValueError(f"data sets of different frame encoders cannot be mixed: {encoders}")
    _check_same_rate(train_sets, _sets(plan.motion))
    return plan


def _sets(source: Source) -> list[tuple[str, Manifest]]:
    return list(zip(source.paths, source.manifests, strict=True))


def _check_same_rate(
    pose_sets: Sequence[tuple[str, Manifest]], motion_sets: Sequence[tuple[str, Manifest]]
) -> None:
    """Refuse captured motion at another rate than that of the windows it is compared with."""
    for path, manifest in pose_sets:
        for motion_path, motion in motion_sets:
            if not math.isclose(manifest.fps, motion.fps, rel_tol=SAME_FPS):
                raise ValueError(
                    f"{path} plays at {manifest.fps:g} frames per second, {motion_path} at "
                    f"{motion.fps:g}: the discriminator compares them frame by frame, and would "
                    "tell them apart by their speed alone; prepare the motion anew with "
                    f"`python -m vibe_ray.prepare amass (bvh, amc) --fps "
                    f"{manifest.fps:g}`, or leave one out of data.pose_2d, data.pose_3d or "
                    "data.motion"
                )


def validate(path: str) -> Iterator[Finding]:
    """Read all data sets at or below a path and yield what is wrong with them.

    Raises:
        FileNotFoundError: There is no data set.
    """
    files = storage.list_files(path, MANIFEST_FILE)
    folders = [file.removesuffix("/" + MANIFEST_FILE) for file in files]
    if not folders:
        raise FileNotFoundError(f"no data set at or below {path}: no {MANIFEST_FILE} found")
    splits: dict[tuple[str, str, str], str] = {}
    for folder in folders:
        try:
            manifest = read_manifest(folder)
        except ValueError as error:
            yield Finding("error", str(error))
            continue
        yield from _check_rate(folder, manifest)
        damaged = list(_check_files(folder, manifest))
        yield from damaged
        if damaged:
            continue
        try:
            yield from _check_sequences(folder, manifest, splits)
        except ValueError as error:  # the other data sets are checked all the same
            yield Finding("error", f"{folder} cannot be read: {error}: prepare it anew")


def _check_rate(folder: str, manifest: Manifest) -> Iterator[Finding]:
    low, high = FPS_RANGE
    if not low <= manifest.fps <= high:
        yield Finding(
            "warning",
            f"{folder} plays at {manifest.fps:g} frames per second, expected {low:g} to {high:g}: "
            "the discriminator tells captured motion at another rate apart by its speed alone",
        )


def _check_files(folder: str, manifest: Manifest) -> Iterator[Finding]:
    for file in manifest.files:
        try:
            content = storage.read_bytes(storage.join(folder, file.name))
        except FileNotFoundError:
            found = "is missing"
        else:
            if hashlib.sha256(content).hexdigest() == file.sha256:
                for problem in row_problems(content, file, manifest):
                    text = f"{folder}: {file.name}: {problem}: prepare the data set anew"
                    yield Finding("error", text)
                continue
            found = f"is not what was written ({len(content)} bytes, expected {file.num_bytes})"
        yield Finding("error", f"{folder}: {file.name} {found}: copy the data set again")


def _check_sequences(
    folder: str, manifest: Manifest, splits: dict[tuple[str, str, str], str]
) -> Iterator[Finding]:
    """Check a data set's sequences; `splits` remembers in which split each was met first."""
    seen: set[tuple[str, str]] = set()
    for sequence in _read_sequences(folder, manifest):
        name = sequence.key[0]
        where = f"{folder}: {name}"
        if sequence.key in seen:
            yield Finding("error", f"{where} appears twice: remove one")
        seen.add(sequence.key)
        before = splits.setdefault((manifest.dataset, manifest.kind, name), manifest.split)
        if before != manifest.split:
            yield Finding(
                "error",
                f"{where} is also in split {before!r}: an evaluation would measure what was "
                "trained on; split by recording",
            )
        if sequence.fps != manifest.fps:
            yield Finding(
                "error",
                f"{where} plays at {sequence.fps:g} frames per second, the manifest says "
                f"{manifest.fps:g}: resample it",
            )
        yield from _check_numbers(where, sequence)


def _read_sequences(folder: str, manifest: Manifest) -> Iterator[PoseSequence | MotionSequence]:
    if manifest.kind == "pose":
        yield from read_pose_sequences(folder)
    else:
        yield from read_motion_sequences(folder)


def _check_numbers(where: str, sequence: PoseSequence | MotionSequence) -> Iterator[Finding]:
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
    if isinstance(sequence, MotionSequence):
        yield from _check_posture(where, sequence)
    else:
        yield from _check_kp_2d(where, sequence)
        if sequence.has_kp_3d.any():
            yield from _check_kp_3d(where, sequence.kp_3d[sequence.has_kp_3d])
        yield from _check_facing(where, sequence)


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


def _check_kp_2d(where: str, sequence: PoseSequence) -> Iterator[Finding]:
    low, high = sequence.kp_2d_conf.min(initial=0), sequence.kp_2d_conf.max(initial=0)
    if low < 0 or high > 1:
        yield Finding("error", f"{where}: kp_2d_conf has {low:g} to {high:g}, expected 0 to 1")
    known = np.abs(sequence.kp_2d[sequence.kp_2d_conf > 0])
    if known.size and np.median(known) > MAX_KP_2D:
        yield Finding(
            "error",
            f"{where}: half of kp_2d lie beyond {np.median(known):.0f}: expected the crop to be "
            "[-1, 1], found pixels?",
        )


def _check_kp_3d(where: str, kp_3d: Array) -> Iterator[Finding]:
    low, high = BODY_SPAN_M
    span = float(np.median(np.ptp(kp_3d.astype(np.float64), axis=1).max(axis=-1)))
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
