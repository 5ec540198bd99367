import json

import numpy as np

from tests.body.open_body.meshes import sphere
from vibe_ray.body.model import OPEN_BODY
from vibe_ray.body.open_body.regressors import _fit, marked_joints
from vibe_ray.body.skeletons import EXTRA_JOINTS


def test_fit_is_sparse_convex_and_close() -> None:
    verts, _, _ = sphere(4)
    rng = np.random.default_rng(0)
    shapes = verts * rng.uniform(0.8, 1.2, size=(20, 1, 3))
    points = shapes[:, [3, 50, 60]].mean(axis=1)
    weights = _fit(shapes, points)
    assert weights.min() >= 0
    np.testing.assert_allclose(weights.sum(), 1)
    np.testing.assert_allclose(np.einsum("c,scx->sx", weights, shapes), points, atol=1e-3)
    assert (weights > 0).sum() < len(weights) / 2


def test_packaged_tables_are_composed_of_the_packaged_joints() -> None:
    with np.load(OPEN_BODY) as file:
        left_hip = file["J_regressor_extra"][EXTRA_JOINTS.index("Left Hip (LSP)")]
        extra, h36m = marked_joints(
            file["J_regressor"], left_hip, json.loads(str(file["landmarks"])), file["mirror"]
        )
        np.testing.assert_allclose(extra, file["J_regressor_extra"], atol=1e-6)
        np.testing.assert_allclose(h36m, file["J_regressor_h36m"], atol=1e-6)
