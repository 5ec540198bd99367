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
from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, model_validator

MAX_FRAMES = 3000
"""Of one request: two minutes at 25 frames per second."""
MAX_MESH_FRAMES = 256
"""Of one request that asks for vertices: some 28 MB of reply with the open body."""
MAX_BODY_BYTES = 64 * 2**20

FloatArray = NDArray[np.floating[Any]]
NestedList = list[Any]


class PackedArray(BaseModel):
    model_config = ConfigDict(extra="forbid")

    dtype: Literal["float16", "float32"] = Field(description="little-endian")
    shape: list[Annotated[int, Field(ge=0)]] = Field(examples=[[16, 2048]])
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


WireFeatures = Annotated[
    Annotated[PackedArray, Tag("packed")] | Annotated[list[list[float]], Tag("lists")],
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

    @model_validator(mode="after")
    def _check(self) -> "InferRequest":
        self.to_array()
        return self

    def to_array(self) -> NDArray[np.float32]:
        """Return the features (N, F).

        Raises:
            ValueError: Not a table of numbers with at least one row, or not finite.
        """
        if isinstance(self.features, PackedArray):
            array = self.features.unpack()
        else:
            widths = {len(row) for row in self.features}
            if len(widths) > 1:
                raise ValueError(f"features has rows of {sorted(widths)} numbers, expected equal")
            array = np.asarray(self.features)
        if array.ndim != 2 or array.size == 0:
            raise ValueError(f"features has shape {array.shape}, expected (frames, features)")
        if not np.isfinite(array).all():
            frame = int(np.argwhere(~np.isfinite(array))[0, 0])
            raise ValueError(f"features of frame {frame} are not finite")
        return array.astype(np.float32)


class InferReply(BaseModel):
    """SMPL parameters per frame, in camera axes: x right, y down, z forward; metres, radians."""

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
    feature_dim: int
    window_length: int = Field(description="frames of a window in training")
    num_verts: int
    max_frames: int = MAX_FRAMES
    max_mesh_frames: int = MAX_MESH_FRAMES
    max_body_bytes: int = MAX_BODY_BYTES


class Problem(BaseModel):
    """Every error's body."""

    detail: str
