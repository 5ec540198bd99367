"""What errors are usual: of left as of right, of no joint certain, of arms more than of legs."""

import numpy as np
import torch

from vibe_ray.body.skeletons import SMPL_JOINTS, SMPL_MIRROR
from vibe_ray.fitting.usual_errors import FILE, FLOOR_RAD, usual_errors


def test_they_are_a_root_of_the_covariance_that_the_file_holds() -> None:
    root = usual_errors().double()
    with np.load(FILE) as data:
        covariance = torch.from_numpy(data["covariance"]).double()
    expected = covariance + FLOOR_RAD**2 * torch.eye(72)
    torch.testing.assert_close(root @ root.T, expected, rtol=1e-4, atol=1e-6)
    assert root.diagonal().min() > 0.9 * FLOOR_RAD


def test_a_mirrored_person_is_wrong_in_the_mirrored_way() -> None:
    covariance = (usual_errors() @ usual_errors().T).view(24, 3, 24, 3)
    sign = torch.tensor([1.0, -1.0, -1.0])
    mirrored = covariance[SMPL_MIRROR][:, :, SMPL_MIRROR] * sign[:, None, None] * sign
    torch.testing.assert_close(mirrored, covariance, rtol=1e-4, atol=1e-6)


def test_arms_are_off_by_more_than_legs() -> None:
    size = (usual_errors() @ usual_errors().T).diagonal().view(24, 3).mean(dim=1).sqrt()
    of = dict(zip(SMPL_JOINTS, size.tolist(), strict=True))
    assert of["left_shoulder"] > 1.5 * of["left_hip"] > 0.1
    assert of["left_hand"] < 0.03  # which no key-point shows: it hardly moves in the motion
