"""The wire format: packing is lossless and little-endian, and bad arrays are told in words."""

import base64
import json
import struct

import numpy as np
import pytest
from pydantic import ValidationError

from vibe_ray.serving.schemas import InferRequest
from vibe_ray.serving.wire import MAX_FIELDS, PackedArray, parse_request


def test_packed_numbers_are_little_endian_in_c_order() -> None:
    packed = PackedArray(
        dtype="float32",
        shape=[2, 2],
        data=base64.b64encode(struct.pack("<4f", 1.0, 2.5, -3.0, 4.0)).decode(),
    )
    np.testing.assert_array_equal(packed.unpack(), [[1.0, 2.5], [-3.0, 4.0]])
    half = PackedArray(
        dtype="float16", shape=[3], data=base64.b64encode(struct.pack("<3e", 1, 0.5, -2)).decode()
    )
    np.testing.assert_array_equal(half.unpack(), [1.0, 0.5, -2.0])


def test_packing_loses_nothing() -> None:
    array = np.random.default_rng(0).normal(size=(3, 24, 3)).astype(np.float32)
    packed = PackedArray.pack(array)
    np.testing.assert_array_equal(packed.unpack(), array)
    assert PackedArray.model_validate_json(packed.model_dump_json()) == packed


def test_lists_and_packed_features_are_the_same_request() -> None:
    array = np.random.default_rng(0).normal(size=(4, 6)).astype(np.float32)
    listed = InferRequest.model_validate({"features": array.tolist()})
    packed = InferRequest.model_validate({"features": PackedArray.pack(array).model_dump()})
    np.testing.assert_array_equal(listed.to_array(), array)
    np.testing.assert_array_equal(packed.to_array(), array)


ZEROS = base64.b64encode(bytes(16)).decode()


@pytest.mark.parametrize(
    ("features", "message"),
    [
        ([[1.0, 2.0], [1.0]], r"rows of \[1, 2\] numbers, expected equal"),
        ([], r"shape \(0,\), expected \(frames, features\)"),
        ([[]], r"shape \(1, 0\), expected \(frames, features\)"),
        ([[1.0], [float("nan")]], "features of frame 1 are not finite"),
        ([["a"]], "valid number"),
        ({"dtype": "float32", "shape": [4], "data": ZEROS}, r"shape \(4,\), expected"),
        ({"dtype": "float32", "shape": [2, 3], "data": ZEROS}, "holds 16 bytes, expected 24"),
        ({"dtype": "float16", "shape": [2, 2], "data": ZEROS}, "holds 16 bytes, expected 8"),
        ({"dtype": "float32", "shape": [2, 2], "data": "*not base64*"}, "not base64"),
        ({"dtype": "float32", "shape": [2, -2], "data": ZEROS}, "greater than or equal to 0"),
        ({"dtype": "float64", "shape": [1, 2], "data": ZEROS}, "'float16' or 'float32'"),
        ({"dtype": "float32", "shape": [2, 2], "data": ZEROS, "order": "F"}, "not permitted"),
        ("text", "dictionary"),
    ],
)
def test_bad_features_are_refused_in_words(features: object, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        InferRequest.model_validate({"features": features})


@pytest.mark.parametrize(
    "other", [{"fps": 0}, {"fps": "fast"}, {"encoding": "xml"}, {"vertices": True}]
)
def test_bad_options_are_refused(other: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        InferRequest.model_validate({"features": [[0.0]], **other})


def test_a_request_parsed_is_the_request_validated() -> None:
    array = np.random.default_rng(0).normal(size=(4, 6)).astype(np.float32)
    for features in (array.tolist(), PackedArray.pack(array).model_dump()):
        body = {"features": features, "fps": 30, "verts": True}
        parsed = parse_request(json.dumps(body).encode(), list_numbers=24, kind=InferRequest)
        assert parsed.model_dump() == InferRequest.model_validate(body).model_dump()
        np.testing.assert_array_equal(parsed.to_array(), array)


def test_what_a_request_holds_is_bounded_before_it_is_parsed() -> None:
    with pytest.raises(OverflowError, match="more than 10 numbers as lists"):
        parse_request(
            b'{"features": [[' + b"0," * 100 + b"0]]}", list_numbers=10, kind=InferRequest
        )
    fields = ",".join(f'"f{index}": 1' for index in range(MAX_FIELDS + 1))
    with pytest.raises(ValueError, match=f"more than {MAX_FIELDS} fields"):
        parse_request(f"{{{fields}}}".encode(), list_numbers=1000, kind=InferRequest)


def test_errors_are_few_and_short() -> None:
    fields = ",".join(f'"{"f" * 200}{index}": 1' for index in range(20))
    with pytest.raises(ValueError, match="not permitted") as error:
        parse_request(
            f'{{"features": [[1]], {fields}}}'.encode(), list_numbers=1000, kind=InferRequest
        )
    assert len(str(error.value)) < 1000
    ragged = [[1.0] * length for length in range(1, 30)]
    with pytest.raises(ValueError, match=r"rows of \[1, 2, 3, 4, 5, '...'\] numbers"):
        parse_request(
            json.dumps({"features": ragged}).encode(), list_numbers=1000, kind=InferRequest
        )


def test_a_deep_request_is_refused() -> None:
    with pytest.raises(ValueError, match="JSON"):
        parse_request(b'{"features": ' + b"[" * 100_000, list_numbers=1000, kind=InferRequest)
