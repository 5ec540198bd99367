import math

import torch

from vibe_ray.data.synthetic.virtual_cameras import (
    BODY_HEIGHT,
    IMAGE_SIZES,
    CameraConfig,
    draw_cameras,
)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_cameras_lie_within_the_configured_ranges() -> None:
    config = CameraConfig(pan_deg=0.0, zoom=0.0)
    cameras = draw_cameras(torch.zeros(5000, 1, 3), 25.0, config, seeded())
    longer = cameras.image_size.amax(dim=1)
    focal = cameras.focal[:, 0] / longer
    assert focal.min() >= 0.8 - 1e-4
    assert focal.max() <= 2.2 + 1e-4
    fill = cameras.height_px[:, 0] / cameras.image_size[:, 1]
    assert fill.min() >= 0.2 - 1e-4
    assert fill.max() <= 0.9 + 1e-4  # the least depth only makes people smaller
    assert {tuple(size.tolist()) for size in cameras.image_size} == set(IMAGE_SIZES)


def test_rotations_are_rotations_and_keep_people_upright() -> None:
    config = CameraConfig()
    cameras = draw_cameras(torch.zeros(200, 30, 3), 25.0, config, seeded())
    identity = torch.eye(3).expand(200, 30, 3, 3)
    torch.testing.assert_close(
        cameras.rotation @ cameras.rotation.mT, identity, atol=1e-5, rtol=1e-5
    )
    assert (torch.linalg.det(cameras.rotation) > 0).all()
    up = cameras.rotation[..., 1]  # of the world, in camera axes: y points down
    assert up[..., 1].max() < -math.cos(math.radians(45))


def test_a_camera_that_looks_down_has_the_head_nearer_than_the_feet() -> None:
    config = CameraConfig(pitch_deg=(29.0, 30.0), roll_deg=0.0, pan_deg=0.0)
    cameras = draw_cameras(torch.zeros(50, 1, 3), 25.0, config, seeded())
    up = cameras.rotation[..., 1]
    assert (up[..., 2] < -0.45).all()


def test_long_walks_stay_near_the_mean_place() -> None:
    config = CameraConfig()
    walk = torch.linspace(-10, 10, 100)[:, None] * torch.tensor([0.6, 0.0, 0.8])
    cameras = draw_cameras(walk.expand(50, -1, -1), 25.0, config, seeded())
    assert (cameras.root[..., 2] > 0.5).all()
    shift = cameras.root[..., 0] - cameras.root[..., 0].mean(dim=1, keepdim=True)
    half_view = cameras.root[..., 2] * cameras.image_size.amin(dim=1)[:, None] / 2 / cameras.focal
    assert (shift.abs() / half_view).max() < 0.6


def test_height_in_pixels_is_that_of_the_projection() -> None:
    cameras = draw_cameras(torch.zeros(20, 4, 3), 25.0, CameraConfig(), seeded())
    top = cameras.root + torch.tensor([0.0, -BODY_HEIGHT, 0.0])
    pixels = [cameras.focal * p[..., 1] / p[..., 2] for p in (cameras.root, top)]
    torch.testing.assert_close(cameras.height_px, pixels[0] - pixels[1])
