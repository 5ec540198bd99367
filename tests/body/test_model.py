from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse
import torch

from tests.body.made_up_bodies import (
    NUM_VERTS,
    made_up_body,
    original_pickle,
    random_bodies,
    smpl_entries,
    write_tables,
)
from vibe_ray.body.mesh import BodyModel
from vibe_ray.body.model import BodyArrays, BodyConfig, load_body
from vibe_ray.body.skeletons import SMPL_PARENTS, SMPL_VERTEX_INDICES

Entries = dict[str, np.ndarray]


def assert_same_body(actual: BodyArrays, expected: BodyArrays) -> None:
    for name, array in vars(expected).items():
        np.testing.assert_array_equal(getattr(actual, name), array, err_msg=name)
        assert getattr(actual, name).dtype == array.dtype, name


def naive_skin(body: BodyArrays, betas: np.ndarray, rotmat: np.ndarray) -> np.ndarray:
    """SMPL's own definition (Loper et al. 2015), vertex by vertex for some vertices: (50, 3)."""
    assert body.posedirs is not None
    shaped = body.v_template + body.shapedirs @ betas
    rest = body.J_regressor @ shaped
    shaped = shaped + body.posedirs @ (rotmat[1:] - np.eye(3)).flatten()
    transforms: list[np.ndarray] = []
    for joint, parent in enumerate(SMPL_PARENTS):
        local = np.eye(4)
        local[:3, :3] = rotmat[joint]
        local[:3, 3] = rest[joint] - (rest[parent] if parent >= 0 else 0)
        transforms.append(transforms[parent] @ local if parent >= 0 else local)
    skinned = np.zeros((50, 3))
    for vertex in range(50):
        for joint, transform in enumerate(transforms):
            local_point = np.append(shaped[vertex] - rest[joint], 1)
            skinned[vertex] += body.weights[vertex, joint] * (transform @ local_point)[:3]
    return skinned


def test_skin_agrees_with_the_definition(made_up: BodyArrays) -> None:
    body = replace(
        made_up, **{k: v.astype(np.float64) for k, v in vars(made_up).items() if v.dtype == "f4"}
    )
    betas, rotmat = random_bodies(3, torch.float64)
    verts = BodyModel(body, torch.float64)(betas, rotmat).verts
    for number in range(3):
        expected = naive_skin(body, betas[number].numpy(), rotmat[number].numpy())
        np.testing.assert_allclose(verts[number, :50], expected, atol=1e-13, rtol=0)


def test_single_precision_is_close_to_double(body: BodyArrays) -> None:
    betas, rotmat = random_bodies(40, torch.float64)
    expected = BodyModel(body, torch.float64)(betas, rotmat)
    actual = BodyModel(body)(betas.float(), rotmat.float())
    torch.testing.assert_close(actual.verts.double(), expected.verts, rtol=0, atol=5e-6)
    torch.testing.assert_close(actual.joints.double(), expected.joints, rtol=0, atol=5e-6)


def test_bodies_do_not_depend_on_their_neighbors(body: BodyArrays) -> None:
    betas, rotmat = random_bodies(33, torch.float64)  # more than two chunks
    model = BodyModel(body, torch.float64)
    together = model(betas, rotmat).verts
    alone = torch.cat([model(betas[n : n + 1], rotmat[n : n + 1]).verts for n in (0, 16, 32)])
    torch.testing.assert_close(together[[0, 16, 32]], alone, rtol=0, atol=1e-13)


def test_no_bodies_give_no_mesh(open_body: BodyArrays) -> None:
    model = BodyModel(open_body)
    mesh = model(torch.zeros(0, 10), torch.zeros(0, 24, 3, 3))
    assert mesh.verts.shape == (0, open_body.num_verts, 3)
    assert model.keypoints(mesh).shape == (0, 49, 3)
    assert model.evaluation_joints(mesh).shape == (0, 14, 3)


def test_at_rest_the_template_comes_back(open_body: BodyArrays) -> None:
    mesh = BodyModel(open_body, torch.float64)(
        torch.zeros(1, 10).double(), torch.eye(3).double().expand(1, 24, 3, 3)
    )
    np.testing.assert_allclose(mesh.verts[0], open_body.v_template, atol=1e-6, rtol=0)


def test_turning_the_root_turns_the_body_about_its_pelvis(body: BodyArrays) -> None:
    weights = body.weights.astype(np.float64)  # stored in float32, they sum to one within 1e-7
    exact = replace(body, weights=weights / weights.sum(axis=1, keepdims=True))
    model = BodyModel(exact, torch.float64)
    betas, rotmat = random_bodies(4, torch.float64)
    turned = rotmat.clone()
    turn = random_bodies(2, torch.float64, seed=5)[1][1, 0]
    turned[:, 0] = turn @ rotmat[:, 0]
    mesh, other = model(betas, rotmat), model(betas, turned)
    pelvis = mesh.joints[:, :1]
    expected = (mesh.verts - pelvis) @ turn.T + pelvis
    torch.testing.assert_close(other.verts, expected, rtol=0, atol=1e-12)


def test_nothing_is_saved_and_nothing_is_trained(made_up: BodyArrays) -> None:
    model = BodyModel(made_up)
    assert not model.state_dict()
    assert not list(model.parameters())


def test_open_body_leaves_out_its_zero_correctives(open_body: BodyArrays) -> None:
    assert open_body.posedirs is None
    assert open_body.num_verts == 6912
    assert open_body.vertex_joints.tolist() == list(SMPL_VERTEX_INDICES)


@pytest.fixture
def folder(tmp_path: Path, made_up: BodyArrays) -> Path:
    write_tables(made_up, tmp_path)
    return tmp_path


