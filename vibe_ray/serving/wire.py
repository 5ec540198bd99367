"""How arrays and errors go over the wire: nested lists or packed numbers, and problems in words.

Packed is base64 of little-endian float16 or float32 in C order.
"""

import base64
import binascii
import math
from typing import Annotated, Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, FailFast, Field, ValidationError
from typing_extensions import TypeAliasType

MAX_FIELDS = 50
"""Of one request, all objects in it together: many times what the interface knows."""

PLUMBING = ("body", "packed", "lists")
"""Parts of an error's location that say nothing about the request."""

FloatArray = NDArray[np.floating[Any]]
NestedList = list[Any]


class PackedArray(BaseModel):
    model_config = ConfigDict(extra="forbid")

    dtype: Literal["float16", "float32"] = Field(description="little-endian")
    shape: Annotated[list[Annotated[int, Field(ge=0)]], FailFast()] = Field(
        max_length=8, examples=[[16, 2048]]
    )
    data: str = Field(description="base64 of the numbers in C order", repr=False)

    @classmethod
    def pack(cls, array: FloatArray) -> "PackedArray":
        """Pack an array as float32."""
        data = base64.b64encode(array.astype("<f4").tobytes()).decode()
        return cls(dtype="float32", shape=list(array.shape), data=data)

    def unpack(self) -> FloatArray:
        """Return the array.

        Raises:
            ValueError: The data are no base64, or not as many numbers as the shape says.
        """
        try:
            raw = base64.b64decode(self.data, validate=True)
        except binascii.Error as error:
            raise ValueError(f"data is not base64: {error}") from None
        dtype = np.dtype(self.dtype).newbyteorder("<")
        expected = math.prod(self.shape) * dtype.itemsize
        if len(raw) != expected:
            raise ValueError(
                f"data holds {len(raw)} bytes, expected {expected} for {self.dtype} of shape "
                f"{self.shape}"
            )
        return np.frombuffer(raw, dtype).reshape(self.shape)


def form(value: Any) -> str:
    """Tell the two forms apart, for pydantic."""
    return "lists" if isinstance(value, list) else "packed"


# The first wrong number is the error, not each of a million.
Rows = TypeAliasType("Rows", Annotated[list[Annotated[list[float], FailFast()]], FailFast()])
Tables = TypeAliasType("Tables", Annotated[list[Rows], FailFast()])
Encoding = Literal["lists", "packed"]
Asked = TypeVar("Asked", bound=BaseModel)


def read_array(given: PackedArray | NestedList, name: str) -> FloatArray:
    """Return a request's array as it came.

    Args:
        given: Packed, or lists of numbers, lists of those, and so on.
        name: Its field's, for the message.

    Raises:
        ValueError: It is not what it says, or rows are of unlike lengths.
    """
    if isinstance(given, PackedArray):
        return given.unpack()
    level: list[Any] = given
    shape = [len(level)]
    while level and isinstance(level[0], list):
        widths = {len(row) for row in level}
        if len(widths) > 1:
            few = [*sorted(widths)[:5], "..."] if len(widths) > 5 else sorted(widths)
            raise ValueError(f"{name} has rows of {few} numbers, expected equal")
        shape.append(widths.pop())
        level = [item for row in level for item in row]
    return np.asarray(level, np.float64).reshape(shape)


def finite(array: FloatArray, name: str) -> NDArray[np.float32]:
    """Return an array with leading (N,) frames as float32.

    Raises:
        ValueError: It is not finite, or would not be; names the first such frame.
    """
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinity
        array = array.astype(np.float32)
    is_finite = np.isfinite(array).all(axis=tuple(range(1, array.ndim)))
    if not is_finite.all():
        frame = int(np.argmin(is_finite))
        raise ValueError(f"{name} of frame {frame} are not finite in float32")
    return array


def written(array: FloatArray, encoding: Encoding) -> PackedArray | NestedList:
    """Return an array as a reply has it; lists are rounded to micrometers."""
    if encoding == "packed":
        return PackedArray.pack(array)
    rounded: NestedList = np.round(array.astype(np.float64), 6).tolist()
    return rounded


def parse_request(body: bytes, list_numbers: int, kind: type[Asked]) -> Asked:
    """Read a request. What it may take in memory is bounded before anything is parsed.

    Every number of a list, and every field of an object, comes with a comma or a colon of its own;
    packed arrays hold neither.

    Args:
        body: JSON.
        list_numbers: At most so many numbers as lists.
        kind: Of request.

    Raises:
        ValueError: The request is malformed; says where and how, and does not repeat its arrays.
        OverflowError: Too many numbers as lists.
    """
    if body.count(b":") > MAX_FIELDS:
        raise ValueError(f"more than {MAX_FIELDS} fields, expected those that /docs describes")
    if body.count(b",") > list_numbers + MAX_FIELDS:
        raise OverflowError(
            f"more than {list_numbers} numbers as lists: pack the arrays, or send them in pieces"
        )
    try:
        return kind.model_validate_json(body)
    except ValidationError as error:
        raise ValueError(_in_words(error)) from None


def _in_words(error: ValidationError) -> str:
    found = []
    for problem in error.errors(include_url=False, include_context=False, include_input=False)[:5]:
        place = ".".join(str(part) for part in problem["loc"] if part not in PLUMBING)
        text = str(problem["msg"]).removeprefix("Value error, ")
        found.append(f"{place[:100]}: {text}" if place else text)
    return "; ".join(found)
