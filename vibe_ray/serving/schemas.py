"""What goes over the wire: requests and replies of `/v1`, with shapes, limits and errors in words.

Shapes: N frames of one person, F features, V vertices.

Arrays travel as nested lists, or packed: base64 of little-endian float16 or float32 in C order.
"""

import base64
import binascii
import math
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import (
    BaseModel,
    ConfigDict,
    Discriminator,
    FailFast,
    Field,
    PrivateAttr,
    Tag,
    ValidationError,
    model_validator,
)
from typing_extensions import TypeAliasType

MAX_FRAMES = 3000
"""Of one request: two minutes at 25 frames per second."""
MAX_MESH_FRAMES = 256
"""Of one request that asks for vertices: some 28 MB of reply with the open body."""
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


def _form(value: Any) -> str:
    return "lists" if isinstance(value, list) else "packed"


# The first wrong number is the error, not each of a million.
Rows = TypeAliasType("Rows", Annotated[list[Annotated[list[float], FailFast()]], FailFast()])
WireFeatures = Annotated[
    Annotated[PackedArray, Tag("packed")] | Annotated[Rows, Tag("lists")],
    Discriminator(_form),
]


class InferRequest(BaseModel):
    """Features of consecutive frames of one person."""

    model_config = ConfigDict(extra="forbid")

    features: WireFeatures = Field(description="(N, F), from the model's frame encoder")
    fps: float = Field(default=25.0, gt=0, le=1000, description="returned as it came")
    chunking: Literal["windows", "sequence"] = Field(
        default="windows",
        description="cut into windows of the length trained on, or the whole sequence in one go",
    )
    joints: bool = Field(default=True, description="return the 24 joints too")
    verts: bool = Field(default=False, description="return the vertices too, always packed")
    encoding: Literal["lists", "packed"] = Field(default="lists", description="of the reply")

    _array: NDArray[np.float32] = PrivateAttr()

    @model_validator(mode="after")
    def _check(self) -> "InferRequest":
        self._array = self._to_array()
        return self

    def to_array(self) -> NDArray[np.float32]:
        """Return the features (N, F), which are finite."""
        return self._array

    def _to_array(self) -> NDArray[np.float32]:
        if isinstance(self.features, PackedArray):
            array = self.features.unpack()
        else:
            widths = {len(row) for row in self.features}
            if len(widths) > 1:
                few = [*sorted(widths)[:5], "..."] if len(widths) > 5 else sorted(widths)
                raise ValueError(f"features has rows of {few} numbers, expected equal")
            array = np.asarray(self.features)
        if array.ndim != 2 or array.size == 0:
            raise ValueError(f"features has shape {array.shape}, expected (frames, features)")
        with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinity
            array = array.astype(np.float32)
        is_finite = np.isfinite(array).all(axis=1)
        if not is_finite.all():
            frame = int(np.argmin(is_finite))
            raise ValueError(f"features of frame {frame} are not finite in float32")
        return array


def parse_request(body: bytes, list_numbers: int) -> InferRequest:
    """Read a request. What it may take in memory is bounded before anything is parsed.

    Every number of a list, and every field of an object, comes with a comma or a colon of its own;
    packed features hold neither.

    Args:
        body: JSON.
        list_numbers: At most so many numbers as lists.

    Raises:
        ValueError: The request is malformed; says where and how, and does not repeat the features.
        OverflowError: Too many numbers as lists.
    """
    if body.count(b":") > MAX_FIELDS:
        raise ValueError(f"more than {MAX_FIELDS} fields, expected those that /docs describes")
    if body.count(b",") > list_numbers + MAX_FIELDS:
        raise OverflowError(
            f"more than {list_numbers} numbers as lists: pack the features, or send them in pieces"
        )
    try:
        return InferRequest.model_validate_json(body)
    except ValidationError as error:
        raise ValueError(_in_words(error)) from None


def _in_words(error: ValidationError) -> str:
    found = []
    for problem in error.errors(include_url=False, include_context=False, include_input=False)[:5]:
        place = ".".join(str(part) for part in problem["loc"] if part not in PLUMBING)
        text = str(problem["msg"]).removeprefix("Value error, ")
        found.append(f"{place[:100]}: {text}" if place else text)
    return "; ".join(found)


class InferReply(BaseModel):
    """SMPL parameters per frame, in camera axes: x right, y down, z forward; meters, radians."""

    num_frames: int
    fps: float
    pose: PackedArray | NestedList = Field(description="(N, 72) axis-angle, root first")
    betas: PackedArray | NestedList = Field(description="(N, 10) body shape")
    cam: PackedArray | NestedList = Field(description="(N, 3) weak perspective: scale, tx, ty")
    joints: PackedArray | NestedList | None = Field(None, description="(N, 24, 3)")
    verts: PackedArray | None = Field(None, description="(N, V, 3)")


class ModelInfo(BaseModel):
    """Which model answers, and what it takes."""

    checkpoint: str
    manifest: dict[str, Any] = Field(description="written with the checkpoint: code, data, metrics")
    feature_dim: int = Field(description="with key-points behind, if the model looks at those")
    window_length: int = Field(description="frames of a window in training")
    num_verts: int
    max_frames: int = MAX_FRAMES
    max_mesh_frames: int = MAX_MESH_FRAMES
    max_body_bytes: int
    max_list_numbers: int = Field(description="as nested lists; packed features have no such limit")


class Problem(BaseModel):
    """Every error's body."""

    detail: str
