"""Data sets' .mat files, of which MATLAB has two kinds: its own, and since version 7.3 HDF5."""

import io
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import scipy.io

from vibe_ray.geometry.arrays import Array

_BROKEN = (
    *(ValueError, TypeError, OSError, LookupError, zlib.error, NotImplementedError),
    scipy.io.matlab.MatReadError,
)
"""What scipy raises of a damaged .mat file, or of none."""


def read_mat(content: bytes, keys: Sequence[str], what: str) -> Mapping[str, Any]:
    """Read some arrays of a .mat file.

    Args:
        content: Of the file.
        keys: Their names, all of which must be there; no others are decoded.
        what: The data set's file that it should be, for messages: "label file of Penn Action".

    Raises:
        ValueError: It is damaged, or another data set's.
    """
    try:
        mat: Mapping[str, Any] = scipy.io.loadmat(io.BytesIO(content), variable_names=keys)
    except _BROKEN as error:
        raise _broken("no .mat file", content, error) from error
    if missing := [key for key in keys if key not in mat]:
        found = (name for name, _, _ in scipy.io.whosmat(io.BytesIO(content)))
        raise _another(what, missing, found)
    return mat


def read_mat_73(content: bytes, keys: Sequence[str], what: str) -> Mapping[str, Array]:
    """Read some arrays of a .mat file of version 7.3, as `read_mat` does.

    HDF5 has MATLAB's arrays with their axes in reverse.

    Raises:
        ImportError: h5py is missing.
        ValueError: It is damaged, or another data set's.
    """
    try:
        import h5py
    except ImportError as error:
        raise ImportError(
            f".mat files of version 7.3 need h5py ({error}): pip install 'vibe_ray[datasets]'"
        ) from None
    try:
        with h5py.File(io.BytesIO(content), "r") as file:
            if missing := [key for key in keys if not isinstance(file.get(key), h5py.Dataset)]:
                raise _another(what, missing, file)
            return {key: file[key][()] for key in keys}
    except (OSError, KeyError, RuntimeError) as error:
        raise _broken("no .mat file of version 7.3", content, error) from error


def _broken(what: str, content: bytes, error: Exception) -> ValueError:
    return ValueError(f"{what}, or cut off after {len(content)} bytes: {error}; download it again")


def _another(what: str, missing: Sequence[str], found: Any) -> ValueError:
    return ValueError(
        f"no {what}: no {', '.join(missing)} among {', '.join(found)}; put the set's own file in "
        "its place"
    )
