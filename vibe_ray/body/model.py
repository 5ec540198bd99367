"""What does the body look like? Loading a body in SMPL's format.

Two bodies fit: the open one that comes with the package, and SMPL itself, which the user licenses
and names by path. They have different numbers of vertices on purpose, so that tables made for one
mesh are refused by the other.

Shapes: N bodies, V vertices, J = 24 joints.
"""

import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vibe_ray import storage
from vibe_ray.body.licensed import read_smpl_pickle
from vibe_ray.body.skeletons import (
    EXTRA_JOINTS,
    H36M_17,
    NUM_BETAS,
    SMPL_JOINTS,
    SMPL_PARENTS,
    SMPL_VERTEX_INDICES,
)
from vibe_ray.storage.foreign import check_download

OPEN_BODY = Path(__file__).parent / "open_body" / "open_body.npz"
NUM_JOINTS = len(SMPL_JOINTS)
NUM_POSE_FEATURES = 9 * (NUM_JOINTS - 1)
_SMPL_KEYS = ("v_template", "shapedirs", "posedirs", "J_regressor", "weights", "kintree_table", "f")
_WHERE_TO_GET_SMPL = (
    "register at https://smpl.is.tue.mpg.de, download SMPL for Python and set body.path to its "
    '.pkl or .npz file, or set body.path to "open" for the body that comes with vibe_ray'
)


@dataclass(frozen=True, kw_only=True)
class BodyConfig:
    path: str = "open"
    """"open" for the packaged body, else the .pkl or .npz file of a licensed SMPL."""
    extra_regressor: str = ""
    """`J_regressor_extra.npy` of SPIN and VIBE; empty for the file of that name beside the body."""
    h36m_regressor: str = ""
    """`J_regressor_h36m.npy` of SPIN and VIBE; empty for the file of that name beside the body."""


@dataclass(frozen=True, kw_only=True)
class BodyArrays:
    """A body's constants, float32, in SMPL's names and layout."""

    v_template: np.ndarray
    """Vertices of the mean body in the zero pose (V, 3), meters."""
    shapedirs: np.ndarray
    """How one standard deviation of each beta moves the vertices (V, 3, 10)."""
    posedirs: np.ndarray | None
    """How each entry of (R - I) of joints 1..23 moves the vertices (V, 3, 207); None for none."""
    J_regressor: np.ndarray
    """SMPL's joints as weighted sums of vertices (J, V)."""
    weights: np.ndarray
    """How much each joint moves each vertex (V, J); rows sum to one."""
    faces: np.ndarray
    """Triangles (number, 3), int64."""
    J_regressor_extra: np.ndarray
    """`EXTRA_JOINTS` as weighted sums of vertices (9, V)."""
    J_regressor_h36m: np.ndarray
    """`H36M_17` as weighted sums of vertices (17, V)."""
    vertex_joints: np.ndarray
    """Which vertices are the `VERTEX_JOINTS` (21,), int64."""

    @property
    def num_verts(self) -> int:
        """V."""
        return len(self.v_template)

    def rest_joints(self) -> tuple[np.ndarray, np.ndarray]:
        """The template's joints (J, 3) and how each beta moves them (J, 3, 10), in float64."""
        regressor = self.J_regressor.astype(np.float64)
        dirs = self.shapedirs.reshape(self.num_verts, -1).astype(np.float64)
        return regressor @ self.v_template, (regressor @ dirs).reshape(-1, 3, NUM_BETAS)


def load_body(config: BodyConfig) -> BodyArrays:
    """Read the body that the config names.

    Raises:
        FileNotFoundError: The body or a regressor table is not there; the message says what to do.
        ValueError: The file is no SMPL body, or a table belongs to another mesh.
    """
    path = str(OPEN_BODY) if config.path == "open" else config.path
    if not storage.exists(path):
        raise FileNotFoundError(f"no body at {path}: {_WHERE_TO_GET_SMPL}")
    with storage.local_copy(path) as file:
        raw = _read(file)
    _check_format(raw, path)
    v_template = _array(raw["v_template"])
    num_verts = len(v_template)
    posedirs = _array(raw["posedirs"])
    return BodyArrays(
        v_template=v_template,
        shapedirs=_array(raw["shapedirs"][..., :NUM_BETAS]),
        posedirs=posedirs if posedirs.any() else None,
        J_regressor=_array(raw["J_regressor"]),
        weights=_array(raw["weights"]),
        faces=np.asarray(raw["f"]).astype(np.int64),
        J_regressor_extra=_table(raw, "J_regressor_extra", config.extra_regressor, path),
        J_regressor_h36m=_table(raw, "J_regressor_h36m", config.h36m_regressor, path),
        vertex_joints=_vertex_joints(num_verts, path),
    )


