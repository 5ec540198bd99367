"""Where are the joints of a body, when its skin is not needed?

Every joint that a regressor R reads off the mesh is a weighted sum of skinned vertices,
joint_j = sum_i R_ji sum_k W_ik (G_k (vertex_i - rest_k) + p_k), with vertex_i linear in shape and
pose correctives. Swapping the sums gives joint_j = sum_k G_k q_jk + m_jk p_k, whose q is linear in
betas and pose and whose constants hold no vertex. So training, which needs joints only, never
builds a mesh: same numbers, some fifty times cheaper.

Shapes: any leading dimensions (...), N their product, J = 24 joints, R joints out, V vertices,
Q pairs (joint out, bone it hangs on).
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from vibe_ray.body.detected import offset_of
from vibe_ray.body.kinematics import KinematicChain
from vibe_ray.body.model import BodyArrays
from vibe_ray.body.skeletons import (
    COMMON_14,
    H36M_17,
    KEYPOINTS,
    KEYPOINTS_FROM_54,
    NUM_BETAS,
    SMPL_JOINTS,
    indices,
)

NUM_JOINTS = len(SMPL_JOINTS)
PIECE_FRAMES = 1024
"""Frames of a long sequence whose bones' matrices exist at the same time: some 20 kB each."""


class BodyJoints(nn.Module):
    """Exact joints of posed bodies.

    Make one with `keypoints`, `evaluation`, `h36m` or `skeleton`.
    """

    bones: Tensor
    rest: Tensor
    dirs: Tensor
    gather: Tensor
    share: Tensor
    picks: Tensor
    identity: Tensor
    carriers: Tensor
    offsets: Tensor

    def __init__(
        self,
        arrays: BodyArrays,
        regressor: np.ndarray,
        picks: list[int],
        dtype: torch.dtype = torch.float32,
        offsets: Sequence[tuple[int, np.ndarray]] = (),
    ) -> None:
        """Fold the body into constants, in float64.

        Args:
            arrays: The body.
            regressor: Joints as weighted sums of vertices (rows, V).
            picks: The joints to return, numbered through SMPL's 24 and then the regressor's rows.
            dtype: Of the buffers and so of the results.
            offsets: For each of `picks` a bone's number and an offset (3,) that turns with it,
                meters; none without them.
        """
        super().__init__()
        self.chain = KinematicChain(*arrays.rest_joints(), dtype)
        bones, constants = _fold(arrays, regressor)
        for name, constant in constants.items():
            self.register_buffer(name, torch.tensor(constant, dtype=dtype), persistent=False)
        self.register_buffer("bones", torch.from_numpy(bones), persistent=False)
        self.register_buffer("picks", torch.tensor(picks), persistent=False)
        self.register_buffer("identity", torch.eye(3, dtype=dtype), persistent=False)
        self.has_pose_dirs = arrays.posedirs is not None
        self.has_offsets = bool(offsets)
        if offsets:
            carriers, shifts = zip(*offsets, strict=True)
            self.register_buffer("carriers", torch.tensor(carriers), persistent=False)
            column = torch.tensor(np.stack(shifts)[..., None], dtype=dtype)
            self.register_buffer("offsets", column, persistent=False)  # (R, 3, 1)

    @classmethod
    def skeleton(cls, arrays: BodyArrays, dtype: torch.dtype = torch.float32) -> "BodyJoints":
        """SMPL's own 24 joints, in the order of `SMPL_JOINTS`."""
        return cls(arrays, arrays.J_regressor[:0], list(range(NUM_JOINTS)), dtype)

    @classmethod
    def keypoints(
        cls,
        arrays: BodyArrays,
        dtype: torch.dtype = torch.float32,
        which: Sequence[int] = range(len(KEYPOINTS_FROM_54)),
        *,
        as_detected: bool = False,
    ) -> "BodyJoints":
        """The 49 key-points, in the order of `KEYPOINTS`, or some of them by their numbers.

        Args:
            arrays: The body.
            dtype: Of the results.
            which: Numbers in `KEYPOINTS`.
            as_detected: Where a detector sees them (`body.detected`), not where the body has them.
        """
        vertex_rows = np.zeros((len(arrays.vertex_joints), arrays.num_verts))
        vertex_rows[np.arange(len(vertex_rows)), arrays.vertex_joints] = 1
        rows = np.concatenate([vertex_rows, arrays.J_regressor_extra])
        chosen = [KEYPOINTS_FROM_54[keypoint] for keypoint in which]
        used = sorted({pick - NUM_JOINTS for pick in chosen if pick >= NUM_JOINTS})
        picks = [
            pick if pick < NUM_JOINTS else NUM_JOINTS + used.index(pick - NUM_JOINTS)
            for pick in chosen
        ]
        offsets = [offset_of(KEYPOINTS[keypoint]) for keypoint in which] if as_detected else []
        return cls(arrays, rows[used], picks, dtype, offsets)

    @classmethod
    def h36m(cls, arrays: BodyArrays, dtype: torch.dtype = torch.float32) -> "BodyJoints":
        """The 17 joints of Human3.6M, in the order of `H36M_17`."""
        rows = arrays.J_regressor_h36m
        return cls(arrays, rows, [NUM_JOINTS + row for row in range(len(rows))], dtype)

    @classmethod
    def evaluation(
        cls,
        arrays: BodyArrays,
        dtype: torch.dtype = torch.float32,
        names: Sequence[str] = COMMON_14,
    ) -> "BodyJoints":
        """Joints of evaluation by the H36M regressor: the 14 common ones, or others of its 17."""
        rows = arrays.J_regressor_h36m[indices(names, H36M_17)]
        return cls(arrays, rows, [NUM_JOINTS + row for row in range(len(rows))], dtype)

    def forward(self, betas: Tensor, rotmat: Tensor) -> Tensor:
        """Compute joints.

        Args:
            betas: Shapes (..., 10).
            rotmat: Rotations relative to the parent (..., J, 3, 3).

        Returns:
            Joints (..., R, 3) in meters, as the mesh at the origin has them.
        """
        leading = rotmat.shape[:-3]
        betas, rotmat = betas.reshape(-1, NUM_BETAS), rotmat.reshape(-1, NUM_JOINTS, 3, 3)
        rotations, joints = self.chain(betas, rotmat)
        if len(self.bones):
            joints = torch.cat([joints, self._regressed(betas, rotmat, rotations, joints)], dim=1)
        joints = joints.index_select(1, self.picks)
        if self.has_offsets:
            turned = rotations.index_select(1, self.carriers) @ self.offsets
            joints = joints + turned.squeeze(-1)
        return joints.view(*leading, len(self.picks), 3)

    @torch.no_grad()
    def of_sequence(self, betas: Tensor, rotmat: Tensor) -> Tensor:
        """Compute joints (N, R, 3) of any number of frames in bounded memory, without gradients."""
        parts = zip(betas.split(PIECE_FRAMES), rotmat.split(PIECE_FRAMES), strict=True)
        return torch.cat([self(*part) for part in parts])

    def _regressed(
        self, betas: Tensor, rotmat: Tensor, rotations: Tensor, joints: Tensor
    ) -> Tensor:
        """Compute the regressor's joints (N, rows, 3) from the posed skeleton."""
        features = betas
        if self.has_pose_dirs:
            features = torch.cat([(rotmat[:, 1:] - self.identity).flatten(1), betas], dim=1)
        local = torch.addmm(self.rest, features, self.dirs).unflatten(
            -1, (-1, 3, 1)
        )  # (N, Q, 3, 1)
        turned = (rotations.index_select(1, self.bones) @ local).squeeze(-1)
        return self.gather @ turned + self.share @ joints