def test_loads_an_npz(folder: Path, made_up: BodyArrays) -> None:
    np.savez(folder / "SMPL_NEUTRAL.npz", **smpl_entries(made_up))
    assert_same_body(load_body(BodyConfig(path=str(folder / "SMPL_NEUTRAL.npz"))), made_up)


@pytest.mark.parametrize("protocol", [0, 2, 5])
def test_loads_an_original_pickle(folder: Path, made_up: BodyArrays, protocol: int) -> None:
    (folder / "SMPL_NEUTRAL.pkl").write_bytes(original_pickle(made_up, protocol))
    assert_same_body(load_body(BodyConfig(path=str(folder / "SMPL_NEUTRAL.pkl"))), made_up)


def test_more_betas_than_ten_are_cut(folder: Path, made_up: BodyArrays) -> None:
    whole = np.concatenate([made_up.shapedirs, made_up.shapedirs], axis=2)
    np.savez(folder / "many.npz", **smpl_entries(made_up) | {"shapedirs": whole})
    assert_same_body(load_body(BodyConfig(path=str(folder / "many.npz"))), made_up)


def test_tables_come_from_where_the_config_says(
    tmp_path: Path, folder: Path, made_up: BodyArrays
) -> None:
    other = tmp_path / "tables"
    other.mkdir()
    np.save(other / "mine.npy", 2 * made_up.J_regressor_extra)
    np.savez(folder / "body.npz", **smpl_entries(made_up))
    config = BodyConfig(path=str(folder / "body.npz"), extra_regressor=str(other / "mine.npy"))
    np.testing.assert_array_equal(
        load_body(config).J_regressor_extra, 2 * made_up.J_regressor_extra
    )


def test_a_missing_file_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no body at .*register at .* set body\.path"):
        load_body(BodyConfig(path=str(tmp_path / "SMPL_NEUTRAL.pkl")))


def test_another_kind_of_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "body.obj").write_text("v 0 0 0")
    with pytest.raises(ValueError, match=r"neither \.npz nor \.pkl"):
        load_body(BodyConfig(path=str(tmp_path / "body.obj")))


def without(*keys: str) -> Callable[[Entries], Entries]:
    return lambda entries: {key: value for key, value in entries.items() if key not in keys}


def with_joints(num: int) -> Callable[[Entries], Entries]:
    table = np.array([np.arange(num) - 1, np.arange(num)])
    return lambda entries: entries | {"kintree_table": table}


def cut(key: str, num: int) -> Callable[[Entries], Entries]:
    return lambda entries: entries | {key: entries[key][..., :num]}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            without("posedirs", "weights"),
            r"lacks \['posedirs', 'weights'\], it has \['J_regressor'",
        ),
        (with_joints(52), "has 52 joints in a tree that is not SMPL's 24"),
        (with_joints(24), "in a tree that is not SMPL's 24"),
        (cut("shapedirs", 5), "has 5 shape directions, expected 10 or more"),
        (cut("weights", 20), "arrays of shapes .*'weights': \\(6890, 20\\)"),
    ],
    ids=["keys", "smpl-h", "tree", "betas", "shapes"],
)
def test_a_foreign_body_is_refused(
    folder: Path, made_up: BodyArrays, change: Callable[[Entries], Entries], message: str
) -> None:
    entries: dict[str, Any] = change(smpl_entries(made_up))
    np.savez(folder / "foreign.npz", **entries)
    with pytest.raises(ValueError, match=message):
        load_body(BodyConfig(path=str(folder / "foreign.npz")))


def test_a_body_with_too_few_vertices_is_refused(tmp_path: Path) -> None:
    small = made_up_body(num_verts=500)
    write_tables(small, tmp_path)
    np.savez(tmp_path / "small.npz", **smpl_entries(small))
    with pytest.raises(ValueError, match="has 500 vertices; SMPL has 6890"):
        load_body(BodyConfig(path=str(tmp_path / "small.npz")))


def test_missing_tables_say_what_to_do(tmp_path: Path, made_up: BodyArrays) -> None:
    np.savez(tmp_path / "body.npz", **smpl_entries(made_up))
    with pytest.raises(FileNotFoundError, match=r"take J_regressor_extra.npy from VIBE's"):
        load_body(BodyConfig(path=str(tmp_path / "body.npz")))


@pytest.mark.parametrize("field", ["extra_regressor", "h36m_regressor"])
def test_a_table_for_another_mesh_is_refused(folder: Path, made_up: BodyArrays, field: str) -> None:
    table = made_up.J_regressor_extra if field.startswith("extra") else made_up.J_regressor_h36m
    np.save(folder / "smpl.npy", table)
    path = str(folder / "smpl.npy")
    config = (
        BodyConfig(extra_regressor=path)
        if field.startswith("extra")
        else BodyConfig(h36m_regressor=path)
    )
    with pytest.raises(ValueError, match=rf"{NUM_VERTS}\).* needs .*6912.* for another mesh"):
        load_body(config)


def test_an_array_of_objects_is_named_with_what_to_do(folder: Path, made_up: BodyArrays) -> None:
    entries = smpl_entries(made_up)
    sparse = np.array(scipy.sparse.csc_matrix(entries["J_regressor"]), dtype=object)
    np.savez(folder / "objects.npz", **entries | {"J_regressor": sparse})
    with pytest.raises(ValueError, match=r"J_regressor in .*objects\.npz .*by \.toarray\(\)"):
        load_body(BodyConfig(path=str(folder / "objects.npz")))


def test_a_web_page_is_called_so(tmp_path: Path) -> None:
    path = tmp_path / "SMPL_NEUTRAL.pkl"
    path.write_bytes(b"<!DOCTYPE html><html>log in</html>")
    with pytest.raises(ValueError, match=r"is a web page, such as a log-in .*download it again"):
        load_body(BodyConfig(path=str(path)))
