"""Is the packaged body a body?"""

import json

import numpy as np
import pytest
import torch
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from vibe_ray.body.joints import BodyJoints
from vibe_ray.body.mesh import BodyModel
from vibe_ray.body.model import OPEN_BODY, BodyArrays
from vibe_ray.body.params import mirror_pose, pose_to_rotmat
from vibe_ray.body.skeletons import (
    COMMON_14,
    EXTRA_JOINTS,
    KEYPOINTS,
    SMPL_JOINTS,
    SMPL_MIRROR,
    SMPL_VERTEX_INDICES,
    VERTEX_JOINTS,
    indices,
    mirror_table,
)

FLIP = np.array([-1.0, 1.0, 1.0])
File = dict[str, np.ndarray]


@pytest.fixture(scope="module")
def file() -> File:
    with np.load(OPEN_BODY, allow_pickle=False) as npz:
        return dict(npz)


@pytest.fixture(scope="module")
def skin(open_body: BodyArrays) -> np.ndarray:
    """The triangles of the largest connected part, which is the body without the eyeballs."""
    faces = open_body.faces
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]]]).T
    graph = coo_matrix((np.ones(edges.shape[1]), edges), shape=(open_body.num_verts,) * 2)
    num_parts, part = connected_components(graph, directed=False)
    assert num_parts == 3
    return faces[part[faces[:, 0]] == np.bincount(part).argmax()]


