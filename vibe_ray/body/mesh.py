"""The skinned mesh of a body. For joints alone, `joints.py` is some fifty times cheaper.

Shapes: N bodies, V vertices, J = 24 joints, P = 207 + 10 features of pose and shape.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from vibe_ray.body.kinematics import KinematicChain
from vibe_ray.body.model import NUM_JOINTS, BodyArrays
from vibe_ray.body.skeletons import EVALUATION_14_FROM_H36M, KEYPOINTS_FROM_54

# Bodies skinned at a time. A CPU wants enough of them for its matrix products to run well and no
# more, since their per-vertex transforms are 0.3 MB each (8 and 128 take a quarter longer); an
# accelerator rather wants few launches.
SKIN_CHUNK = {"cpu": 64}
SKIN_CHUNK_ACCELERATOR = 512


@dataclass(frozen=True)
class BodyMesh:
    """Skinned bodies at the origin: the root joint is where the shape puts it."""

    verts: Tensor
    """Vertices (N, V, 3), meters."""
    joints: Tensor
    """SMPL's joints (N, J, 3), meters."""


class BodyModel(nn.Module):
    """Shapes, poses and skins all vertices."""

    template: Tensor
    dirs: Tensor
    weights: Tensor
    rest: Tensor
    rest_dirs: Tensor
    keypoint_rows: Tensor
    evaluation_rows: Tensor
    vertex_joints: Tensor
    picks: Tensor
    identity: Tensor

    def __init__(self, arrays: BodyArrays, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        rest, rest_dirs = arrays.rest_joints()
        dirs = arrays.shapedirs
        if arrays.posedirs is not None:
            dirs = np.concatenate([arrays.posedirs, dirs], axis=2)
        constants = {
            # Coordinate by coordinate, not vertex by vertex: skinning then runs along memory.
            "template": arrays.v_template.T.flatten(),
            "dirs": dirs.transpose(2, 1, 0).reshape(-1, 3 * arrays.num_verts),
            "weights": arrays.weights.T,
            "rest": rest.flatten(),
            "rest_dirs": rest_dirs.reshape(3 * NUM_JOINTS, -1).T,
            "keypoint_rows": arrays.J_regressor_extra,
            "evaluation_rows": arrays.J_regressor_h36m[EVALUATION_14_FROM_H36M],
            "identity": np.eye(3),
        }
        for name, constant in constants.items():
            self.register_buffer(name, torch.tensor(constant, dtype=dtype), persistent=False)
        self.register_buffer("vertex_joints", torch.tensor(arrays.vertex_joints), persistent=False)
        self.register_buffer("picks", torch.tensor(KEYPOINTS_FROM_54), persistent=False)
        self.chain = KinematicChain(rest, rest_dirs, dtype)
        self.has_pose_dirs = arrays.posedirs is not None

    def forward(self, betas: Tensor, rotmat: Tensor) -> BodyMesh:
        """Skin bodies of betas (N, 10) posed by rotmat (N, J, 3, 3)."""
        rotations, joints = self.chain(betas, rotmat)
        rest = torch.addmm(self.rest, betas, self.rest_dirs).unflatten(-1, (NUM_JOINTS, 3, 1))
        shift = joints[..., None] - rotations @ rest  # (N, J, 3, 1)
        transforms = torch.cat([rotations, shift], dim=3)  # (N, J, 3, 4)
        features = betas
        if self.has_pose_dirs:
            features = torch.cat([(rotmat[:, 1:] - self.identity).flatten(1), betas], dim=1)
        columns = transforms.permute(0, 3, 2, 1).flatten(1, 2)  # (N, 12, J)
        return BodyMesh(self._skin_chunks(features, columns).mT, joints)

    def keypoints(self, mesh: BodyMesh) -> Tensor:
        """Read the 49 key-points (N, 49, 3) off a mesh, in the order of `KEYPOINTS`."""
        on_skin = mesh.verts.index_select(1, self.vertex_joints)
        extra = self.keypoint_rows @ mesh.verts
        return torch.cat([mesh.joints, on_skin, extra], dim=1).index_select(1, self.picks)

    def evaluation_joints(self, mesh: BodyMesh) -> Tensor:
        """Read the 14 joints of evaluation (N, 14, 3) off a mesh, in the order of `COMMON_14`."""
        return self.evaluation_rows @ mesh.verts

    def _skin_chunks(self, features: Tensor, columns: Tensor) -> Tensor:
        """Return vertices (N, 3, V) of blend features (N, P) and transforms (N, 12, J).

        Without gradients all chunks share their memory, which is most of the time: the large
        blocks of a chunk would come from the system page by page, and go back to it.
        """
        chunk = SKIN_CHUNK.get(features.device.type, SKIN_CHUNK_ACCELERATOR)
        pieces = features.split(chunk), columns.split(chunk)
        if torch.is_grad_enabled() and (features.requires_grad or columns.requires_grad):
            return torch.cat([self._skin(*piece) for piece in zip(*pieces, strict=True)])
        N, V = len(features), self.weights.shape[1]
        verts = features.new_empty(N, 3, V)
        unposed = features.new_empty(min(chunk, N), 3 * V)
        blended = features.new_empty(12 * min(chunk, N), V)
        for part, moves, out in zip(*pieces, verts.split(chunk), strict=True):
            self._skin(part, moves, unposed[: len(out)], blended[: 12 * len(out)], out)
        return verts

    def _skin(
        self,
        features: Tensor,
        columns: Tensor,
        unposed: Tensor | None = None,
        blended: Tensor | None = None,
        out: Tensor | None = None,
    ) -> Tensor:
        """Shape and pose vertices (N, 3, V), all bodies of a chunk at once, in memory given or not.

        Args:
            features: Of pose and shape (N, P).
            columns: Each joint's transform (N, 12, J), column by column.
            unposed: Memory (N, 3 V) for the vertices before they are posed.
            blended: Memory (12 N, V) for each vertex's transform.
            out: Memory (N, 3, V) for the result.
        """
        unposed = torch.addmm(self.template, features, self.dirs, out=unposed)
        blended = torch.mm(columns.flatten(0, 1), self.weights, out=blended)
        x, y, z = unposed.unflatten(-1, (3, 1, -1)).unbind(1)  # each (N, 1, V)
        along_x, along_y, along_z, shift = blended.view(-1, 4, 3, blended.shape[-1]).unbind(
            1
        )  # each (N, 3, V)
        posed = torch.addcmul(shift, along_x, x, out=out)
        posed = torch.addcmul(posed, along_y, y, out=out)
        return torch.addcmul(posed, along_z, z, out=out)
