from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.export.conftest import BETAS
from tests.export.posed import assert_t_pose
from vibe_ray.body.mesh import BodyModel
from vibe_ray.body.model import BodyArrays
from vibe_ray.body.skeletons import SMPL_JOINTS, SMPL_PARENTS
from vibe_ray.export.rest import NEGLIGIBLE, TIPS, rest_body


def test_at_rest_the_body_has_its_shape_and_stands_on_the_ground(body: BodyArrays) -> None:
    rest = rest_body(body, BETAS)
    betas, zero = torch.tensor(BETAS)[None], torch.eye(3, dtype=torch.float64).expand(1, 24, 3, 3)
    mesh = BodyModel(body, torch.float64)(betas, zero)
    assert rest.verts[:, 1].min() == 0
    ground = np.array([0, mesh.verts[0, :, 1].min(), 0])
    # Weights are float32, so that those of a vertex sum to one, and scale it, only as far as that.
    np.testing.assert_allclose(rest.verts, mesh.verts[0].numpy() - ground, rtol=0, atol=1e-6)
    np.testing.assert_allclose(rest.joints, mesh.joints[0].numpy() - ground, atol=1e-9)
    chain = np.zeros((24, 3))
    for joint, offset in enumerate(rest.offsets()):
        chain[joint] = offset + (chain[SMPL_PARENTS[joint]] if joint else 0)
    np.testing.assert_allclose(chain, rest.joints, atol=1e-12)


def test_rest_is_a_t_pose(open_body: BodyArrays) -> None:
    for betas in (np.zeros(10), BETAS):
        assert_t_pose(rest_body(open_body, betas).joints)


def test_limbs_end_outside_of_their_last_joint(open_body: BodyArrays) -> None:
    assert set(TIPS) == {n for j, n in enumerate(SMPL_JOINTS) if j not in SMPL_PARENTS}
    rest = rest_body(open_body, BETAS)
    bones = {name: tip - rest.joints[SMPL_JOINTS.index(name)] for name, tip in rest.tips.items()}
    assert all(0.02 < np.linalg.norm(bone) < 0.3 for bone in bones.values())
    assert bones["head"][1] > 0.05
    assert bones["left_hand"][0] > 0.03
    assert bones["right_hand"][0] < -0.03
    assert bones["left_foot"][2] > 0.02


def test_normals_point_outwards(open_body: BodyArrays) -> None:
    rest = rest_body(open_body, BETAS)
    np.testing.assert_allclose(np.linalg.norm(rest.normals, axis=1), 1, atol=1e-12)

    def volume(verts: np.ndarray) -> float:
        a, b, c = verts[rest.faces].swapaxes(0, 1)
        return float((np.cross(a, b) * c).sum() / 6)

    # Skin that is a millimeter thicker holds about its area in liters more.
    corners = rest.verts[rest.faces]
    area = (
        np.linalg.norm(
            np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1
        ).sum()
        / 2
    )
    grown = volume(rest.verts + 1e-3 * rest.normals) - volume(rest.verts)
    assert grown == pytest.approx(1e-3 * area, rel=0.1)


def test_vertices_of_no_triangle_have_a_normal(made_up: BodyArrays) -> None:
    rest = rest_body(made_up, BETAS)
    lonely = np.setdiff1d(np.arange(len(rest.verts)), rest.faces)
    assert lonely.size
    np.testing.assert_allclose(np.linalg.norm(rest.normals, axis=1), 1, atol=1e-12)


def dense(influences: np.ndarray, weights: np.ndarray) -> np.ndarray:
    table = np.zeros((len(weights), 24))
    for vertex in range(len(weights)):
        for joint, weight in zip(influences[vertex], weights[vertex], strict=True):
            table[vertex, joint] += weight
    return table


def test_four_joints_say_all_of_bodies_that_have_no_more(body: BodyArrays) -> None:
    assert (body.weights > 0).sum(axis=1).max() == 4
    rest = rest_body(body, BETAS)
    assert rest.weights.shape == rest.influences.shape == (body.num_verts, 4)
    np.testing.assert_allclose(dense(rest.influences, rest.weights), body.weights, atol=1e-6)
    assert (np.diff(rest.weights, axis=1) <= 0).all()
    assert (rest.influences[rest.weights == 0] == 0).all()


def with_weights(body: BodyArrays, row: list[float]) -> BodyArrays:
    weights = body.weights.copy()
    weights[7] = 0
    weights[7, 10 : 10 + len(row)] = row
    return replace(body, weights=weights)


def test_more_joints_get_a_second_set_where_they_matter(open_body: BodyArrays) -> None:
    body = with_weights(open_body, [0.1, 0.2, 0.3, 0.25, 0.1, 0.05])
    rest = rest_body(body, BETAS)
    assert rest.weights.shape == rest.influences.shape == (body.num_verts, 8)
    np.testing.assert_allclose(dense(rest.influences, rest.weights), body.weights, atol=1e-6)


def test_what_does_not_matter_is_given_to_the_others(open_body: BodyArrays) -> None:
    little = NEGLIGIBLE / 2
    body = with_weights(open_body, [0.1, 0.2, 0.3, 0.4 - little, little])
    rest = rest_body(body, BETAS)
    assert rest.weights.shape[1] == 4
    np.testing.assert_allclose(rest.weights.sum(axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(
        dense(rest.influences, rest.weights)[7, 10:14],
        np.array([0.1, 0.2, 0.3, 0.4 - little]) / (1 - little),
        atol=1e-6,
    )
