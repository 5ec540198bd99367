import numpy as np
import pytest
import torch

from vibe_ray.geometry.cameras import (
    project_perspective,
)
from vibe_ray.rendering.rasterizer import rasterize
from vibe_ray.rendering.scene import (
    AMBIENT,
    LIGHT,
    Camera,
    Mesh,
    Orthographic,
    Perspective,
    area_normals,
    paint_over,
    render,
    shade,
)

H, W = 36, 48
GRAY, RED, BLUE = (0.5, 0.5, 0.5), (0.8, 0.0, 0.0), (0.0, 0.0, 0.8)
PINHOLE = Perspective(60.0, (20.0, 17.0))


def ball(
    center: tuple[float, float, float], radius: float = 0.5, color: tuple[float, ...] = GRAY
) -> Mesh:
    """A sphere of 8 x 12 quads."""
    polar, turn = np.meshgrid(np.linspace(0, np.pi, 9), np.arange(12) / 6 * np.pi, indexing="ij")
    sine = np.sin(polar)
    unit = np.stack([sine * np.cos(turn), -np.cos(polar), sine * np.sin(turn)], axis=-1)
    row, column = (grid.ravel() for grid in np.mgrid[:8, :12])
    a, b = row * 12 + column, row * 12 + (column + 1) % 12
    upper, lower = np.stack([a, b + 12, a + 12], 1), np.stack([a, b, b + 12], 1)
    faces = np.concatenate([upper[row < 7], lower[row > 0]])  # at the poles one has no area
    red, green, blue = color
    return Mesh(radius * unit.reshape(-1, 3) + center, faces, (red, green, blue))


def plate(depth: float, color: tuple[float, float, float] = GRAY, size: float = 1.0) -> Mesh:
    """A square that faces the camera."""
    flat = size / 2 * np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]])
    verts = np.column_stack([flat, np.full(4, depth)])
    return Mesh(verts, np.array([[0, 3, 2], [0, 2, 1]]), color)


def ray_depths(mesh: Mesh, camera: Perspective) -> np.ndarray:
    """Depth (H, W) at which each pixel's ray first meets the mesh (Moeller and Trumbore)."""
    depths = np.full((H, W), np.inf)
    a, b, c = mesh.verts[mesh.faces].swapaxes(0, 1)
    for row in range(H):
        for column in range(W):
            (x, y), focal = camera.center, camera.focal
            ray = np.array([(column + 0.5 - x) / focal, (row + 0.5 - y) / focal, 1.0])
            across, moved = np.cross(ray, c - a), np.cross(-a, b - a)
            scale = ((b - a) * across).sum(axis=1)
            u, v = (-a * across).sum(axis=1) / scale, moved @ ray / scale
            met = (u >= 0) & (v >= 0) & (u + v <= 1)
            along = ((c - a) * moved).sum(axis=1) / scale
            depths[row, column] = along[met & (along > 0)].min(initial=np.inf)
    return depths


def test_depths_are_those_of_rays() -> None:
    near, far = ball((0.1, 0.0, 1.6)), ball((0.5, 0.2, 2.2), 0.9)
    both = Mesh(
        np.concatenate([near.verts, far.verts]),
        np.concatenate([near.faces, far.faces + len(near.verts)]),
        GRAY,
    )
    raster = rasterize(
        PINHOLE.project(both.verts), shade(area_normals(both.verts, both.faces)), both.faces, H, W
    )
    expected = ray_depths(both, PINHOLE)
    assert 0.2 < np.isfinite(expected).mean() < 0.9
    np.testing.assert_array_equal(raster.face >= 0, np.isfinite(expected))
    np.testing.assert_allclose(raster.nearness.clip(0), 1 / expected, rtol=1e-9)
    drawn = render([both], PINHOLE, H, W)
    np.testing.assert_array_equal(drawn[..., 3], 255 * np.isfinite(expected))


