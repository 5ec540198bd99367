import numpy as np

from tests.body.open_body.meshes import sphere
from vibe_ray.body.open_body.visibility import is_blocked, visibility


def naive_is_blocked(origin: np.ndarray, direction: np.ndarray, corners: np.ndarray) -> bool:
    """Solve origin + t direction = a + u (b - a) + v (c - a), triangle by triangle."""
    for a, b, c in corners:
        matrix = np.stack([-direction, b - a, c - a], axis=1)
        if abs(np.linalg.det(matrix)) < 1e-12:
            continue
        t, u, v = np.linalg.solve(matrix, origin - a)
        if t > 0 and u >= 0 and v >= 0 and u + v <= 1:
            return True
    return False


def test_agrees_with_solving_for_the_hit() -> None:
    rng = np.random.default_rng(0)
    centers = rng.uniform(-0.1, 0.1, size=(60, 1, 3))
    corners = centers + rng.normal(0, 0.03, size=(60, 3, 3))
    origins = rng.uniform(-0.12, 0.12, size=(80, 3))
    for direction in (*np.eye(3), rng.normal(size=3), rng.normal(size=3)):
        direction = direction / np.linalg.norm(direction)
        expected = [naive_is_blocked(origin, direction, corners) for origin in origins]
        assert 0 < sum(expected) < len(expected)
        assert is_blocked(origins, direction, corners).tolist() == expected


def test_a_convex_body_is_seen_and_what_is_in_it_is_not() -> None:
    outer, triangles, _ = sphere(6, radius=0.1)
    inner = outer * 0.5
    seen = visibility(
        np.concatenate([outer, inner]), np.concatenate([triangles, triangles + len(outer)])
    )
    assert (seen[: len(outer)] == 1).all()
    assert (seen[len(outer) :] == 0).all()