def winding_numbers(points: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """How often a closed surface goes round each point: 1 inside, 0 outside."""
    a, b, c = (corners[None, :, k] - points[:, None] for k in range(3))
    la, lb, lc = (np.linalg.norm(vector, axis=-1) for vector in (a, b, c))
    volume = (a * np.cross(b, c)).sum(-1)
    dots = (a * b).sum(-1) * lc + (b * c).sum(-1) * la + (c * a).sum(-1) * lb
    return np.arctan2(volume, la * lb * lc + dots).sum(axis=1) / (2 * np.pi)


def test_file_is_small_and_has_smpls_keys(file: File) -> None:
    assert OPEN_BODY.stat().st_size < 3e6
    assert (OPEN_BODY.parent / "NOTICE").is_file()
    smpl = {"v_template", "shapedirs", "posedirs", "J_regressor", "weights", "f", "kintree_table"}
    assert smpl <= set(file)
    assert tuple(file["joint_names"]) == SMPL_JOINTS
    assert tuple(file["extra_names"]) == EXTRA_JOINTS


def test_left_is_the_mirror_image_of_right(file: File) -> None:
    mirror = file["mirror"]
    assert np.array_equal(mirror[mirror], np.arange(len(mirror)))
    for name, signs in (("v_template", FLIP), ("shapedirs", FLIP[:, None])):
        np.testing.assert_array_equal(file[name], file[name][mirror] * signs, err_msg=name)
    np.testing.assert_array_equal(file["weights"], file["weights"][mirror][:, SMPL_MIRROR])
    mirrored = file["J_regressor"][SMPL_MIRROR][:, mirror]
    np.testing.assert_allclose(file["J_regressor"], mirrored, atol=1e-7)
    faces = {frozenset(face) for face in file["f"].tolist()}
    assert {frozenset(face) for face in mirror[file["f"].astype(int)].tolist()} == faces


def test_skin_is_watertight_and_oriented(skin: np.ndarray) -> None:
    directed = np.concatenate([skin[:, [0, 1]], skin[:, [1, 2]], skin[:, [2, 0]]])
    edges = set(map(tuple, directed.tolist()))
    assert len(edges) == len(directed)  # no edge twice in one direction
    assert all((b, a) in edges for a, b in edges)  # and each once in the other
    num_verts, num_edges = len(np.unique(skin)), len(directed) // 2
    assert num_verts - num_edges + len(skin) == 2  # a sphere's topology


def test_no_triangle_is_degenerate(open_body: BodyArrays) -> None:
    corners = open_body.v_template[open_body.faces]
    cross = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    assert np.linalg.norm(cross, axis=1).min() / 2 > 1e-9  # square meters


def test_weights_are_shares_of_at_most_four_joints(open_body: BodyArrays) -> None:
    weights = open_body.weights
    np.testing.assert_allclose(weights.sum(axis=1), 1, atol=1e-6)
    assert weights.min() >= 0
    assert (weights > 0).sum(axis=1).max() <= 4
    assert (weights.max(axis=0) > 0.4).all()  # every joint has skin of its own


def test_regressors_average(open_body: BodyArrays) -> None:
    for name in ("J_regressor", "J_regressor_extra", "J_regressor_h36m"):
        rows = getattr(open_body, name)
        np.testing.assert_allclose(rows.sum(axis=1), 1, atol=1e-5, err_msg=name)
        assert rows.min() >= 0, name


def test_joints_lie_inside_the_skin(open_body: BodyArrays, skin: np.ndarray) -> None:
    joints, dirs = open_body.rest_joints()
    for betas in (np.zeros(10), np.eye(10)[0] * 2, np.eye(10)[0] * -2, np.eye(10)[1] * 2):
        corners = (open_body.v_template + open_body.shapedirs @ betas)[skin]
        winding = winding_numbers(joints + dirs @ betas, corners)
        np.testing.assert_allclose(winding, 1, atol=1e-3)
    outside = np.array([[0.0, 0.3, 0.5], [0.0, -1.5, 0.0]])
    np.testing.assert_allclose(winding_numbers(outside, open_body.v_template[skin]), 0, atol=1e-3)


def test_it_is_of_human_size_and_stands_as_smpl_does(open_body: BodyArrays) -> None:
    verts = open_body.v_template
    height, span = np.ptp(verts[:, 1]), np.ptp(verts[:, 0])
    assert 1.6 < height < 1.75
    assert 0.9 < span / height < 1.1  # arms stretched out sideways
    joints = dict(zip(SMPL_JOINTS, open_body.rest_joints()[0], strict=True))
    np.testing.assert_allclose(joints["pelvis"], [0, -0.24, 0.028], atol=1e-6)
    assert joints["left_hand"][0] > 0.5  # left is +x, y is up, the feet point to +z
    assert joints["head"][1] > joints["pelvis"][1] > joints["left_ankle"][1]
    assert joints["left_foot"][2] > joints["left_ankle"][2] + 0.05


def volume(verts: np.ndarray, faces: np.ndarray) -> float:
    a, b, c = (verts[faces[:, corner]] for corner in range(3))
    return float((a * np.cross(b, c)).sum() / 6)


def test_betas_keep_the_pelvis_and_make_taller_and_wider(
    open_body: BodyArrays, skin: np.ndarray
) -> None:
    _, dirs = open_body.rest_joints()
    np.testing.assert_allclose(dirs[0], 0, atol=1e-3)
    template = open_body.v_template.astype(np.float64)
    assert 0.05 < volume(template, skin) < 0.07  # cubic meters
    for beta in range(10):
        shaped = template + 2 * open_body.shapedirs[..., beta]
        assert volume(shaped, skin) > volume(template, skin)
        if beta == 0:
            assert np.ptp(shaped[:, 1]) > np.ptp(template[:, 1]) + 0.1


def test_landmarks_lie_where_smplx_looks(file: File) -> None:
    landmarks = json.loads(str(file["landmarks"]))
    assert [landmarks[name] for name in VERTEX_JOINTS] == list(SMPL_VERTEX_INDICES)
    at = {name: file["v_template"][vertex] for name, vertex in landmarks.items()}
    assert at["nose"][2] > at["leye"][2] > at["lear"][2]
    assert at["leye"][0] > 0 > at["reye"][0]
    assert at["head_top"][1] > at["nose"][1] > at["chin"][1] > at["sternal_notch"][1]
    assert at["LBigToe"][2] > at["LHeel"][2] + 0.2
    assert at["LSmallToe"][0] > at["LBigToe"][0]
    assert at["lmiddle"][0] > at["lthumb"][0]


def test_keypoints_are_on_their_side(open_body: BodyArrays) -> None:
    rest = torch.eye(3).expand(24, 3, 3)
    at = dict(
        zip(KEYPOINTS, BodyJoints.keypoints(open_body)(torch.zeros(10), rest).numpy(), strict=True)
    )
    for name, point in at.items():
        plain = name.removeprefix("OP ")
        if plain[0] in "lL" and not plain.startswith("lips"):
            assert point[0] > 0.01, name
        elif plain[0] in "rR":
            assert point[0] < -0.01, name
        else:
            assert abs(point[0]) < 1e-3, name
    assert at["headtop"][1] > at["Head (H36M)"][1] > at["neck"][1] > at["thorax"][1] > at["hip"][1]
    assert at["lhip"][0] > at["OP LHip"][0]  # the marked hip is wider than SMPL's


def test_evaluation_joints_are_the_key_points_of_the_same_names(open_body: BodyArrays) -> None:
    betas = torch.randn(10, generator=torch.Generator().manual_seed(0))
    rest = torch.eye(3).expand(24, 3, 3)
    evaluation = BodyJoints.evaluation(open_body)(betas, rest)
    keypoints = BodyJoints.keypoints(open_body)(betas, rest)[indices(COMMON_14, KEYPOINTS)]
    distance = (evaluation - keypoints).norm(dim=-1)
    limbs = [name not in ("neck", "headtop") for name in COMMON_14]
    assert distance[limbs].max() < 1e-6
    assert distance.max() < 0.06  # Human3.6M marks neck and head top lower


def test_mirrored_poses_give_mirrored_bodies(open_body: BodyArrays) -> None:
    generator = torch.Generator().manual_seed(1)
    pose = torch.randn(5, 72, generator=generator, dtype=torch.float64) * 0.5
    betas = torch.randn(5, 10, generator=generator, dtype=torch.float64)
    joints = BodyJoints.keypoints(open_body, torch.float64)
    ours = joints(betas, pose_to_rotmat(pose))
    mirrored = joints(betas, pose_to_rotmat(mirror_pose(pose)))
    expected = ours[:, mirror_table(KEYPOINTS)] * torch.tensor(FLIP)
    torch.testing.assert_close(mirrored, expected, rtol=0, atol=1e-6)


def test_bending_an_elbow_moves_the_forearm_alone(open_body: BodyArrays) -> None:
    pose = torch.zeros(1, 24, 3)
    pose[0, SMPL_JOINTS.index("left_elbow")] = torch.tensor([0.0, -np.pi / 2, 0.0])
    model = BodyModel(open_body)
    rest = model(torch.zeros(1, 10), torch.eye(3).expand(1, 24, 3, 3))
    bent = model(torch.zeros(1, 10), pose_to_rotmat(pose.flatten(1)))
    moved = (bent.verts - rest.verts)[0].norm(dim=-1) > 1e-4
    below = indices(["left_elbow", "left_wrist", "left_hand"], SMPL_JOINTS)
    assert moved.numpy()[open_body.weights[:, below].sum(axis=1) == 0].sum() == 0
    shoulder, elbow, wrist = bent.joints[0][
        indices(["left_shoulder", "left_elbow", "left_wrist"], SMPL_JOINTS)
    ]
    assert wrist[2] > elbow[2] + 0.2  # the forearm points forward
    assert abs(float((wrist - elbow) @ (shoulder - elbow))) < 0.02
