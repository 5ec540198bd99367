import numpy as np
import pytest

from vibe_ray.rendering import rasterizer
from vibe_ray.rendering.rasterizer import NOTHING, Raster, rasterize

H, W = 23, 31


def soup(seed: int, num_triangles: int = 40) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Triangles of all sizes, slivers too, in, across and beyond the image."""
    rng = np.random.default_rng(seed)
    sizes = rng.choice([0.4, 3.0, 12.0, 60.0], size=(num_triangles, 1, 1))
    middles = rng.uniform(-5, [W + 5, H + 5], size=(num_triangles, 2))[:, None]
    flat = middles + sizes * rng.normal(size=(num_triangles, 3, 2))
    flat[::5, 2] = flat[::5, :2].mean(axis=1) + 0.02 * rng.normal(size=(len(flat[::5]), 2))
    nearness = rng.normal(size=(num_triangles, 3, 1)) - np.log(sizes)  # small ones before large
    points = np.concatenate([flat, nearness], axis=2).reshape(-1, 3)
    return points, rng.uniform(size=len(points)), np.arange(len(points)).reshape(-1, 3)


def naive(points: np.ndarray, values: np.ndarray, faces: np.ndarray) -> tuple[Raster, np.ndarray]:
    """Ask each pixel's center about each triangle; also, which centers lie off all edges."""
    face = np.full((H, W), NOTHING)
    nearness, value = np.full((H, W), -np.inf), np.zeros((H, W))
    is_clear = np.ones((H, W), bool)
    for row in range(H):
        for column in range(W):
            for number, corners in enumerate(faces):
                a, b, c = points[corners, :2]
                shares = np.linalg.solve(
                    np.column_stack([b - a, c - a]), np.array([column + 0.5, row + 0.5]) - a
                )
                shares = np.array([1 - shares.sum(), *shares])
                if shares.min() > -1e-9:
                    is_clear[row, column] &= shares.min() > 1e-9
                    near = shares @ points[corners, 2]
                    if near > nearness[row, column]:
                        face[row, column], nearness[row, column] = number, near
                        value[row, column] = shares @ values[corners]
    return Raster(face, nearness, value), is_clear


@pytest.mark.parametrize("seed", range(3))
def test_each_pixel_shows_the_triangle_that_a_search_finds(seed: int) -> None:
    triangles = soup(seed)
    found, (expected, is_clear) = rasterize(*triangles, H, W), naive(*triangles)
    assert is_clear.mean() > 0.99
    assert 5 < len(np.unique(expected.face)) < len(triangles[2])
    np.testing.assert_array_equal(found.face[is_clear], expected.face[is_clear])
    np.testing.assert_allclose(found.nearness[is_clear], expected.nearness[is_clear], atol=1e-9)
    np.testing.assert_allclose(found.value[is_clear], expected.value[is_clear], atol=1e-9)


def test_of_a_body_far_away_each_pixel_shows_what_a_search_finds() -> None:
    """Most triangles cover no center of a pixel."""
    points, values, faces = soup(5, 60)
    middles = points.reshape(-1, 3, 3)[:, :, :2].mean(axis=1, keepdims=True)
    small = points.reshape(-1, 3, 3)[:, :, :2] - middles
    size = np.abs(small).max(axis=(1, 2), keepdims=True)
    flat = middles + 1.5 * small / size
    points = np.concatenate([flat, points.reshape(-1, 3, 3)[:, :, 2:]], axis=2).reshape(-1, 3)
    found, (expected, is_clear) = (
        rasterize(points, values, faces, H, W),
        naive(points, values, faces),
    )
    assert 10 < len(np.unique(expected.face)) < 20
    np.testing.assert_array_equal(found.face[is_clear], expected.face[is_clear])
    np.testing.assert_allclose(found.value[is_clear], expected.value[is_clear], atol=1e-9)


def test_the_order_of_triangles_does_not_matter() -> None:
    points, values, faces = soup(0)
    turned = np.roll(faces[::-1], 1, axis=1)
    one, other = rasterize(points, values, faces, H, W), rasterize(points, values, turned, H, W)
    np.testing.assert_array_equal(
        other.face[one.face >= 0], len(faces) - 1 - one.face[one.face >= 0]
    )
    np.testing.assert_allclose(other.nearness, one.nearness, atol=1e-12)


def test_memory_is_bounded_without_changing_the_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = rasterize(*soup(1), H, W)
    monkeypatch.setattr(rasterizer, "MAX_AT_ONCE", 7)
    pieces = rasterize(*soup(1), H, W)
    np.testing.assert_array_equal(pieces.face, whole.face)
    np.testing.assert_array_equal(pieces.nearness, whole.nearness)
    np.testing.assert_array_equal(pieces.value, whole.value)


@pytest.mark.parametrize("step", [1.0, 2.5, 3.7])
def test_neighbors_share_out_every_pixel_between_them(step: float) -> None:
    # Corners and edges fall on centers of pixels, and elsewhere.
    rng = np.random.default_rng(0)
    x, y = np.meshgrid(np.arange(-step, W + 2 * step, step), np.arange(-step, H + 2 * step, step))
    x[1:-1, 1:-1] += (step % 1 > 0.6) * 0.4 * step * rng.uniform(-1, 1, x[1:-1, 1:-1].shape)
    rows, columns = x.shape
    a = (np.arange(rows - 1)[:, None] * columns + np.arange(columns - 1)).ravel()
    faces = np.concatenate(
        [np.stack([a, a + 1, a + columns], 1), np.stack([a + 1, a + columns + 1, a + columns], 1)]
    )
    points = np.column_stack([x.ravel(), y.ravel(), np.zeros(x.size)])
    covered = np.zeros((H, W), int)
    for face in faces:
        covered += rasterize(points, np.zeros(len(points)), face[None], H, W).face >= 0
    np.testing.assert_array_equal(covered, 1)


def test_of_equally_near_triangles_the_later_is_seen() -> None:
    points = np.array([[0, 0, 1], [W * 2, 0, 1], [0, H * 2, 1]], float)
    raster = rasterize(points, np.zeros(3), np.array([[0, 1, 2]] * 3), H, W)
    np.testing.assert_array_equal(raster.face, 2)


def test_nothing_to_draw() -> None:
    points, values, faces = soup(0)
    outside = points + np.array([300, 300, 0])
    for none in (
        rasterize(points, values, faces[:0], H, W),
        rasterize(outside, values, faces, H, W),
    ):
        assert (none.face == NOTHING).all()
        assert (none.nearness == -np.inf).all()
    assert rasterize(points, values, faces, 0, 0).face.shape == (0, 0)


def test_triangles_without_area_cover_nothing() -> None:
    points = np.array([[3, 4, 1], [9, 4, 1], [15, 4, 1], [15, 19, 1], [3.0, 4.0, 2]], float)
    flat = np.array([[0, 1, 2], [2, 3, 3], [0, 0, 0], [0, 4, 2]])
    assert (rasterize(points, np.zeros(5), flat, H, W).face == NOTHING).all()


def test_corners_that_are_no_numbers() -> None:
    points, values, faces = soup(0)
    points[7, 1] = np.nan
    with pytest.raises(ValueError, match="NaN or infinite"):
        rasterize(points, values, faces, H, W)
    rasterize(points, values, faces[3:], H, W)  # it belongs to none of these
