"""How is a foreign pickle read without trusting it?

A pickle is a program. SMPL's official files and data sets such as 3DPW are pickles all the same,
some made with chumpy (which no longer installs). So this reader knows by name the few things that
they are made of, stands in for scipy's and chumpy's classes with plain records, and refuses the
rest.
"""

import io
import pickle
from collections import OrderedDict
from typing import Any

import numpy as np

from vibe_ray.storage.foreign import NUMPY_ARRAY, NUMPY_BUFFER, NUMPY_NUMBER


class Record:
    """Stands in for an object of a foreign class: keeps its state, runs none of its code."""

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)


class Chumpy(Record):
    """Some array expression of chumpy; a subclass is named as chumpy names it."""


class CompressedColumns(Record):
    """scipy's csc_matrix, whichever version wrote it."""


class CompressedRows(Record):
    """scipy's csr_matrix."""


class Coordinates(Record):
    """scipy's coo_matrix, whichever version wrote it."""


def _reconstruct_record(cls: type, base: type, state: object) -> object:
    """Python 2's way to create an instance, for the records above alone."""
    if not (isinstance(cls, type) and issubclass(cls, Record)) or base is not object:
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
        _ALLOWED[f"scipy.sparse.{_underscore}csc", f"csc_{_kind}"] = CompressedColumns
        _ALLOWED[f"scipy.sparse.{_underscore}csr", f"csr_{_kind}"] = CompressedRows
        _ALLOWED[f"scipy.sparse.{_underscore}coo", f"coo_{_kind}"] = Coordinates


class SafeUnpickler(pickle.Unpickler):
    """Makes numpy arrays, plain values and records; whatever else is asked for, it refuses."""

    def find_class(self, module: str, name: str) -> Any:
        """Return what a name of a pickle stands for.

        Raises:
            ValueError: It is none of the few that are known.
        """
        if module == "chumpy" or module.startswith("chumpy."):
            return type(name, (Chumpy,), {})
        if (module, name) not in _ALLOWED:
            raise ValueError(f"it asks for {module}.{name}")
        return _ALLOWED[module, name]


def read_pickle(content: bytes, what: str) -> Any:
    """Read a pickle of plain values and numpy arrays, whatever Python wrote it.

    Args:
        content: Of the file.
        what: The data set's file that it should be, for messages: "a sequence file of 3DPW".

    Raises:
        ValueError: It is no pickle, is cut off, or asks for anything else. Nothing of it has been
            executed then.
    """
    try:
        return SafeUnpickler(io.BytesIO(content), encoding="latin1").load()
    except Exception as error:  # a damaged or hostile pickle can fail in any way
        raise ValueError(
            f"refused as {what}: {error}. Nothing in it was executed; such a file holds plain "
            "values and numpy arrays only: download it again"
        ) from error
