import io
import resource
import zipfile
from pathlib import Path

import numpy as np
import pytest

from vibe_ray.data.sources import npz
from vibe_ray.data.sources.npz import BoundedNpz


def packed(compression: int = zipfile.ZIP_DEFLATED, **members: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(f"{name}.npy", content)
    return buffer.getvalue()


def claiming(shape: str, dtype: str = "<f8", num_bytes: int = 0) -> bytes:
    """An array whose header claims a shape, over as many zeros as are wanted."""
    header = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + bytes(num_bytes)


@pytest.mark.parametrize(
    "array",
    [
        np.arange(12.0).reshape(3, 4),
        np.asfortranarray(np.arange(12.0).reshape(3, 4)),
        np.arange(6, dtype=">i2"),
        np.array(120),
        np.zeros((0, 156), np.float16),
        np.array([True, False]),
    ],
)
def test_numbers_are_read_as_numpy_does(array: np.ndarray) -> None:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, one=array, other=np.array("text"))
    found = BoundedNpz(buffer.getvalue())
    assert found.names == ["one", "other"]
    assert found.header("one").shape == array.shape
    np.testing.assert_array_equal(found.read("one"), array.astype(np.float64))
    assert found.read("one").dtype == np.float64


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (claiming("(1000000000000, 156)"), r"claims shape \(1000000000000, 156\), .* but has 0"),
        (claiming("(10, 3)", num_bytes=241), "240 bytes, but has 241"),
        (claiming("(-5, 156)"), r"shape \(-5, 156\) holds float64"),
        (claiming("('a', 156)"), "a header that is none of NumPy's"),
        (claiming("__import__('os')"), "a header that is none of NumPy's"),
        (claiming("(2,)", dtype="|O", num_bytes=16), "holds Python objects, which could run code"),
        (claiming("(2,)", dtype="<U3", num_bytes=24), "holds <U3, expected numbers"),
        (claiming("(2,)", dtype="<c16", num_bytes=32), "holds complex128, expected numbers"),
        (b"", "a header that is none of NumPy's"),
        (b"junk of another kind", "a header that is none of NumPy's"),
        (b"\x93NUMPY\x09\x00" + bytes(100), "a header that is none of NumPy's"),
    ],
)
def test_headers_that_lie_are_told_before_anything_is_unpacked(
    content: bytes, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = BoundedNpz(packed(poses=content))
    with pytest.raises(ValueError, match=rf"array 'poses' .*{message}"):
        found.header("poses")
    with pytest.raises(ValueError, match=message):
        found.read("poses")


@pytest.mark.parametrize(
    "content",
    [b"", b"PK\x03\x04 not a zip", packed(a=bytes(99))[:-30]],
    ids=["empty", "by its first bytes alone", "cut off"],
)
def test_what_is_no_archive_is_called_so(content: bytes) -> None:
    with pytest.raises(ValueError, match=r"not an \.npz file, or cut off"):
        BoundedNpz(content)


@pytest.mark.parametrize("size", [99, 2**16])
def test_a_flipped_bit_of_the_data_is_noticed(size: int) -> None:
    """Whether the archive's check comes with the header, read along in small files, or later."""
    array = claiming(f"({size},)", num_bytes=8 * size)
    content = bytearray(packed(zipfile.ZIP_STORED, a=array))
    content[bytes(content).index(array) + len(array) - 1] ^= 1  # the array's last byte
    with pytest.raises(ValueError, match="array 'a' is damaged: Bad CRC-32"):
        BoundedNpz(bytes(content)).read("a")


def test_the_limit_holds_for_all_arrays_of_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(npz, "MAX_UNPACKED_BYTES", 3000)
    array = claiming("(200,)", num_bytes=1600)
    found = BoundedNpz(packed(a=array, b=array))
    found.read("a")
    with pytest.raises(ValueError, match=r"array 'b' of shape \(200,\) unpacks to"):
        found.read("b")


def test_a_bomb_of_gigabytes_takes_none(tmp_path: Path) -> None:
    """A gigabyte in five megabytes, by a true header: twice what is unpacked of a file."""
    num_bytes, block = 2 * npz.MAX_UNPACKED_BYTES, bytes(2**22)
    with (
        zipfile.ZipFile(
            tmp_path / "bomb.npz", "w", zipfile.ZIP_DEFLATED, compresslevel=1
        ) as archive,
        archive.open("poses.npy", "w", force_zip64=True) as file,
    ):
        file.write(claiming(f"({num_bytes // 8},)"))
        for _ in range(num_bytes // len(block)):
            file.write(block)
    content = (tmp_path / "bomb.npz").read_bytes()
    assert len(content) < num_bytes // 200
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ValueError, match="unpacks to 1024 MiB: no more than 512 MiB"):
        BoundedNpz(content).read("poses")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 2**18  # KiB