def _fold(arrays: BodyArrays, regressor: np.ndarray) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Sum the vertices out of the body's constants, pair by pair.

    Returns:
        The bone of each pair (Q,), and `rest` (3Q,), `dirs` (features, 3Q), `gather` (rows, Q),
        which adds a joint's pairs up, and `share` (rows, J), how much of a joint each bone carries.
    """
    weights, regressor = arrays.weights.astype(np.float64), regressor.astype(np.float64)
    rows, bones = np.nonzero(np.abs(regressor) @ np.abs(weights))
    per_vertex = regressor[rows] * weights[:, bones].T  # (Q, V)
    carried = per_vertex.sum(axis=1)
    rest_joints, joint_dirs = arrays.rest_joints()

    rest = per_vertex @ arrays.v_template - carried[:, None] * rest_joints[bones]
    dirs = _sum_out(per_vertex, arrays.shapedirs) - carried[:, None, None] * joint_dirs[bones]
    if arrays.posedirs is not None:
        dirs = np.concatenate([_sum_out(per_vertex, arrays.posedirs), dirs], axis=2)
    gather = np.zeros((len(regressor), len(rows)))
    gather[rows, np.arange(len(rows))] = 1
    share = np.zeros((len(regressor), NUM_JOINTS))
    share[rows, bones] = carried
    dirs = dirs.reshape(rest.size, dirs.shape[-1]).T
    return bones, {"rest": rest.flatten(), "dirs": dirs, "gather": gather, "share": share}


def _sum_out(per_vertex: np.ndarray, directions: np.ndarray) -> np.ndarray:
    """Sum directions (V, 3, n) over the vertices with weights (Q, V), in float64: (Q, 3, n)."""
    flat = directions.reshape(len(directions), -1).astype(np.float64)
    return (per_vertex @ flat).reshape(len(per_vertex), *directions.shape[1:])
