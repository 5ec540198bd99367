"""How is SMPL's original .pkl read without trusting it?

A pickle is a program. The official files need scipy and chumpy (which no longer installs), and a
file from elsewhere could run anything. So this reader knows by name the few things an SMPL file
is made of, stands in for scipy's and chumpy's classes with plain records, and refuses the rest.
"""

import logging
import pickle
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse

from vibe_ray.storage.foreign import NUMPY_ARRAY, NUMPY_BUFFER, NUMPY_NUMBER

logger = logging.getLogger(__name__)


class _Record:
    """Stands in for an object of a foreign class: keeps its state, runs none of its code."""

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)


class _Chumpy(_Record):
    """Some array expression of chumpy; a subclass is named as chumpy names it."""


class _CompressedColumns(_Record):
    """scipy's csc_matrix, whichever version wrote it."""


class _CompressedRows(_Record):
    """scipy's csr_matrix."""


class _Coordinates(_Record):
    """scipy's coo_matrix, whichever version wrote it."""


def _reconstruct_record(cls: type, base: type, state: object) -> object:
    """Python 2's way to create an instance, for the records above alone."""
    if not (isinstance(cls, type) and issubclass(cls, _Record)) or base is not object:
        raise ValueError(f"it asks to create {cls!r}")
    return cls()


def _encode(text: str, encoding: str) -> bytes:
    """How Python 3 writes bytes into old pickles."""
    if encoding != "latin1":
        raise ValueError(f"it asks to encode as {encoding!r}")
    return text.encode("latin1")


_ALLOWED: dict[tuple[str, str], Any] = {
    ("copy_reg", "_reconstructor"): _reconstruct_record,
    ("copyreg", "_reconstructor"): _reconstruct_record,
    ("_codecs", "encode"): _encode,
    ("collections", "OrderedDict"): OrderedDict,
    ("__builtin__", "object"): object,
    ("builtins", "object"): object,
    ("__builtin__", "set"): set,
    ("builtins", "set"): set,
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
}
# numpy 2 and newer scipy have moved what old files name.
for _core in ("numpy.core", "numpy._core"):
    _ALLOWED[f"{_core}.multiarray", "_reconstruct"] = NUMPY_ARRAY
    _ALLOWED[f"{_core}.multiarray", "scalar"] = NUMPY_NUMBER
    _ALLOWED[f"{_core}.numeric", "_frombuffer"] = NUMPY_BUFFER
for _underscore in ("", "_"):
    for _kind in ("matrix", "array"):
        _ALLOWED[f"scipy.sparse.{_underscore}csc", f"csc_{_kind}"] = _CompressedColumns
        _ALLOWED[f"scipy.sparse.{_underscore}csr", f"csr_{_kind}"] = _CompressedRows
        _ALLOWED[f"scipy.sparse.{_underscore}coo", f"coo_{_kind}"] = _Coordinates


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if module == "chumpy" or module.startswith("chumpy."):
            return type(name, (_Chumpy,), {})
        if (module, name) not in _ALLOWED:
            raise ValueError(f"it asks for {module}.{name}")
        return _ALLOWED[module, name]


def read_smpl_pickle(path: str | Path) -> dict[str, Any]:
    """Read an SMPL model file, whatever Python wrote it, into plain arrays.

    Returns:
        The file's entries; arrays are numpy arrays, dense. An entry that only chumpy could compute
        is left out, with a warning.

    Raises:
        FileNotFoundError: No file there.
        ValueError: The file is no pickle, or asks for anything but numpy, scipy's sparse matrices
            and chumpy. Nothing of it has been executed then.
    """
    with Path(path).open("rb") as file:
        try:
            content = _Unpickler(file, encoding="latin1").load()
        except Exception as error:  # a damaged or hostile pickle can fail in any way
            if _was_sent_as_text(Path(path)):
                raise ValueError(
                    f"{path} was changed on its way, its line ends are those of a text file: "
                    "download it again as binary"
                ) from error
            raise ValueError(
                f"{path} is refused as an SMPL model: {error}. Nothing in it was executed; SMPL's "
                "files hold numpy arrays, scipy sparse matrices and chumpy arrays only"
            ) from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} holds a {type(content).__name__}, expected SMPL's dictionary")
    entries = {}
    for key, value in content.items():
        try:
            entries[str(key)] = _plain(value)
        except ValueError as error:
            logger.warning("left %r of %s out: %s", key, path, error)
    return entries


def _was_sent_as_text(path: Path) -> bool:
    """Whether a pickle of protocol 0, which is lines, has another system's line ends."""
    with path.open("rb") as file:
        head = file.read(4096)
    return head.count(b"\n") > 1 and head.count(b"\r\n") == head.count(b"\n")


def _plain(value: Any) -> Any:
    """Turn a record into the array that it stands for; anything else stays as it is."""
    if not isinstance(value, _Record):
        return value
    state = vars(value)
    match value:
        case _CompressedColumns():
            parts = state["data"], state["indices"], state["indptr"]
            return scipy.sparse.csc_matrix(parts, state["_shape"]).toarray()
        case _CompressedRows():
            parts = state["data"], state["indices"], state["indptr"]
            return scipy.sparse.csr_matrix(parts, state["_shape"]).toarray()
        case _Coordinates():
            places = state["coords"] if "coords" in state else (state["row"], state["col"])
            return scipy.sparse.coo_matrix((state["data"], places), state["_shape"]).toarray()
    match type(value).__name__:
        case "Ch":
            return np.asarray(state["x"])
        case "Select":  # some elements of another array, in another shape
            picked = np.asarray(_plain(state["a"])).ravel()[state["idxs"]]
            return picked.reshape(state.get("preferred_shape", picked.shape))
        case other:
            raise ValueError(f"it is chumpy's {other}, which only chumpy can compute")
