"""How is SMPL's original .pkl read without trusting it?

A pickle is a program. The official files need scipy and chumpy (which no longer installs), and a
file from elsewhere could run anything. So this reader knows by name the few things an SMPL file
is made of, stands in for scipy's and chumpy's classes with plain records, and refuses the rest.
"""

import pickle
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse
from numpy._core import multiarray


class _Record:
    """Stands in for an object of a foreign class: keeps its state, runs none of its code."""

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)


class _Chumpy(_Record):
    """Any array expression of chumpy."""


class _CompressedColumns(_Record):
    """scipy's csc_matrix, whichever version wrote it."""


class _CompressedRows(_Record):
    """scipy's csr_matrix."""


def _reconstruct_object(cls: type, base: type, state: object) -> object:
    """Python 2's way to create an instance, for the records above alone."""
    if not (isinstance(cls, type) and issubclass(cls, _Record)) or base is not object:
        raise ValueError(f"refused to create a {cls!r}")
    return cls()


def _encode(text: str, encoding: str) -> bytes:
    """How Python 3 writes bytes into old pickles."""
    if encoding != "latin1":
        raise ValueError(f"refused to encode as {encoding!r}")
    return text.encode("latin1")


_ALLOWED: dict[tuple[str, str], Any] = {
    ("copy_reg", "_reconstructor"): _reconstruct_object,
    ("copyreg", "_reconstructor"): _reconstruct_object,
    ("_codecs", "encode"): _encode,
    ("collections", "OrderedDict"): OrderedDict,
}
for _builtins in ("__builtin__", "builtins"):
    _ALLOWED |= {(_builtins, "object"): object, (_builtins, "set"): set}
for _numpy in ("numpy.core.multiarray", "numpy._core.multiarray"):
    _ALLOWED[_numpy, "_reconstruct"] = multiarray._reconstruct
    _ALLOWED[_numpy, "scalar"] = multiarray.scalar
_ALLOWED |= {("numpy", "ndarray"): np.ndarray, ("numpy", "dtype"): np.dtype}
for _module in ("csc", "_csc"):
    _ALLOWED[f"scipy.sparse.{_module}", "csc_matrix"] = _CompressedColumns
for _module in ("csr", "_csr"):
    _ALLOWED[f"scipy.sparse.{_module}", "csr_matrix"] = _CompressedRows


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if module == "chumpy" or module.startswith("chumpy."):
            return _Chumpy
        if (module, name) not in _ALLOWED:
            raise ValueError(f"it asks for {module}.{name}")
        return _ALLOWED[module, name]


def read_smpl_pickle(path: str | Path) -> dict[str, Any]:
    """Read an SMPL model file, whatever Python wrote it, into plain arrays.

    Returns:
        The file's entries; arrays are numpy arrays, dense.

    Raises:
        ValueError: The file is no pickle, or asks for anything but numpy, scipy's sparse matrices
            and chumpy. Nothing of it has been executed then.
    """
    try:
        with Path(path).open("rb") as file:
            content = _Unpickler(file, encoding="latin1").load()
    except (ValueError, TypeError, AttributeError, EOFError, pickle.UnpicklingError) as error:
        raise ValueError(
            f"{path} is refused as an SMPL model: {error}. Nothing in it was executed; SMPL files "
            "hold numpy arrays, scipy sparse matrices and chumpy arrays only"
        ) from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} holds a {type(content).__name__}, expected SMPL's dictionary")
    return {str(key): _plain(value) for key, value in content.items()}


def _plain(value: Any) -> Any:
    """Turn a record into the array that it stands for."""
    if isinstance(value, _Chumpy):
        return _evaluate(value)
    if isinstance(value, _CompressedColumns | _CompressedRows):
        is_rows = isinstance(value, _CompressedRows)
        matrix = scipy.sparse.csr_matrix if is_rows else scipy.sparse.csc_matrix
        state = vars(value)
        return matrix((state["data"], state["indices"], state["indptr"]), state["_shape"]).toarray()
    return value


def _evaluate(expression: _Chumpy) -> np.ndarray:
    """Compute a chumpy array: a plain one (`Ch`), or a selection from another (`Select`)."""
    state = vars(expression)
    if "x" in state:
        return np.asarray(state["x"])
    if {"a", "idxs"} <= state.keys():
        source = _plain(state["a"])
        picked = np.asarray(source).ravel()[state["idxs"]]
        shape = state.get("preferred_shape")
        return picked if shape is None else picked.reshape(shape)
    raise ValueError(f"cannot evaluate a chumpy expression of {sorted(state)}")
