"""Motions as a camera sees them, without any error."""

from collections.abc import Sequence

import torch

from tests.fitting.motions import before_camera, skeleton, up_of
from vibe_ray.body.skeletons import COCO_17, KEYPOINTS, indices
from vibe_ray.fitting.motion import Motion
from vibe_ray.fitting.observation import Observation
from vibe_ray.geometry.cameras import project_perspective

UP = up_of(8.0, 2.0)
PLACE = torch.tensor([0.2, 0.8, 5.0], dtype=torch.float64)
FOCAL, CENTER = 1000.0, (640.0, 360.0)


def observed(motion: Motion, names: Sequence[str] = COCO_17) -> tuple[Motion, Observation]:
    """Put a motion of the world before a camera, and say where its key-points appear."""
    before = before_camera(motion, UP, PLACE)
    points = skeleton().keypoints(before)[:, indices(names, KEYPOINTS)]
    kp = project_perspective(points, FOCAL, torch.tensor(CENTER, dtype=torch.float64))
    size = 1.2 * (kp.amax(dim=1) - kp.amin(dim=1)).amax(dim=1)
    seen = Observation(
        kp_2d=kp,
        conf=torch.ones(kp.shape[:2]),
        names=names,
        box_size=size,
        focal=FOCAL,
        center=CENTER,
    )
    return before, seen
