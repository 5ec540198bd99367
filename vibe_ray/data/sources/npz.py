"""Arrays of an `.npz` from a stranger: nothing in it is executed, no more is unpacked than stated.

A few megabytes can be zipped from gigabytes, and a header may claim what is not there. So the
headers are read first; an array is unpacked only when its header, the archive's directory and
`MAX_UNPACKED_BYTES` agree, and then into as many bytes as it claims.
"""

import io
import math
import zipfile
import zlib
from dataclasses import dataclass
from typing import IO

import numpy as np

MAX_UNPACKED_BYTES = 2**29
"""512 MiB for all arrays taken out of one file: an hour of SMPL-X at 120 frames per second."""
_BROKEN = (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError, NotImplementedError)
"""What an archive that is damaged, encrypted or packed in an unknown way raises."""


@dataclass(frozen=True)
class ArrayHeader:
    shape: tuple[int, ...]
    dtype: np.dtype
    fortran: bool
    start: int
    """Bytes before the array's own."""

    @property
    def num_bytes(self) -> int:
        """Size of the array, as claimed."""
        return math.prod(self.shape) * self.dtype.itemsize


class BoundedNpz:
    """An `.npz` of which single arrays are read, after their shapes have been looked at."""

    def __init__(self, content: bytes) -> None:
        """Open it.

        Raises:
            ValueError: Not an `.npz`, or cut off.
        """
        try:
            self._archive = zipfile.ZipFile(io.BytesIO(content))
        except _BROKEN as error:
            raise ValueError(
                f"not an .npz file, or cut off after {len(content)} bytes: download it again"
            ) from error
        self.names = [
            name.removesuffix(".npy") for name in self._archive.namelist() if name.endswith(".npy")
        ]
        self._num_unpacked = 0

    def header(self, name: str) -> ArrayHeader:
        """Shape and type of an array, none of which has been unpacked yet.

        Raises:
            ValueError: The array is not one of numbers, or its header is broken or lies.
        """
        with self._open(name) as file:
            header = _read_header(file, name)
        held = self._archive.getinfo(name + ".npy").file_size - header.start
        if header.num_bytes != held:
            raise ValueError(
                f"array {name!r} claims shape {header.shape}, {header.num_bytes} bytes, but has "
                f"{held}: the file is broken"
            )
        return header

    def read(self, name: str) -> np.ndarray:
        """Unpack an array of numbers, as float64.

        Raises:
            ValueError: As `header`, or it is damaged, or beyond what is unpacked of one file.
        """
        header = self.header(name)
        self._num_unpacked += header.num_bytes
        if self._num_unpacked > MAX_UNPACKED_BYTES:
            raise ValueError(
                f"array {name!r} of shape {header.shape} unpacks to {header.num_bytes / 2**20:.0f} "
                f"MiB: no more than {MAX_UNPACKED_BYTES / 2**20:.0f} MiB of a file are unpacked"
            )
        with self._open(name) as file:
            try:
                content = file.read(header.start + header.num_bytes)[header.start :]
            except _BROKEN as error:
                raise ValueError(f"array {name!r} is damaged: {error}") from error
        if len(content) != header.num_bytes:
            raise ValueError(f"array {name!r} is cut off after {len(content)} bytes")
        array = np.frombuffer(content, header.dtype).reshape(
            header.shape, order="F" if header.fortran else "C"
        )
        with np.errstate(over="ignore"):  # of long doubles: infinities are found by who asks
            return array.astype(np.float64)

    def _open(self, name: str) -> IO[bytes]:
        try:
            return self._archive.open(name + ".npy")
        except _BROKEN as error:
            raise ValueError(f"array {name!r} is damaged: {error}") from error


def _read_header(file: IO[bytes], name: str) -> ArrayHeader:
    readers = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    try:
        version = np.lib.format.read_magic(file)
        shape, fortran, dtype = readers[version](file)
        header = ArrayHeader(tuple(shape), dtype, fortran, file.tell())
    except _BROKEN as error:
        raise ValueError(f"array {name!r} is damaged: {error}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"array {name!r} has a header that is none of NumPy's") from error
    if dtype.hasobject:
        raise ValueError(
            f"array {name!r} holds Python objects, which could run code when read: save it as "
            f"numbers, for example with np.savez(..., {name}=np.asarray({name}, dtype=float))"
        )
    if dtype.kind not in "biuf" or any(size < 0 for size in header.shape):
        raise ValueError(f"array {name!r} of shape {header.shape} holds {dtype}, expected numbers")
    return header
