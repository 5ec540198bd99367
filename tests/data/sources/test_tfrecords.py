import struct
from pathlib import Path

import numpy as np
import pytest

from tests.data.sources.tfrecord_writer import example, record
from vibe_ray.data.sources.tfrecords import masked_crc32c, parse_example, read_records


def test_the_checksum_is_that_of_the_standard() -> None:
    crc = 0xE3069283  # of "123456789", as RFC 3720's successor and all tables of CRCs have it
    expected = (((crc >> 15) | (crc << 17)) + 0xA282EAD8) % 2**32
    assert masked_crc32c(b"123456789") == expected


def test_records_and_where_they_are(tmp_path: Path) -> None:
    path = tmp_path / "a.tfrecord"
    contents = [b"first", b"", bytes(range(256)) * 9]
    path.write_bytes(b"".join(record(content) for content in contents))
    found = list(read_records(str(path)))
    assert [one.content for one in found] == contents
    assert [one.number for one in found] == [0, 1, 2]
    whole = path.read_bytes()
    for one in found:
        assert whole[one.start : one.start + len(one.content)] == one.content


def test_an_empty_file_has_no_records(tmp_path: Path) -> None:
    (tmp_path / "a.tfrecord").touch()
    assert not list(read_records(str(tmp_path / "a.tfrecord")))


def flipped(content: bytes, at: int) -> bytes:
    return content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]


GOOD = record(b"good")
HUGE_SIZE = struct.pack("<Q", 2**40)


@pytest.mark.parametrize(
    ("second", "message"),
    [
        (record(b"content")[:-1], r"record 1 of .*, at byte 20, is cut off: 10 of 11 bytes are"),
        (record(b"content")[:7], "record 1 of .* is cut off after 7 bytes"),
        (flipped(record(b"content"), 14), "record 1 of .* is not what was written: wrong checksum"),
        (flipped(record(b"content"), 20), "record 1 of .* is not what was written"),
        (flipped(record(b"content"), 2), "record 1 of .* is no record of a TFRecord file"),
        (
            HUGE_SIZE + struct.pack("<I", masked_crc32c(HUGE_SIZE)) + b"x",
            f"record 1 of .* has {2**40} bytes: up to",
        ),
    ],
)
def test_a_damaged_record_is_named(tmp_path: Path, second: bytes, message: str) -> None:
    path = tmp_path / "a.tfrecord"
    path.write_bytes(GOOD + second)
    records = read_records(str(path))
    assert next(records).content == b"good"
    with pytest.raises(ValueError, match=message):
        next(records)


def test_an_example_is_what_was_written() -> None:
    values = {"numbers": [1, 300, 2**40], "x": [0.5, -2.0], "pictures": [b"one", b"", b"\xff"]}
    found = parse_example(example(values))  # type: ignore[arg-type]
    assert set(found) == set(values)
    assert found["pictures"] == values["pictures"]
    np.testing.assert_array_equal(found["numbers"], values["numbers"])
    np.testing.assert_array_equal(found["x"], values["x"])


def test_what_is_no_example() -> None:
    with pytest.raises(ValueError, match="no Example of TensorFlow"):
        parse_example(b"\xff\xff\xff")
