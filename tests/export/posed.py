"""What files are compared with: the body model's own joints and vertices."""

from dataclasses import replace

import numpy as np
import torch

from vibe_ray.body.mesh import BodyModel
from vibe_ray.body.model import BodyArrays
from vibe_ray.export.animation import Animation

ARMS = [(16, 18, 1), (18, 20, 1), (17, 19, -1), (19, 21, -1)]
"""Joints at both ends of the arms' bones, and the side of x to which they point in a T-pose."""
LEGS = [(1, 4), (4, 7), (2, 5), (5, 8)]


def posed(
    animation: Animation, body: BodyArrays, *, with_correctives: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Joints (N, 24, 3) and vertices (N, V, 3) in the world."""
    if not with_correctives:
        body = replace(body, posedirs=None)
    model = BodyModel(body, torch.float64)
    betas = torch.tensor(animation.betas).expand(len(animation.times_s), -1)
    mesh = model(betas, torch.tensor(animation.rotmat))
    to_world = torch.tensor(animation.transl)[:, None] - mesh.joints[:, :1]
    return (mesh.joints + to_world).numpy(), (mesh.verts + to_world).numpy()


def degrees_between(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Angle of the turn from one rotation (..., 3, 3) to the other."""
    cosine = (np.trace(np.swapaxes(a, -1, -2) @ b, axis1=-2, axis2=-1) - 1) / 2
    half = np.linalg.norm(a - b, axis=(-2, -1)) / np.sqrt(8)  # accurate where the cosine is not
    return np.rad2deg(
        np.where(cosine > 0.9, 2 * np.arcsin(half.clip(0, 1)), np.arccos(cosine.clip(-1, 1)))
    )


def assert_t_pose(joints: np.ndarray) -> None:
    """Joints (24, 3) of a person whose arms point sideways and whose legs hang, facing +z."""
    for start, end, side in ARMS:
        bone = joints[end] - joints[start]
        assert side * bone[0] / np.linalg.norm(bone) > np.cos(np.deg2rad(10))
    for start, end in LEGS:
        bone = joints[end] - joints[start]
        assert -bone[1] / np.linalg.norm(bone) > np.cos(np.deg2rad(10))
    assert joints[15, 1] > joints[0, 1] > joints[4, 1]
    assert (joints[[10, 11], 2] > joints[[7, 8], 2]).all()