@pytest.mark.parametrize("camera", [PINHOLE, Orthographic(20.0, (24.0, 18.0))])
def test_the_nearer_body_hides_the_other_in_any_order(camera: Camera) -> None:
    near, far = ball((0, 0, 2), color=RED), ball((0.2, 0, 4), 1.2, color=BLUE)
    one, other = render([near, far], camera, H, W), render([far, near], camera, H, W)
    np.testing.assert_array_equal(one, other)
    alone = render([near], camera, H, W)
    is_near = alone[..., 3] > 0
    np.testing.assert_array_equal(one[is_near], alone[is_near])
    rest = one[~is_near & (one[..., 3] > 0)]
    assert len(rest) > 20
    assert (rest[:, 0] == 0).all()
    assert (rest[:, 2] > 0).all()


def test_bodies_may_pass_through_each_other() -> None:
    tilted = plate(2.0, BLUE)
    tilted.verts[:, 2] += tilted.verts[:, 0]  # its left half is nearer than 2 m
    drawn = render([plate(2.0, RED), tilted], Orthographic(20.0, (24.0, 18.0)), H, W)
    assert drawn[18, 16, 2] > drawn[18, 16, 0] == 0
    assert drawn[18, 32, 0] > drawn[18, 32, 2] == 0


def test_what_faces_away_is_not_drawn() -> None:
    mesh = plate(2.0)
    assert render([mesh], PINHOLE, H, W).any()
    assert not render([Mesh(mesh.verts, mesh.faces[:, ::-1], GRAY)], PINHOLE, H, W).any()


def test_what_reaches_behind_the_camera_is_left_out() -> None:
    mesh = plate(2.0)
    mesh.verts[0, 2] = -1.0  # a corner of both triangles
    assert not render([mesh], PINHOLE, H, W).any()
    mesh.verts[0, 2], mesh.verts[1, 2] = 2.0, -1.0  # of one
    assert render([mesh], PINHOLE, H, W).any()


def test_a_plate_turned_to_the_light_is_brightest_and_one_turned_away_darkest() -> None:
    normal = LIGHT / np.linalg.norm(LIGHT)
    side = np.cross(normal, [0, 0, 1])
    verts = np.stack([np.zeros(3), side, np.cross(normal, side)])
    faces = np.array([[0, 1, 2]])
    np.testing.assert_allclose(shade(area_normals(verts, faces)), 1)
    np.testing.assert_allclose(shade(area_normals(verts, faces[:, ::-1])), AMBIENT)
    grazing = np.stack([np.zeros(3), normal, side])
    np.testing.assert_allclose(shade(area_normals(grazing, faces)), AMBIENT, atol=1e-12)


def test_colors_are_the_bodies_times_their_brightness() -> None:
    mesh = plate(2.0, (0.2, 0.4, 0.6))
    (bright, *_) = shade(area_normals(mesh.verts, mesh.faces))
    drawn = render([mesh], PINHOLE, H, W)
    expected = np.rint(255 * bright * np.array(mesh.color))
    np.testing.assert_allclose(drawn[drawn[..., 3] > 0], [[*expected, 255]] * 900, atol=1)


def test_normals_that_are_given_turn_with_the_body() -> None:
    turn = np.array([[0.0, 0, 1], [0, 1, 0], [-1, 0, 0]])  # of rows, a quarter about the vertical
    mesh = ball((0, 0, 0))
    normals = area_normals(mesh.verts, mesh.faces)
    np.testing.assert_allclose(area_normals(mesh.verts @ turn, mesh.faces), normals @ turn)
    verts = mesh.verts @ turn + [0.1, 0, 2]
    anew = render([Mesh(verts, mesh.faces, GRAY)], PINHOLE, H, W)
    given = render([Mesh(verts, mesh.faces, GRAY, normals @ turn)], PINHOLE, H, W)
    np.testing.assert_array_equal(given, anew)
    assert (render([Mesh(verts, mesh.faces, GRAY, normals)], PINHOLE, H, W) != anew).any()


