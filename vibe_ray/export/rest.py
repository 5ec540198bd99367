"""What moves: a person's body at rest, standing in a T-pose, and how it hangs on its joints.

Skinning as other programs know it turns and blends joints. SMPL has one thing more, correctives
that move vertices with the pose; neither glTF's nor USD's skinning has them, so that the surface of
a body that has correctives bends a little differently there. (The open body has none.) Joints are
the same.

Shapes: V vertices, J = 24 joints.
"""

from dataclasses import dataclass

import numpy as np

from vibe_ray.body.model import BodyArrays
from vibe_ray.body.skeletons import EXTRA_JOINTS, SMPL_PARENTS, VERTEX_JOINTS
from vibe_ray.geometry.arrays import Array
from vibe_ray.rendering.scene import area_normals

TIPS = {
    "head": "Top of Head (LSP)",
    "left_hand": "lmiddle",
    "right_hand": "rmiddle",
    "left_foot": "LBigToe",
    "right_foot": "RBigToe",
}
"""Where the last bones of SMPL's limbs end: a vertex, or a joint that data sets mark."""
INFLUENCES = 4
"""Joints that move a vertex, as a set; every program reads the first set, some a second."""
NEGLIGIBLE = 1e-3
"""Share of a vertex that joints beyond the first set may have: joints lie some decimeters apart, so
that this moves it by less than a millimeter."""


@dataclass(frozen=True)
class RestBody:
    """A shaped body in the zero pose, its soles on y = 0."""

    verts: Array
    """(V, 3) meters."""
    normals: Array
    """(V, 3) of length one."""
    faces: Array
    """(M, 3) vertex numbers, counter-clockwise from outside."""
    joints: Array
    """(J, 3) meters."""
    tips: dict[str, Array]
    """Where the bone ends (3,), of the joints named in `TIPS`."""
    influences: Array
    """Numbers of the joints that move a vertex most (V, 4 or 8); those of no weight are 0."""
    weights: Array
    """Their shares (V, 4 or 8), float32; rows sum to one."""

    def offsets(self) -> Array:
        """Joints relative to their parents (J, 3); the root relative to the origin."""
        offsets = self.joints.copy()
        offsets[1:] -= self.joints[list(SMPL_PARENTS[1:])]
        return offsets


def rest_body(body: BodyArrays, betas: Array) -> RestBody:
    """Shape a body by betas (10,) and set it on the ground."""
    verts = body.v_template + body.shapedirs.astype(np.float64) @ betas
    template_joints, dirs = body.rest_joints()
    joints = template_joints + dirs @ betas
    marked = body.J_regressor_extra.astype(np.float64) @ verts
    points = dict(zip(EXTRA_JOINTS, marked, strict=True))
    points |= dict(zip(VERTEX_JOINTS, verts[body.vertex_joints], strict=True))
    ground = np.array([0, verts[:, 1].min(), 0])
    normals = area_normals(verts, body.faces)
    lengths = np.linalg.norm(normals, axis=1, keepdims=True)
    influences, weights = _strongest(body.weights)
    return RestBody(
        verts=verts - ground,
        normals=np.where(lengths > 0, normals / np.maximum(lengths, 1e-300), [0.0, 1.0, 0.0]),
        faces=body.faces,
        joints=joints - ground,
        tips={joint: points[point] - ground for joint, point in TIPS.items()},
        influences=influences,
        weights=weights,
    )


def _strongest(weights: Array) -> tuple[Array, Array]:
    """Joints of the largest weights of (V, J), and these, made to sum to one: each (V, 4 or 8)."""
    order = np.argsort(-weights, axis=1, kind="stable")[:, : 2 * INFLUENCES]
    kept = np.take_along_axis(weights, order, axis=1).astype(np.float64)
    if kept[:, INFLUENCES:].sum(axis=1).max(initial=0.0) <= NEGLIGIBLE:
        order, kept = order[:, :INFLUENCES], kept[:, :INFLUENCES]
    shares = (kept / kept.sum(axis=1, keepdims=True)).astype(np.float32)
    return np.where(shares > 0, order, 0), shares
