"""TFRecord files of Examples, byte by byte, from the descriptions of the formats alone."""

import struct
from collections.abc import Mapping, Sequence

WIRE_BYTES = 2


def crc32c(content: bytes) -> int:
    """Castagnoli's CRC, bit by bit."""
    crc = 0xFFFFFFFF
    for byte in content:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def masked(content: bytes) -> bytes:
    crc = crc32c(content)
    turned = (crc >> 15) | (crc << 17) % 2**32
    return struct.pack("<I", (turned + 0xA282EAD8) % 2**32)


def record(content: bytes) -> bytes:
    length = struct.pack("<Q", len(content))
    return length + masked(length) + content + masked(content)


def varint(number: int) -> bytes:
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    out.append(number)
    return bytes(out)


def field(number: int, content: bytes) -> bytes:
    return varint(number << 3 | WIRE_BYTES) + varint(len(content)) + content


def feature(values: Sequence[bytes] | Sequence[float] | Sequence[int]) -> bytes:
    if all(isinstance(value, bytes) for value in values):
        return field(1, b"".join(field(1, value) for value in values))  # type: ignore[arg-type]
    if all(isinstance(value, int) for value in values):
        return field(3, field(1, b"".join(varint(value) for value in values)))  # type: ignore[arg-type]
    return field(2, field(1, struct.pack(f"<{len(values)}f", *values)))


def example(values: Mapping[str, Sequence[bytes] | Sequence[float] | Sequence[int]]) -> bytes:
    entries = (field(1, name.encode()) + field(2, feature(v)) for name, v in values.items())
    return field(1, b"".join(field(1, entry) for entry in entries))
