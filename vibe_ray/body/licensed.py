"""How is SMPL's original .pkl read without trusting it?

The official files need scipy and chumpy (which no longer installs), and a file from elsewhere could
run anything: `storage/pickles.py` reads them, and here its records become the arrays that they
stand for.
"""

import logging
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse

from vibe_ray.storage.pickles import (
    CompressedColumns,
    CompressedRows,
    Coordinates,
    Record,
    SafeUnpickler,
)

logger = logging.getLogger(__name__)


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
            content = SafeUnpickler(file, encoding="latin1").load()
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
    if not isinstance(value, Record):
        return value
    state = vars(value)
    match value:
        case CompressedColumns():
            parts = state["data"], state["indices"], state["indptr"]
            return scipy.sparse.csc_matrix(parts, state["_shape"]).toarray()
        case CompressedRows():
            parts = state["data"], state["indices"], state["indptr"]
            return scipy.sparse.csr_matrix(parts, state["_shape"]).toarray()
        case Coordinates():
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
