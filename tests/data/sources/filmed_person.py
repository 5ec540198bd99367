"""A person before a pinhole, whose truth is known in closed form: the open body, posed, projected.

Everything is computed here in float64 with SciPy and the plain pinhole's formula.
"""

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from scipy.spatial.transform import Rotation

from vibe_ray.body.joints import BodyJoints
from vibe_ray.body.model import BodyConfig, load_body
from vibe_ray.body.params import pose_to_rotmat
from vibe_ray.body.skeletons import KEYPOINTS

WIDTH, HEIGHT, FOCAL = 320, 240, 300.0
CAMERA_AXES = Rotation.from_euler("x", 180, degrees=True)
"""A body with y up, as a camera with y down sees it."""


@dataclass
class Filmed:
    pose: np.ndarray
    """(N, 72), the root in camera axes."""
    betas: np.ndarray
    """(10,)."""
    kp_3d: np.ndarray
    """The 49 (N, 49, 3) before the camera, meters."""
    kp_2d: np.ndarray
    """The 49 (N, 49, 2), pixels."""

    def of(self, names: tuple[str, ...]) -> np.ndarray:
        """Pixels of some of the 49 (N, L, 2)."""
        return self.kp_2d[:, [KEYPOINTS.index(name) for name in names]]

    def points(self, names: tuple[str, ...]) -> np.ndarray:
        """Joints (N, L, 3) before the camera; those that are none of the 49 are made up."""
        hip = self.kp_3d[:, KEYPOINTS.index("hip")]
        return np.stack(
            [
                self.kp_3d[:, KEYPOINTS.index(name)]
                if name in KEYPOINTS
                else hip + 0.01 * (number + 1)
                for number, name in enumerate(names)
            ],
            axis=1,
        )


def project(points: np.ndarray) -> np.ndarray:
    """Pixels (..., 2) of points (..., 3) before the camera."""
    return FOCAL * points[..., :2] / points[..., 2:] + [WIDTH / 2, HEIGHT / 2]


def film(num_frames: int, seed: int = 0) -> Filmed:
    rng = np.random.default_rng(seed)
    swing = np.sin(np.linspace(0, 3, num_frames))[:, None]
    pose = 0.3 * rng.standard_normal(72) * swing
    turn = Rotation.from_euler("y", 20 * swing + 40 * seed, degrees=True)
    pose[:, :3] = (CAMERA_AXES * turn).as_rotvec()
    betas = rng.standard_normal(10)
    place = np.array([0.2 * (seed % 2), 0.1, 4.0]) + swing * np.array([0.3, 0.0, 0.5])
    joints = BodyJoints.keypoints(load_body(BodyConfig()), torch.float64)
    rotmat = pose_to_rotmat(torch.tensor(pose))
    shapes = torch.tensor(betas).expand(num_frames, 10)
    kp_3d = joints(shapes, rotmat).numpy() + place[:, None]
    return Filmed(pose, betas, kp_3d, project(kp_3d))


def write_frames(folder: Path, names: list[str]) -> None:
    folder.mkdir(parents=True)
    jpeg = gray_jpeg(WIDTH, HEIGHT)
    for name in names:
        (folder / name).write_bytes(jpeg)


def gray_jpeg(width: int, height: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (width, height), "gray").save(file, "JPEG")
    return file.getvalue()
