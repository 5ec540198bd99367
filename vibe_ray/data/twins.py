"""Is one recording in the data under two names? Asked of the motion itself, not of the names.

The same motion in a training and in a test makes an evaluation measure what was learned by heart,
and sets overlap more than their names tell: one is cut out of another, or was carried over to
another skeleton. What is compared is how a body moves within a second, seen from its own pelvis:
where it is, which way it looks and how it is built change nothing, nor does the frame rate.

A **window** is a second, looked at every fifth of it. Its joints' paths, each less its mean, are
projected to a few numbers, whose distances are those of the paths to a tenth or two. Windows of one
recording begin every fifth of a second; of another one, some are asked for at every sixtieth, so
that neither a cut nor another frame rate can hide them. Not found is what plays at a wrong speed,
what lasts less than a second and a half, and what hardly moves in one of its seconds if it lasts
less than seven. The time that it takes grows with the square of the hours met.

Shapes: N frames, J joints, W windows, D = 24 numbers.
"""

import functools
import math
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch

from vibe_ray.body.joints import BodyJoints
from vibe_ray.body.model import BodyConfig, load_body
from vibe_ray.body.params import pose_to_rotmat
from vibe_ray.body.skeletons import COMMON_14, KEYPOINTS, NUM_BETAS, indices
from vibe_ray.data.checks import Finding
from vibe_ray.data.labels import AnySequence, LabelledSequence
from vibe_ray.data.schema import Kind, MotionSequence
from vibe_ray.geometry.arrays import Array

Family = Literal["pose", "kp_3d"]
"""What windows are made of: rotations posed on one body, or joints as they were measured."""
LOOKS = 6
STEP_S = 0.2
"""Seconds between two looks, and between the starts of two windows that are kept."""
ASK_S, SHIFT_S = 2.0, 1 / 60
"""Seconds between the groups of windows that are asked for, and between those of a group."""
DIM = 24
MIN_MOVEMENT_M = 0.03
"""Root mean square over joints and looks; who moves less is like everyone who stands."""
MAX_DIFFERENCE = 0.12
"""Share of the movement by which two windows of one recording may differ. Copies measured 0.00, and
at another rate up to 0.1; one person's walks come as near in a second or two, not in most."""
MIN_SHARE = 0.5
"""Of a recording's windows that are found in the other one."""
MIN_WINDOWS = 3
"""That are found; of a recording so short that no more are asked for, it must be all of them."""
MIN_S = 1.5
"""Of a recording that is asked for: in a shorter one the windows of a group would all be one."""
_BATCH, _ASKED, _KEPT = 512, 1024, 16384
_COMMON = indices(COMMON_14, KEYPOINTS)


@dataclass(frozen=True)
class Twin:
    """A recording and the data set in which it was met."""

    folder: str
    dataset: str
    split: str
    kind: Kind
    name: str


@dataclass
class Windows:
    """Windows of one family, of all recordings met."""

    vectors: list[Array] = field(default_factory=list)
    """(W, D) of each recording, in meters, with the movement in the last column."""
    asked: list[Array] = field(default_factory=list)
    """Likewise, of the windows that are asked for: groups (W, S, D + 1), one start each."""
    owners: list[Twin] = field(default_factory=list)
    seconds: dict[tuple[str, ...], float] = field(default_factory=dict)
    """How long each is, by split, kind, data set, name and person."""


class TwinSearch:
    """Meets all recordings of some data sets, then tells which are in there twice.

    Memory holds some 200 bytes for each fifth of a second.
    """

    def __init__(self) -> None:
        self._windows: dict[Family, Windows] = defaultdict(Windows)

    def meet(self, folder: str, split: str, kind: Kind, sequence: AnySequence) -> None:
        """Note how a recording moves, if that is known.

        One that is as long as another of its data set, name and split is the same one, prepared at
        another frame rate: the first alone is kept.
        """
        twin = Twin(folder, sequence.dataset, split, kind, sequence.key[0])
        named = (split, kind, sequence.dataset, *sequence.key)
        seconds = (sequence.num_frames - 1) / sequence.fps
        for family, points in _points(sequence):
            windows = self._windows[family]
            if abs(windows.seconds.get(named, math.inf) - seconds) < STEP_S:
                continue
            windows.seconds[named] = seconds
            kept, asked = _windows_of(points, sequence.fps)
            if len(asked):
                windows.vectors.append(kept)
                windows.asked.append(asked)
                windows.owners.append(twin)

    def findings(self) -> Iterator[Finding]:
        """Yield pairs of one motion: across splits, and of captured motion within one."""
        told: set[frozenset[tuple[str, str]]] = set()
        for windows in self._windows.values():
            for one, other, share in _pairs(windows):
                pair = frozenset([(one.folder, one.name), (other.folder, other.name)])
                if pair in told or not _is_odd(one, other):
                    continue
                told.add(pair)
                yield Finding(
                    "warning",
                    f"{one.folder}: {one.name} moves as {other.folder}: {other.name} does, in "
                    f"{share:.0%} of its seconds: "
                    + (
                        "one recording under two names? Leave one out"
                        if one.split == other.split
                        else f"if they are one recording, an evaluation on {one.split!r} and "
                        f"{other.split!r} would measure what was trained on; leave one out"
                    ),
                )


