"""How does code written for the `smplx` package get our body?

The one module that imports smplx. Nothing here needs it: smplx's own code is licensed for
non-commercial research only, so it serves comparison, and users who have code for it.
"""

from types import SimpleNamespace

import numpy as np
import smplx
from torch import nn

from vibe_ray.body.model import NUM_POSE_FEATURES, BodyArrays
from vibe_ray.body.skeletons import SMPL_PARENTS, VERTEX_JOINTS


def to_smplx(arrays: BodyArrays, batch_size: int = 1) -> nn.Module:
    """Make an `smplx.SMPL` of a body, open or licensed.

    Args:
        arrays: The body.
        batch_size: Of the pose, shape and translation that the layer holds as parameters.

    Returns:
        The layer; its first 24 joints are SMPL's, the next 21 `VERTEX_JOINTS`.
    """
    posedirs = arrays.posedirs
    if posedirs is None:  # smplx wants them spelled out
        posedirs = np.zeros((arrays.num_verts, 3, NUM_POSE_FEATURES), np.float32)
    data = SimpleNamespace(
        v_template=arrays.v_template,
        shapedirs=arrays.shapedirs,
        posedirs=posedirs,
        J_regressor=arrays.J_regressor,
        weights=arrays.weights,
        f=arrays.faces,
        kintree_table=np.array([SMPL_PARENTS, range(len(SMPL_PARENTS))]),
    )
    vertex_ids = dict(zip(VERTEX_JOINTS, arrays.vertex_joints.tolist(), strict=True))
    return smplx.SMPL(model_path="", data_struct=data, vertex_ids=vertex_ids, batch_size=batch_size)
