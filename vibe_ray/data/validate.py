"""Is a data set what it claims to be? Quick checks before a run, thorough ones on request."""

import hashlib
import math
from collections.abc import Iterator, Sequence

from vibe_ray import storage
from vibe_ray.data.agreement import row_problems
from vibe_ray.data.checks import Finding, check_sequence
from vibe_ray.data.labels import AnySequence
from vibe_ray.data.manifest import MANIFEST_FILE, Manifest
from vibe_ray.data.mixing import DataConfig, Source, StepPlan, make_plan
from vibe_ray.data.sequences import (
    read_label_sequences,
    read_motion_sequences,
    read_pose_sequences,
)
from vibe_ray.data.shards import read_manifest

FPS_RANGE = (10.0, 60.0)
SAME_FPS = 0.01
"""Share by which frame rates may differ: 29.97 are 30."""


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
        yield from check_sequence(where, sequence)


def _read_sequences(folder: str, manifest: Manifest) -> Iterator[AnySequence]:
    if manifest.kind == "pose":
        yield from read_pose_sequences(folder)
    elif manifest.kind == "labels":
        yield from read_label_sequences(folder)
    else:
        yield from read_motion_sequences(folder)
