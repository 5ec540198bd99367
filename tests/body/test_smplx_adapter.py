import numpy as np
import pytest
import torch

from tests.body.made_up_bodies import random_bodies
from vibe_ray.body.joints import BodyJoints
from vibe_ray.body.mesh import BodyModel
from vibe_ray.body.model import BodyArrays
from vibe_ray.body.skeletons import KEYPOINTS_FROM_54
from vibe_ray.body.smplx_adapter import to_smplx

TOLERANCE = 1e-5  # meters


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_our_mesh_and_joints_are_those_of_smplx(body: BodyArrays) -> None:
    betas, rotmat = random_bodies(24, torch.float32)
    layer = to_smplx(body, batch_size=24)
    with torch.no_grad():
        theirs = layer(
            betas=betas, global_orient=rotmat[:, :1], body_pose=rotmat[:, 1:], pose2rot=False
        )
    mesh = BodyModel(body)(betas, rotmat)
    torch.testing.assert_close(mesh.verts, theirs.vertices, rtol=0, atol=TOLERANCE)
    torch.testing.assert_close(mesh.joints, theirs.joints[:, :24], rtol=0, atol=TOLERANCE)

    # VIBE's 49 key-points: smplx's 45 joints, nine more regressed from the mesh, and a map.
    extra = torch.from_numpy(body.J_regressor_extra) @ theirs.vertices
    keypoints = torch.cat([theirs.joints, extra], dim=1)[:, KEYPOINTS_FROM_54]
    torch.testing.assert_close(
        BodyJoints.keypoints(body)(betas, rotmat), keypoints, rtol=0, atol=TOLERANCE
    )


def test_the_layer_has_our_faces_and_a_pose_by_default(open_body: BodyArrays) -> None:
    layer = to_smplx(open_body)
    np.testing.assert_array_equal(layer.faces, open_body.faces)
    verts = layer().vertices[0].detach()
    np.testing.assert_allclose(verts, open_body.v_template, atol=1e-6, rtol=0)
