import numpy as np
import torch

from tests.geometry.crops import crop_to_pixels
from vibe_ray.geometry.cameras import (
    crop_camera_to_translation,
    locate,
    pixels_to_crop,
    project_perspective,
    project_weak_perspective,
    weak_perspective_translation,
)

GENERATOR = torch.Generator().manual_seed(0)
POINTS = torch.randn(2, 3, 7, 3, generator=GENERATOR, dtype=torch.float64) * 0.5
CAM = torch.tensor([0.9, 0.0, 0.0]) + torch.randn(2, 3, 3, generator=GENERATOR).double() * 0.1
BOX = torch.tensor([400.0, 300.0, 250.0]) + torch.rand(2, 3, 3, generator=GENERATOR).double() * 50
WIDTH, HEIGHT = 1280.0, 720.0


def test_projection_agrees_with_vibes_formula_point_by_point() -> None:
    projected = project_weak_perspective(POINTS, CAM)
    for window in range(2):
        for frame in range(3):
            s, tx, ty = CAM[window, frame].numpy()
            for point, actual in zip(
                POINTS[window, frame].numpy(), projected[window, frame].numpy(), strict=True
            ):
                moved = point + np.array([tx, ty, 2 * 5000 / (224 * s + 1e-9)])
                pixels = 5000 * moved[:2] / moved[2]
                np.testing.assert_allclose(actual, pixels / 112, rtol=1e-12)


def test_projection_is_nearly_orthographic() -> None:
    expected = CAM[..., None, :1] * (POINTS[..., :2] + CAM[..., None, 1:])
    torch.testing.assert_close(
        project_weak_perspective(POINTS, CAM), expected, rtol=0.05, atol=0.05
    )
    flat = POINTS * torch.tensor([1.0, 1.0, 0.0])
    expected = CAM[..., None, :1] * (flat[..., :2] + CAM[..., None, 1:])
    torch.testing.assert_close(project_weak_perspective(flat, CAM), expected)


def test_projection_is_a_pinhole_looking_at_the_crop() -> None:
    moved = POINTS + weak_perspective_translation(CAM).unsqueeze(-2)
    pixels = project_perspective(moved, 5000.0, torch.tensor([112.0, 112.0]))
    expected = project_weak_perspective(POINTS, CAM) * 112 + 112
    torch.testing.assert_close(pixels, expected)


def test_pinhole_takes_a_focal_length_per_frame() -> None:
    moved = POINTS + torch.tensor([0.0, 0.0, 4.0])
    focal = torch.rand(2, 3, generator=GENERATOR, dtype=torch.float64) * 500 + 500
    principal = torch.rand(2, 3, 2, generator=GENERATOR, dtype=torch.float64) * 500
    pixels = project_perspective(moved, focal, principal)
    for index in np.ndindex(2, 3):
        intrinsics = np.diag([focal[index], focal[index], 1.0])
        intrinsics[:2, 2] = principal[index]
        homogeneous = moved[index].numpy() @ intrinsics.T
        np.testing.assert_allclose(pixels[index], homogeneous[:, :2] / homogeneous[:, 2:])


def test_crop_coordinates_agree_with_vibes_two_steps() -> None:
    pixels = torch.rand(2, 3, 49, 2, generator=GENERATOR, dtype=torch.float64) * 700
    crop = pixels_to_crop(pixels, BOX)
    in_224 = (pixels - BOX[..., None, :2]) * 224 / BOX[..., None, 2:] + 112
    torch.testing.assert_close(crop, 2 * in_224 / 224 - 1)
    torch.testing.assert_close(crop_to_pixels(crop, BOX), pixels)


def test_box_corners_are_the_ends_of_the_crop() -> None:
    box = torch.tensor([100.0, 50.0, 40.0])
    corners = torch.tensor([[80.0, 30.0], [120.0, 70.0], [100.0, 50.0]])
    expected = torch.tensor([[-1.0, -1.0], [1.0, 1.0], [0.0, 0.0]])
    assert torch.equal(pixels_to_crop(corners, box), expected)


def test_gradients_agree_with_finite_differences() -> None:
    points = POINTS[0, :, :2].clone().requires_grad_()
    cam = CAM[0].clone().requires_grad_()
    assert torch.autograd.gradcheck(project_weak_perspective, (points, cam))


FOCAL, PRINCIPAL = 800.0, torch.tensor([WIDTH / 2, HEIGHT / 2], dtype=torch.float64)
PLACES = torch.tensor([[0.3, -0.2, 3.0], [-0.8, 0.1, 6.0]]).double()[:, None].expand(2, 3, 3)


def seen(points: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
    return project_perspective(points + places[..., None, :], FOCAL, PRINCIPAL)


def test_a_body_is_located_where_its_points_were_seen() -> None:
    found = locate(POINTS, seen(POINTS, PLACES), torch.ones(2, 3, 7), FOCAL, PRINCIPAL)
    torch.testing.assert_close(found.double(), PLACES, rtol=1e-5, atol=1e-5)


def test_one_wrong_point_hardly_moves_the_body() -> None:
    kp = seen(POINTS, PLACES)
    kp[..., 2, :] += torch.tensor([180.0, -120.0])
    rounds = [locate(POINTS, kp, torch.ones(2, 3, 7), FOCAL, PRINCIPAL, n) for n in (1, 8)]
    plain, robust = ((found - PLACES).norm(dim=-1).max() for found in rounds)
    assert robust < plain / 5


def test_points_that_do_not_count_may_be_anything() -> None:
    kp, weights = seen(POINTS, PLACES), torch.ones(2, 3, 7)
    kp[..., 4:, :], weights[..., 4:] = torch.nan, 0
    found = locate(POINTS, kp, weights, FOCAL, PRINCIPAL)
    torch.testing.assert_close(found.double(), PLACES, rtol=1e-5, atol=1e-5)


def test_a_body_that_is_not_seen_is_nowhere() -> None:
    weights = torch.zeros(2, 3, 7)
    weights[..., 0] = 1
    assert locate(POINTS, seen(POINTS, PLACES), weights, FOCAL, PRINCIPAL).isnan().all()


def test_the_crops_camera_puts_a_flat_body_where_the_crop_shows_it() -> None:
    flat = POINTS * torch.tensor([1.0, 1.0, 0.0])
    place = crop_camera_to_translation(CAM, BOX, FOCAL, PRINCIPAL)
    in_image = seen(flat, place)
    in_crop = crop_to_pixels(CAM[..., None, :1] * (flat[..., :2] + CAM[..., None, 1:]), BOX)
    torch.testing.assert_close(in_image, in_crop)
