import numpy as np
import torch

from vibe_ray.body.mesh import BodyModel
from vibe_ray.body.model import BodyConfig, load_body
from vibe_ray.body.params import pose_to_rotmat
from vibe_ray.body.skeletons import SMPL_JOINTS
from vibe_ray.data.schema import MotionSequence
from vibe_ray.data.sources.ground import Ground


def walking(height: float) -> MotionSequence:
    """Steps on the spot: one knee is raised, then the other; the pelvis stays at a height."""
    pose = np.zeros((120, 24, 3), np.float32)
    swing = np.sin(np.arange(120) / 6)
    for side, lift in (("left", np.maximum(swing, 0)), ("right", np.maximum(-swing, 0))):
        pose[:, SMPL_JOINTS.index(f"{side}_hip"), 0] = -lift
        pose[:, SMPL_JOINTS.index(f"{side}_knee"), 0] = 1.5 * lift
    trans = np.tile(np.float32([0.3, height, -2.0]), (120, 1))
    betas = np.linspace(-1, 1, 10, dtype=np.float32)
    return MotionSequence(
        dataset="", name="", fps=25.0, pose=pose.reshape(120, 72), trans=trans, betas=betas
    )


def test_the_skin_of_the_soles_comes_to_lie_on_the_floor() -> None:
    arrays = load_body(BodyConfig())
    (grounded,) = Ground(arrays).place([walking(height=3.7)])

    mesh = BodyModel(arrays)(
        torch.from_numpy(grounded.betas).expand(120, -1),
        pose_to_rotmat(torch.from_numpy(grounded.pose)),
    )
    verts = mesh.verts.numpy() + (grounded.trans - mesh.joints.numpy()[:, 0])[:, None]
    lowest = verts[..., 1].min(axis=1)
    assert np.abs(lowest).max() < 0.01
    np.testing.assert_array_equal(grounded.trans[:, [0, 2]], walking(3.7).trans[:, [0, 2]])


def test_pieces_of_a_recording_keep_their_heights_to_each_other() -> None:
    ground = Ground(load_body(BodyConfig()))
    low, high = ground.place([walking(height=1.0), walking(height=1.5)])
    np.testing.assert_allclose(high.trans[:, 1] - low.trans[:, 1], 0.5, atol=1e-6)
    assert np.percentile(ground.foot_heights(low), 50) < 0.01
