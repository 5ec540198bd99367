"""TensorFlow's files of records, read without TensorFlow: their frames, checksums and messages.

A file is a row of records: length (8 bytes), its checksum (4), content, its checksum (4), all
little-endian. A checksum is CRC32C, turned and shifted so that one of a checksum differs from it. A
record's content is here a `tf.train.Example`: names with lists of bytes, floats or integers each.

Memory holds a record, however large the file is.
"""

import functools
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from vibe_ray import storage

MAX_RECORD_BYTES = 2**30
_LENGTH = struct.Struct("<QI")
_CHECKSUM = struct.Struct("<I")
_LISTS = ("bytes_list", "float_list", "int64_list")
_MISSING = "TFRecord files need {name} ({error}): pip install 'vibe_ray[datasets]'"


@dataclass(frozen=True)
class Record:
    number: int
    """In its file, from 0."""
    start: int
    """Where in the file its content begins, in bytes."""
    content: bytes


def read_records(path: str) -> Iterator[Record]:
    """Yield a file's records.

    Raises:
        ImportError: google-crc32c is missing.
        ValueError: A record is cut off or is not what was written; says which.
    """
    filesystem, inner = storage.resolve(path)
    end = filesystem.get_file_info(inner).size or 0
    position, number = 0, 0
    while position < end:
        where = f"record {number} of {path}, at byte {position},"
        start = position + _LENGTH.size
        if start > end:
            raise ValueError(f"{where} is cut off after {end - position} bytes: download it again")
        head = storage.read_bytes(path, position, start)
        length, checksum = _LENGTH.unpack(head)
        if masked_crc32c(head[:8]) != checksum:
            raise ValueError(f"{where} is no record of a TFRecord file: wrong checksum of its size")
        if length > MAX_RECORD_BYTES:
            raise ValueError(f"{where} has {length} bytes: up to {MAX_RECORD_BYTES} are read")
        position = start + length + _CHECKSUM.size
        if position > end:
            raise ValueError(
                f"{where} is cut off: {end - start} of {length + _CHECKSUM.size} bytes are there; "
                "download it again"
            )
        content = storage.read_bytes(path, start, position)
        if _CHECKSUM.unpack(content[-4:]) != (masked_crc32c(content[:-4]),):
            raise ValueError(f"{where} is not what was written: wrong checksum; download it again")
        yield Record(number, start, content[:-4])
        number += 1


def masked_crc32c(content: bytes) -> int:
    """Return the checksum of some bytes, as TFRecord files have it."""
    try:
        import google_crc32c
    except ImportError as error:
        raise ImportError(_MISSING.format(name="google-crc32c", error=error)) from None
    crc = int(google_crc32c.value(content))
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def parse_example(content: bytes) -> Mapping[str, Any]:
    """Return what an Example holds: lists of bytes, and arrays of numbers, by name.

    Raises:
        ImportError: protobuf is missing.
        ValueError: It is no Example.
    """
    example = _example_class()()
    try:
        example.ParseFromString(content)
    except Exception as error:  # protobuf's DecodeError, whose place differs between versions
        raise ValueError(f"no Example of TensorFlow: {error}") from None
    found: dict[str, Any] = {}
    for entry in example.features.feature:
        if kind := entry.value.WhichOneof("kind"):
            values = getattr(entry.value, kind).value
            found[entry.key] = list(values) if kind == "bytes_list" else np.array(values)
    return found


@functools.cache
def _example_class() -> Any:
    """Make the message's class, in a pool of its own: TensorFlow may have another there.

    A map is on the wire a repeated message of key and value, which is what it is here.
    """
    try:
        from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
    except ImportError as error:
        raise ImportError(_MISSING.format(name="protobuf", error=error)) from None
    file = descriptor_pb2.FileDescriptorProto(name="example.proto", package="own", syntax="proto3")
    kinds = descriptor_pb2.FieldDescriptorProto
    once, many = kinds.LABEL_OPTIONAL, kinds.LABEL_REPEATED
    lists = {"BytesList": kinds.TYPE_BYTES, "FloatList": kinds.TYPE_FLOAT}
    for name, kind in {**lists, "Int64List": kinds.TYPE_INT64}.items():
        message = file.message_type.add(name=name)
        message.field.add(name="value", number=1, label=many, type=kind)
    feature = file.message_type.add(name="Feature")
    feature.oneof_decl.add(name="kind")
    names = zip(_LISTS, ("BytesList", "FloatList", "Int64List"), strict=True)
    for number, (name, of) in enumerate(names, 1):
        feature.field.add(
            **_message(name, number, once, of),
            oneof_index=0,
        )
    entry = file.message_type.add(name="Entry")
    entry.field.add(name="key", number=1, label=once, type=kinds.TYPE_STRING)
    entry.field.add(**_message("value", 2, once, "Feature"))
    file.message_type.add(name="Features").field.add(**_message("feature", 1, many, "Entry"))
    file.message_type.add(name="Example").field.add(**_message("features", 1, once, "Features"))
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("own.Example"))


def _message(name: str, number: int, label: Any, of: str) -> dict[str, Any]:
    from google.protobuf.descriptor_pb2 import FieldDescriptorProto

    kind = FieldDescriptorProto.TYPE_MESSAGE
    return {"name": name, "number": number, "label": label, "type": kind, "type_name": f".own.{of}"}
