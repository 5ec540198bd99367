import numpy as np

from vibe_ray.body.open_body.surface import set_symmetric, spread_average
from vibe_ray.body.skeletons import SMPL_JOINTS


def test_average_hits_the_point_in_every_shape() -> None:
    rng = np.random.default_rng(0)
    verts = rng.normal(0, 0.1, size=(6, 40, 3))
    true = rng.dirichlet(np.ones(40))
    points = np.einsum("c,scx->sx", true, verts)
    weights = spread_average(verts, points)
    assert weights.min() >= 0
    np.testing.assert_allclose(weights.sum(), 1)
    np.testing.assert_allclose(np.einsum("c,scx->sx", weights, verts), points, atol=2e-3)


def test_emphasis_decides_between_shapes_that_disagree() -> None:
    # Two shapes whose vertices coincide, asking for different points.
    verts = np.repeat(np.array([[[0.0, 0, 0], [1, 0, 0]]]), 2, axis=0)
    points = np.array([[0.2, 0, 0], [0.8, 0, 0]])
    even = spread_average(verts, points)
    first = spread_average(verts, points, emphasis=[10.0, 1.0])
    np.testing.assert_allclose(even, 0.5, atol=1e-3)
    np.testing.assert_allclose(first[1], 0.2, atol=0.02)


def test_weights_are_written_to_both_sides() -> None:
    mirror = np.array([1, 0, 2, 4, 3])
    regressor = np.zeros((24, 5))
    left, right, middle = (
        SMPL_JOINTS.index(name) for name in ("left_knee", "right_knee", "pelvis")
    )
    set_symmetric(regressor, left, np.array([0, 3]), np.array([0.3, 0.7]), mirror)
    assert regressor[left].tolist() == [0.3, 0, 0, 0.7, 0]
    assert regressor[right].tolist() == [0, 0.3, 0, 0, 0.7]
    set_symmetric(regressor, middle, np.array([0, 1, 2]), np.array([0.6, 0.0, 0.4]), mirror)
    np.testing.assert_allclose(regressor[middle], [0.3, 0.3, 0.4, 0, 0])
