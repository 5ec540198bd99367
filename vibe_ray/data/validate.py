"""Is a data set what it claims to be? Quick checks before a run, thorough ones on request."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from vibe_ray import storage
from vibe_ray.body.skeletons import KEYPOINTS, indices
from vibe_ray.data.mixing import DataConfig, make_plan
from vibe_ray.data.schema import (
    MANIFEST_FILE,
    Array,
    Manifest,
    MotionSequence,
    PoseSequence,
)
from vibe_ray.data.shards import read_manifest, read_motion_sequences, read_pose_sequences

MAX_ANGLE = 2 * np.pi
MAX_BODY_SPAN_M = 4.0
MAX_BETA = 10.0
FPS_RANGE = (10.0, 60.0)
UPRIGHT_SHARE = 0.5
_NECK, _HIP = indices(("neck", "hip"), KEYPOINTS)
_RIGHT, _LEFT = indices(("rhip", "rankle"), KEYPOINTS), indices(("lhip", "lankle"), KEYPOINTS)


@dataclass(frozen=True)
class Finding:
    level: Literal["error", "warning"]
    message: str


def check_usable(config: DataConfig, feature_dim: int) -> None:
    """Make sure, from the manifests alone, that a run can begin.

    Raises:
        FileNotFoundError: A data set is missing.
        ValueError: Another schema version or kind, features of another width, no usable window.
    """
    plan = make_plan(config, seed=0)
    validation = storage.join(config.root, config.validation)
    pose_sets = [
        *zip(plan.pose_2d.paths, plan.pose_2d.manifests, strict=True),
        *zip(plan.pose_3d.paths, plan.pose_3d.manifests, strict=True),
        (validation, read_manifest(validation, "pose")),
    ]
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


def validate(path: str) -> Iterator[Finding]:
    """Read all data sets at or below a path and yield what is wrong with them.

    Raises:
        FileNotFoundError: There is no data set.
    """
    folders = [file.removesuffix("/" + MANIFEST_FILE) for file in _manifests(path)]
    if not folders:
        raise FileNotFoundError(f"no data set at or below {path}: no {MANIFEST_FILE} found")
    names: dict[str, dict[str, str]] = {}
    for folder in folders:
        try:
            manifest = read_manifest(folder)
        except ValueError as error:
            yield Finding("error", str(error))
            continue
        yield from _check_rate(folder, manifest)
        seen: set[tuple[str, str]] = set()
        for sequence in _sequences(folder, manifest):
            key = _key(sequence)
            if key in seen:
                yield Finding("error", f"{folder}: sequence {key} appears twice: remove one")
            seen.add(key)
            yield from _check_sequence(folder, sequence)
        source = f"{manifest.dataset}/{manifest.kind}"
        for name, _ in seen:
            before = names.setdefault(source, {}).setdefault(name, manifest.split)
            if before != manifest.split:
                yield Finding(
                    "error",
                    f"{folder}: sequence {name!r} is also in split {before!r}: an evaluation "
                    "would measure what was trained on; split by recording",
                )


def _manifests(path: str) -> list[str]:
    return storage.list_files(path, MANIFEST_FILE)


def _sequences(folder: str, manifest: Manifest) -> Iterator[PoseSequence | MotionSequence]:
    if manifest.kind == "pose":
        yield from read_pose_sequences(folder)
    else:
        yield from read_motion_sequences(folder)


def _key(sequence: PoseSequence | MotionSequence) -> tuple[str, str]:
    if isinstance(sequence, PoseSequence):
        return sequence.sequence, sequence.person
    return sequence.name, ""


def _check_rate(folder: str, manifest: Manifest) -> Iterator[Finding]:
    low, high = FPS_RANGE
    if not low <= manifest.fps <= high:
        yield Finding(
            "warning",
            f"{folder} plays at {manifest.fps:g} frames per second, expected {low:g} to {high:g}: "
            "the discriminator tells captured motion at another rate apart by its speed alone",
        )


def _check_sequence(folder: str, sequence: PoseSequence | MotionSequence) -> Iterator[Finding]:
    where = f"{folder}: {_key(sequence)[0]}"
    arrays = ("features", "kp_2d", "kp_2d_conf", "kp_3d", "pose", "betas")
    found = {name: getattr(sequence, name) for name in arrays if hasattr(sequence, name)}
    bad = {name: int((~np.isfinite(array)).sum()) for name, array in found.items()}
    if any(bad.values()):
        text = ", ".join(f"{count} values of {name}" for name, count in bad.items() if count)
        yield Finding("error", f"{where}: {text} are NaN or infinite: prepare it anew")
        return
    if np.abs(sequence.pose).max(initial=0) > MAX_ANGLE:
        yield Finding("error", f"{where}: pose exceeds 2 pi: expected radians, found degrees?")
    if np.abs(sequence.betas).max(initial=0) > MAX_BETA:
        yield Finding("warning", f"{where}: betas exceed {MAX_BETA:g} standard deviations")
    if isinstance(sequence, PoseSequence) and sequence.has_kp_3d.any():
        yield from _check_kp_3d(where, sequence.kp_3d[sequence.has_kp_3d])


def _check_kp_3d(where: str, kp_3d: Array) -> Iterator[Finding]:
    span = np.ptp(kp_3d.astype(np.float64), axis=1).max(initial=0)
    if span > MAX_BODY_SPAN_M:
        yield Finding(
            "error", f"{where}: kp_3d span {span:.0f}: expected meters, found millimeters?"
        )
    upright = np.mean(kp_3d[:, _NECK, 1] < kp_3d[:, _HIP, 1])  # y points down in camera axes
    if upright < UPRIGHT_SHARE:
        yield Finding(
            "warning",
            f"{where}: the neck is above the hips in {upright:.0%} of frames: expected camera axes "
            "with y down, and the 49 key-points in VIBE's order",
        )
    if not _sides_agree(kp_3d):
        yield Finding(
            "warning", f"{where}: hips and ankles disagree on left and right: wrong joint order?"
        )


def _sides_agree(kp_3d: Array) -> bool:
    """Whether the ankles lie, mostly, on the same sides as the hips."""
    across = kp_3d[:, _LEFT] - kp_3d[:, _RIGHT]  # (N, 2, 3): hips, ankles
    along = (across[:, 0] * across[:, 1]).sum(axis=-1)
    return bool(np.mean(along > 0) >= UPRIGHT_SHARE)
