"""How do arrays become the one file of a GLB? glTF's accessors, buffer views and chunks.

A GLB is a header, a chunk of JSON that describes all, and a chunk of bytes that it points into.
"""

import json
import struct
from typing import Any

import numpy as np

_COMPONENTS = {"float32": 5126, "uint8": 5121, "uint16": 5123, "uint32": 5125}
"""glTF's codes of number types."""
_VERTICES, _INDICES = 34962, 34963
"""What a graphics card is told that a buffer holds."""
_WIDTHS = {"SCALAR": 1, "VEC3": 3, "VEC4": 4, "MAT4": 16}
_NAMES = {width: name for name, width in _WIDTHS.items()}
_MAGIC, _VERSION = b"glTF", 2
_JSON, _BINARY = b"JSON", b"BIN\0"
MAX_BYTES = 2**32 - 1
"""The file says its length in 32 bits."""


class Container:
    """Collects arrays and packs them with the document that refers to them by number."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._num_bytes = 0
        self._views: list[dict[str, Any]] = []
        self._accessors: list[dict[str, Any]] = []

    def vertices(self, array: np.ndarray, *, with_bounds: bool = False) -> int:
        """Add a vertex attribute (V, 3 or 4); return the number of its accessor."""
        return self._add(array, _NAMES[array.shape[1]], with_bounds, _VERTICES)

    def indices(self, array: np.ndarray) -> int:
        """Add vertex numbers of triangles, one after another; return the accessor's number."""
        return self._add(array, "SCALAR", False, _INDICES)

    def data(self, array: np.ndarray, kind: str, *, with_bounds: bool = False) -> int:
        """Add an array of "SCALAR", "VEC3", "VEC4" or "MAT4"; return the accessor's number."""
        return self._add(array, kind, with_bounds, None)

    def _add(self, array: np.ndarray, kind: str, with_bounds: bool, target: int | None) -> int:
        rows = array.reshape(-1, _WIDTHS[kind])
        content = np.ascontiguousarray(rows.astype(rows.dtype.newbyteorder("<"))).tobytes()
        view = {"buffer": 0, "byteOffset": self._num_bytes, "byteLength": len(content)}
        self._views.append(view | ({} if target is None else {"target": target}))
        content = _padded(content, b"\0")
        self._pieces.append(content)
        self._num_bytes += len(content)
        bounds = {"min": rows.min(axis=0).tolist(), "max": rows.max(axis=0).tolist()}
        accessor = {
            "bufferView": len(self._views) - 1,
            "componentType": _COMPONENTS[rows.dtype.name],
            "count": len(rows),
            "type": kind,
        }
        self._accessors.append(accessor | (bounds if with_bounds else {}))
        return len(self._accessors) - 1

    def pack(self, document: dict[str, Any]) -> bytes:
        """Return the file of a glTF document, to which what was added is added.

        Raises:
            ValueError: More than the format holds.
        """
        binary = b"".join(self._pieces)
        whole = document | {
            "accessors": self._accessors,
            "bufferViews": self._views,
            "buffers": [{"byteLength": len(binary)}],
        }
        text = json.dumps(whole, allow_nan=False, separators=(",", ":")).encode()
        chunks = _chunk(_JSON, _padded(text, b" ")) + _chunk(_BINARY, binary)
        length = 12 + len(chunks)
        if length > MAX_BYTES:
            raise ValueError(
                f"a GLB of {length / 2**30:.1f} GiB: the format ends at 4, export shorter pieces"
            )
        return _MAGIC + struct.pack("<II", _VERSION, length) + chunks


def _padded(content: bytes, filler: bytes) -> bytes:
    """Content to which filler is added until its length is a multiple of four."""
    return content + filler * (-len(content) % 4)


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack("<I", len(content)) + kind + content