def _is_odd(one: Twin, other: Twin) -> bool:
    if (one.dataset, one.name) == (other.dataset, other.name):
        return False  # at another frame rate, or once as labels and once encoded
    if one.split != other.split:
        return True
    return one.kind == other.kind == "motion"  # images may show one motion from several sides


def _pairs(windows: Windows) -> Iterator[tuple[Twin, Twin, float]]:
    """Yield which recordings have most of their windows in another one."""
    num_owners = len(windows.owners)
    if num_owners < 2:
        return
    owner = np.repeat(np.arange(num_owners), [len(v) for v in windows.vectors])
    asker = np.repeat(np.arange(num_owners), [len(v) for v in windows.asked])
    groups = np.repeat(np.arange(len(asker)), [len(g) for a in windows.asked for g in a])
    asked = np.concatenate([group for of_one in windows.asked for group in of_one])
    hits = _hits(asked, groups, np.concatenate(windows.vectors), owner)
    pairs, counts = np.unique(
        np.stack([asker[hits[:, 0]], hits[:, 1]], 1), axis=0, return_counts=True
    )
    for (one, other), count in zip(pairs.tolist(), counts.tolist(), strict=True):
        share = count / len(windows.asked[one])
        if one != other and count >= MIN_WINDOWS and share >= MIN_SHARE:
            yield windows.owners[one], windows.owners[other], share


def _hits(asked: Array, groups: Array, kept: Array, owner: Array) -> Array:
    """Which groups of windows have one that is near to a window of an owner: rows (group, owner).

    Distances are matrix products, block by block, of windows of like lengths: no others are near.
    """
    length, length_of_asked = (np.linalg.norm(w[:, :DIM], axis=1) for w in (kept, asked))
    order, order_of_asked = np.argsort(length), np.argsort(length_of_asked)
    kept, owner, length = kept[order, :DIM], owner[order], length[order]
    asked, groups = asked[order_of_asked], groups[order_of_asked]
    found = [np.zeros((0, 2), np.int64)]
    for start in range(0, len(asked), _ASKED):
        block = asked[start : start + _ASKED]
        points, limits = block[:, :DIM], MAX_DIFFERENCE * block[:, DIM]
        own, reach = np.linalg.norm(points, axis=1), limits.max()
        begin, end = np.searchsorted(length, [own[0] - reach, own[-1] + reach])
        for first in range(int(begin), int(end), _KEPT):
            part = slice(first, min(first + _KEPT, int(end)))
            apart = own[:, None] ** 2 + length[part] ** 2 - 2 * points @ kept[part].T
            rows, columns = np.nonzero(apart < limits[:, None] ** 2)
            near = np.stack([groups[start + rows], owner[first + columns]], axis=1)
            found.append(np.unique(near, axis=0))
    hits: Array = np.unique(np.concatenate(found), axis=0)
    return hits


def _points(sequence: AnySequence) -> Iterator[tuple[Family, Array]]:
    """Joints (N, J, 3) in meters, seen from the pelvis; NaN where they are not known."""
    if isinstance(sequence, MotionSequence):
        yield "pose", _posed(sequence.pose)
        return
    if sequence.has_smpl.any():
        points = _posed(sequence.pose)
        points[~sequence.has_smpl] = np.nan
        yield "pose", points
    if not sequence.has_kp_3d.any():
        return
    columns = _COMMON
    if isinstance(sequence, LabelledSequence):
        if not set(COMMON_14) <= set(sequence.names.kp_3d):
            return
        columns = indices(COMMON_14, sequence.names.kp_3d)
    points = _from_pelvis(sequence.kp_3d[:, columns].astype(np.float64))
    points[~sequence.has_kp_3d] = np.nan
    yield "kp_3d", points