def test_a_normal_is_the_mean_of_its_triangles_by_their_area() -> None:
    mesh = ball((0.3, 0, 2))
    expected = np.zeros_like(mesh.verts)
    for face in mesh.faces:
        a, b, c = mesh.verts[face]
        expected[face] += np.cross(b - a, c - a)
    np.testing.assert_allclose(area_normals(mesh.verts, mesh.faces), expected, atol=1e-12)


def test_samples_turn_edges_into_shares_of_a_pixel() -> None:
    # From 10.25 to 20.75 pixels: three quarters of the pixels at the rim, and 9 within.
    drawn = render([plate(2.0, size=10.5)], Orthographic(1.0, (15.5, 15.5)), H, W, samples=4)
    np.testing.assert_array_equal(np.unique(drawn[15, :, 3]), [0, round(255 * 0.75), 255])
    assert drawn[15, 10, 3] == drawn[15, 20, 3] == round(255 * 0.75)
    assert drawn[10, 10, 3] == round(255 * 0.75**2)
    assert len(np.unique(drawn[drawn[..., 3] > 0][:, :3], axis=0)) == 1  # no darker at the rim
    area = (drawn[..., 3] / 255.0).sum()
    assert area == pytest.approx(10.5**2, rel=1e-3)


def test_a_pinhole_projects_as_the_geometry_does() -> None:
    verts = ball((0.2, -0.1, 3.0)).verts
    expected = project_perspective(
        torch.tensor(verts), PINHOLE.focal, torch.tensor(PINHOLE.center, dtype=torch.float64)
    )
    np.testing.assert_allclose(PINHOLE.project(verts)[:, :2], expected)


def test_a_body_is_drawn_the_same_wherever_the_image_is_cut() -> None:
    mesh = ball((0.1, 0, 2))
    whole = render([mesh], PINHOLE, H, W)
    part = render([mesh], Perspective(60.0, (20.0 - 11, 17.0 - 6)), 12, 15)
    np.testing.assert_array_equal(part, whole[6:18, 11:26])


def test_no_body_no_picture() -> None:
    drawn = render([], PINHOLE, H, W)
    assert drawn.shape == (H, W, 4)
    assert not drawn.any()
    assert not render([ball((9, 0, 2))], PINHOLE, H, W).any()


def test_painting_over_mixes_by_alpha_and_opacity() -> None:
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 256, (H, W, 3), dtype=np.uint8)
    rgba = rng.integers(0, 256, (H, W, 4), dtype=np.uint8)
    rgba[:9, :, 3] = 0
    before = picture.copy()
    share = rgba[..., 3:] / 255 * 0.7
    expected = np.rint((1 - share) * picture + share * rgba[..., :3])
    np.testing.assert_array_equal(paint_over(picture, rgba, 0.7), expected)
    np.testing.assert_array_equal(picture, before)
    np.testing.assert_array_equal(paint_over(picture, rgba, 0.0), picture)
    np.testing.assert_array_equal(paint_over(picture[:, ::-1], rgba)[:9], picture[:9, ::-1])


def test_pictures_that_do_not_fit() -> None:
    rgba = render([], PINHOLE, H, W)
    for picture in (np.zeros((H, W + 1, 3), np.uint8), np.zeros((H, W, 3)), rgba):
        with pytest.raises(ValueError, match=r"expected \(36, 48, 3\) of uint8"):
            paint_over(picture, rgba)


def test_meshes_that_cannot_be_drawn() -> None:
    mesh = plate(2.0)
    with pytest.raises(ValueError, match="hold NaN"):
        render([Mesh(mesh.verts * np.nan, mesh.faces, GRAY)], PINHOLE, H, W)
    for faces in (mesh.faces + 2, mesh.faces - 1, mesh.faces[:, :2]):
        with pytest.raises(ValueError, match="expected"):
            render([Mesh(mesh.verts, faces, GRAY)], PINHOLE, H, W)