def _read(path: Path) -> Mapping[str, Any]:
    """Read a body file's arrays without ever executing what it holds."""
    check_download(path)
    if path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as npz:
            wanted = {*_SMPL_KEYS, "J_regressor_extra", "J_regressor_h36m"}
            return {key: _plain_array(npz, key, path) for key in npz.files if key in wanted}
    if path.suffix == ".pkl":
        return read_smpl_pickle(path)
    raise ValueError(f"{path} is neither .npz nor .pkl: {_WHERE_TO_GET_SMPL}")


def _plain_array(npz: Any, key: str, path: Path) -> np.ndarray:
    try:
        array: np.ndarray = npz[key]
    except ValueError as error:
        raise ValueError(
            f"{key} in {path} is no array of numbers ({error}); such an entry is a pickle, which "
            "could run code. Save it as a plain array, a sparse matrix by .toarray(), or set "
            "body.path to the original .pkl"
        ) from None
    return array


def _array(values: Any) -> np.ndarray:
    return np.ascontiguousarray(values, dtype=np.float32)


def _check_format(raw: Mapping[str, Any], path: str) -> None:
    missing = [key for key in _SMPL_KEYS if key not in raw]
    if missing:
        raise ValueError(
            f"{path} is not a body in SMPL's format: it lacks {missing}, it has {sorted(raw)}; "
            + _WHERE_TO_GET_SMPL
        )
    parents = [int(parent) for parent in raw["kintree_table"][0][1:]]
    if parents != list(SMPL_PARENTS[1:]):
        raise ValueError(
            f"{path} has {len(parents) + 1} joints in a tree that is not SMPL's 24: SMPL-H and "
            f"SMPL-X bodies do not fit; {_WHERE_TO_GET_SMPL}"
        )
    num_verts = len(raw["v_template"])
    expected = {
        "v_template": (num_verts, 3),
        "posedirs": (num_verts, 3, NUM_POSE_FEATURES),
        "J_regressor": (NUM_JOINTS, num_verts),
        "weights": (num_verts, NUM_JOINTS),
    }
    shapes = {key: tuple(raw[key].shape) for key in expected}
    if shapes != expected:
        raise ValueError(f"{path} holds arrays of shapes {shapes}, expected {expected}")
    num_betas = raw["shapedirs"].shape[-1]
    if num_betas < NUM_BETAS:
        raise ValueError(f"{path} has {num_betas} shape directions, expected {NUM_BETAS} or more")


def _table(raw: Mapping[str, Any], name: str, configured: str, body: str) -> np.ndarray:
    """Find a regressor table: where the config says, else in the body's file, else beside it."""
    if name in raw and not configured:
        table, source = raw[name], body
    else:
        source = configured or storage.beside(body, f"{name}.npy")
        if not storage.exists(source):
            raise FileNotFoundError(
                f"no joint regressor at {source}: take {name}.npy from VIBE's or SPIN's data "
                f"(vibe_data.zip) and put it beside {body}, or give its path in BodyConfig"
            )
        table = np.load(io.BytesIO(storage.read_bytes(source)), allow_pickle=False)
    rows = len(EXTRA_JOINTS) if name == "J_regressor_extra" else len(H36M_17)
    expected = (rows, len(raw["v_template"]))
    if table.shape != expected:
        raise ValueError(
            f"{source} is a joint regressor of shape {table.shape}, but {body} needs {expected}: "
            "it was made for another mesh"
        )
    return _array(table)


def _vertex_joints(num_verts: int, path: str) -> np.ndarray:
    if num_verts <= max(SMPL_VERTEX_INDICES):
        raise ValueError(f"{path} has {num_verts} vertices; SMPL has 6890")
    return np.array(SMPL_VERTEX_INDICES)