@torch.no_grad()
def _posed(pose: Array) -> Array:
    """Joints of the open body in poses (N, 72), the root not turned."""
    joints, parts = _skeleton(), []
    for start in range(0, len(pose), _BATCH):
        part = torch.tensor(pose[start : start + _BATCH], dtype=torch.float32)
        part[:, :3] = 0
        parts.append(joints(torch.zeros(len(part), NUM_BETAS), pose_to_rotmat(part)).numpy())
    points: Array = np.concatenate(parts)
    return points


@functools.cache
def _skeleton() -> BodyJoints:
    return BodyJoints.skeleton(load_body(BodyConfig()))


def _from_pelvis(points: Array) -> Array:
    """Joints (N, 14, 3) in axes of the body: left, up the spine, ahead; the hips' middle is 0."""
    left_hip, right_hip, neck = (points[:, COMMON_14.index(n)] for n in ("lhip", "rhip", "neck"))
    middle = (left_hip + right_hip) / 2
    left = _unit(left_hip - right_hip)
    up = neck - middle
    up = _unit(up - (up * left).sum(axis=1, keepdims=True) * left)
    axes = np.stack([left, up, np.cross(left, up)], axis=1)  # (N, 3, 3), row by row
    own: Array = np.einsum("nab,njb->nja", axes, points - middle[:, None])
    return own


def _unit(vectors: Array) -> Array:
    unit: Array = vectors / np.linalg.norm(vectors, axis=1, keepdims=True).clip(1e-9)
    return unit


def _windows_of(points: Array, fps: float) -> tuple[Array, Array]:
    """Windows to be kept (W, D + 1), and to be asked for (W, S, D + 1), of those that move."""
    seconds = (len(points) - 1) / fps
    if seconds < MIN_S - 1e-9:
        return np.zeros((0, DIM + 1)), np.zeros((0, 1, DIM + 1))
    last = seconds - (LOOKS - 1) * STEP_S
    kept = _project(points, np.arange(0, last + 1e-9, STEP_S) * fps, fps)
    span = last - STEP_S
    num_groups = max(int(span / ASK_S + 1e-9) + 1, MIN_WINDOWS)
    starts = np.arange(num_groups) * min(ASK_S, span / (MIN_WINDOWS - 1))
    groups = (starts[:, None] + np.arange(0, STEP_S, SHIFT_S)).clip(max=last)
    asked = _project(points, groups.ravel() * fps, fps).reshape(*groups.shape, DIM + 1)
    moving = (asked[..., DIM] >= MIN_MOVEMENT_M).all(axis=1)
    return kept[kept[:, DIM] >= MIN_MOVEMENT_M], asked[moving]


def _project(points: Array, starts: Array, fps: float) -> Array:
    """Windows (W, D + 1) from some places on, in frames: projected, and their movement (meters)."""
    out = np.zeros((len(starts), DIM + 1), np.float32)
    J = points.shape[1]
    projection = _projection(LOOKS * J * 3)
    for begin in range(0, len(starts), _BATCH):
        place = starts[begin : begin + _BATCH, None] + np.arange(LOOKS) * STEP_S * fps
        before = np.floor(place + 1e-6).astype(int).clip(max=len(points) - 1)
        after = (before + 1).clip(max=len(points) - 1)
        share = (place - before).clip(0, 1)[..., None, None]
        paths = (1 - share) * points[before] + share * points[after]  # (W, looks, J, 3)
        paths -= paths.mean(axis=1, keepdims=True)
        flat = paths.reshape(len(place), -1) / np.sqrt(LOOKS * J)
        flat[~np.isfinite(flat).all(axis=1)] = 0  # which then does not move
        out[begin : begin + _BATCH, :DIM] = flat @ projection
        out[begin : begin + _BATCH, DIM] = np.linalg.norm(flat, axis=1)
    return out


@functools.cache
def _projection(num_numbers: int) -> Array:
    """A random one, the same everywhere, which keeps lengths on average."""
    random = np.random.default_rng(0).standard_normal((num_numbers, DIM))
    return random / np.sqrt(DIM)
