"""What errors are usual: of left as of right, of joints together, of arms more than of legs."""

import numpy as np
import torch

from vibe_ray.body.params import mirror_pose
from vibe_ray.body.skeletons import SMPL_JOINTS
from vibe_ray.fitting.usual_errors import FILE, FLOOR_RAD, usual_errors


def moments() -> torch.Tensor:
    """(72, 72), radians squared."""
    return usual_errors().double() @ usual_errors().double()


def test_they_are_the_symmetric_root_of_what_the_file_holds() -> None:
    with np.load(FILE) as data:
        held = torch.from_numpy(data["moments"]).double()
    expected = held + FLOOR_RAD**2 * torch.eye(72)
    torch.testing.assert_close(moments(), expected, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(usual_errors(), usual_errors().T)
    assert torch.linalg.eigvalsh(usual_errors().double()).min() > 0.99 * FLOOR_RAD


def test_a_mirrored_person_is_wrong_in_the_mirrored_way() -> None:
    """The root itself: so that a mirrored fit is the fit, mirrored, wherever it stops."""
    mirrored = mirror_pose(mirror_pose(usual_errors()).T).T
    torch.testing.assert_close(mirrored, usual_errors(), rtol=1e-4, atol=1e-5)


def test_joints_go_wrong_together() -> None:
    """A hip that is bent too little goes with such a knee: a leg that is taken to be straight."""
    scale = moments().diagonal().sqrt()
    correlation = moments() / scale / scale[:, None]
    hip, knee = (3 * SMPL_JOINTS.index(f"left_{name}") for name in ("hip", "knee"))  # about x
    assert correlation[hip, knee] < -0.4


def test_arms_are_off_by_more_than_legs() -> None:
    size = moments().diagonal().view(24, 3).mean(dim=1).sqrt()
    of = dict(zip(SMPL_JOINTS, size.tolist(), strict=True))
    assert of["left_shoulder"] > 1.5 * of["left_hip"] > 0.1
    assert of["left_hand"] < 0.03  # which no key-point shows: it hardly moves in the motion
