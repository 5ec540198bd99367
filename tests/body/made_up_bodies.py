"""Bodies in SMPL's format that nobody licensed: random skin, SMPL's size and skeleton."""

import pickle
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import scipy.sparse
import torch
from torch import Tensor

from vibe_ray.body.model import BodyArrays
from vibe_ray.body.params import pose_to_rotmat
from vibe_ray.body.skeletons import SMPL_JOINTS, SMPL_PARENTS, SMPL_VERTEX_INDICES

NUM_VERTS = 6890
NUM_JOINTS = len(SMPL_JOINTS)


def regressor(rng: np.random.Generator, num_rows: int, num_verts: int) -> np.ndarray:
    """Sparse rows; some weights negative and no sum exactly one, as in tables of the field."""
    rows = np.zeros((num_rows, num_verts), np.float32)
    for row in rows:
        chosen = rng.choice(num_verts, 40, replace=False)
        row[chosen] = rng.normal(0.025, 0.01, size=40)
    return rows


def made_up_body(seed: int = 0, num_verts: int = NUM_VERTS) -> BodyArrays:
    """A cloud of vertices around a rough skeleton, with pose correctives."""
    rng = np.random.default_rng(seed)
    centers = np.zeros((NUM_JOINTS, 3))
    for joint, parent in enumerate(SMPL_PARENTS[1:], start=1):
        centers[joint] = centers[parent] + rng.normal(0, 0.15, size=3)
    owner = rng.integers(NUM_JOINTS, size=num_verts)
    weights = np.zeros((num_verts, NUM_JOINTS))
    weights[np.arange(num_verts), owner] = 1
    for _ in range(3):
        np.add.at(
            weights,
            (np.arange(num_verts), rng.integers(NUM_JOINTS, size=num_verts)),
            rng.random(num_verts),
        )
    weights /= weights.sum(axis=1, keepdims=True)
    arrays = {
        "v_template": centers[owner] + rng.normal(0, 0.05, size=(num_verts, 3)),
        "shapedirs": rng.normal(0, 0.01, size=(num_verts, 3, 10)),
        "posedirs": rng.normal(0, 0.003, size=(num_verts, 3, 207)),
        "J_regressor": regressor(rng, NUM_JOINTS, num_verts),
        "weights": weights,
        "J_regressor_extra": regressor(rng, 9, num_verts),
        "J_regressor_h36m": regressor(rng, 17, num_verts),
    }
    return BodyArrays(
        faces=rng.integers(num_verts, size=(500, 3)),
        vertex_joints=np.array(SMPL_VERTEX_INDICES),
        **{name: array.astype(np.float32) for name, array in arrays.items()},
    )


def smpl_entries(body: BodyArrays) -> dict[str, Any]:
    """What SMPL's own file holds of a body."""
    return {
        "v_template": body.v_template,
        "shapedirs": body.shapedirs,
        "posedirs": body.posedirs,
        "J_regressor": body.J_regressor,
        "weights": body.weights,
        "f": body.faces.astype(np.uint32),
        "kintree_table": np.array([[2**32 - 1, *SMPL_PARENTS[1:]], range(NUM_JOINTS)]),
        "bs_type": "lrotmin",
    }


def write_tables(body: BodyArrays, folder: Path) -> None:
    """Write the joint regressors where VIBE's data folder has them."""
    np.save(folder / "J_regressor_extra.npy", body.J_regressor_extra)
    np.save(folder / "J_regressor_h36m.npy", body.J_regressor_h36m)


def chumpy_modules(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Pretend that chumpy is installed, with as much of it as a pickle names."""
    module = ModuleType("chumpy.ch")
    for name in ("Ch", "Select", "MatVecMult"):
        setattr(module, name, type(name, (), {"__module__": "chumpy.ch"}))
    monkeypatch.setitem(sys.modules, "chumpy", ModuleType("chumpy"))
    monkeypatch.setitem(sys.modules, "chumpy.ch", module)
    return module


def chumpy_object(module: ModuleType, name: str, **state: Any) -> Any:
    """An instance as chumpy pickles it, private fields included."""
    instance = getattr(module, name)()
    instance.__dict__.update(state | {"_dirty_vars": set(), "_itr": None, "_make_dense": False})
    return instance


def original_pickle(body: BodyArrays, protocol: int) -> bytes:
    """The bytes of a file like SMPL's original: chumpy arrays, a sparse regressor."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        chumpy = chumpy_modules(monkeypatch)
        entries = smpl_entries(body)
        for name in ("v_template", "weights", "posedirs"):
            entries[name] = chumpy_object(chumpy, "Ch", x=entries[name].astype(np.float64))
        # SMPL keeps more betas than it shows; the shown ones are a selection.
        whole = np.concatenate([body.shapedirs, np.ones_like(body.shapedirs)], axis=2)
        shown = np.arange(whole.size).reshape(whole.shape)[..., :10]
        entries["shapedirs"] = chumpy_object(
            chumpy,
            "Select",
            a=chumpy_object(chumpy, "Ch", x=whole.astype(np.float64)),
            idxs=shown.ravel(),
            preferred_shape=shown.shape,
        )
        entries["J_regressor"] = scipy.sparse.csc_matrix(body.J_regressor.astype(np.float64))
        return pickle.dumps(entries, protocol=protocol)


def random_bodies(num: int, dtype: torch.dtype, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Betas (N, 10) and rotations (N, 24, 3, 3), the first at rest."""
    generator = torch.Generator().manual_seed(seed)
    betas = torch.randn(num, 10, generator=generator, dtype=torch.float64)
    pose = torch.randn(num, 72, generator=generator, dtype=torch.float64) * 0.6
    betas[0], pose[0] = 0, 0
    return betas.to(dtype), pose_to_rotmat(pose).to(dtype)
