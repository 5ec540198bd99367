"""What is asked and answered: requests and replies of `/v1`, shapes, limits, errors in words.

Shapes: N frames of one person, F features, D key-points, V vertices.
"""

from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Discriminator, Field, PrivateAttr, Tag, model_validator

from vibe_ray.serving.wire import (
    Encoding,
    NestedList,
    PackedArray,
    Rows,
    Tables,
    finite,
    form,
    read_array,
)

MAX_FRAMES = 3000
"""Of one request: two minutes at 25 frames per second."""
MAX_MESH_FRAMES = 256
"""Of one request that asks for vertices: some 28 MB of reply with the open body."""
MAX_KEYPOINTS = 256
"""Of a frame: more than any detector knows."""
MAX_SIDE = 2**13
"""Of a picture, pixels: 8K."""
MAX_PICTURES_AWAY = 100
"""Key-points may be guessed outside of the picture, but no further than so many of its sides."""

WireArray = PackedArray | NestedList
WireFeatures = Annotated[
    Annotated[PackedArray, Tag("packed")] | Annotated[Rows, Tag("lists")],
    Discriminator(form),
]
WireKeypoints = Annotated[
    Annotated[PackedArray, Tag("packed")] | Annotated[Tables, Tag("lists")],
    Discriminator(form),
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
    encoding: Encoding = Field(default="lists", description="of the reply")

    _array: NDArray[np.float32] = PrivateAttr()

    @model_validator(mode="after")
    def _check(self) -> "InferRequest":
        array = read_array(self.features, "features")
        if array.ndim != 2 or array.size == 0:
            raise ValueError(f"features has shape {array.shape}, expected (frames, features)")
        self._array = finite(array, "features")
        return self

    def to_array(self) -> NDArray[np.float32]:
        """Return the features (N, F), which are finite."""
        return self._array


class KeypointsRequest(BaseModel):
    """What a detector saw of one person in consecutive frames."""

    model_config = ConfigDict(extra="forbid")

    keypoints: WireKeypoints = Field(
        description="(N, D, 3): x, y in pixels, and a confidence, 0 for what was missed",
    )
    names: list[Annotated[str, Field(max_length=64)]] | None = Field(
        default=None,
        min_length=1,
        max_length=MAX_KEYPOINTS,
        description="of the D key-points; without them 17 are COCO's, 18 and 25 OpenPose's, 26 "
        "Halpe's, 133 COCO-WholeBody's",
        examples=[["nose", "left_eye", "right_eye"]],
    )
    width: int = Field(gt=0, le=MAX_SIDE, description="of the picture, pixels")
    height: int = Field(gt=0, le=MAX_SIDE, description="likewise")
    fps: float = Field(ge=0.1, le=1000)
    focal_px: float | None = Field(
        default=None, ge=1, le=1e6, description="of the camera; the picture's diagonal without it"
    )
    camera: Literal["still", "moves"] | None = Field(
        default=None,
        description="only before one that stands still there is a world to tell; it is taken to "
        "stand still, with a warning, where nothing is said",
    )
    joints: bool = Field(default=True, description="return the 24 joints too")
    files: list[Literal["glb", "bvh"]] = Field(
        default=[], max_length=2, description="return the motion as such files too, in base64"
    )
    encoding: Encoding = Field(default="lists", description="of the reply")

    _array: NDArray[np.float32] = PrivateAttr()

    @model_validator(mode="after")
    def _check(self) -> "KeypointsRequest":
        array = read_array(self.keypoints, "keypoints")
        if array.ndim == 3 and array.shape[1] > MAX_KEYPOINTS:
            raise ValueError(f"{array.shape[1]} key-points a frame, at most {MAX_KEYPOINTS}")
        self._array = finite(array, "keypoints")
        far = MAX_PICTURES_AWAY * max(self.width, self.height)
        lost = (np.abs(self._array[..., :2]) > far).any(axis=tuple(range(1, array.ndim)))
        if lost.any():
            raise ValueError(
                f"keypoints of frame {int(np.argmax(lost))} lie over {far} pixels away: expected "
                "pixels of the picture, and 0 where nothing was seen"
            )
        return self

    def to_array(self) -> NDArray[np.float32]:
        """Return the key-points (N, D, 3), which are finite."""
        return self._array


class InferReply(BaseModel):
    """SMPL parameters per frame, in camera axes: x right, y down, z forward; meters, radians."""

    num_frames: int
    fps: float
    pose: WireArray = Field(description="(N, 72) axis-angle, root first")
    betas: WireArray = Field(description="(N, 10) body shape")
    cam: WireArray = Field(description="(N, 3) weak perspective: scale, tx, ty")
    joints: WireArray | None = Field(None, description="(N, 24, 3)")
    verts: PackedArray | None = Field(None, description="(N, V, 3)")


class World(BaseModel):
    """The same motion in a world: y up, the floor at 0, feet on it locked; meters, radians."""

    pose: WireArray = Field(description="(N, 72) axis-angle, root first")
    transl: WireArray = Field(description="(N, 3)")
    contacts: list[list[bool]] = Field(description="(N, 4): who of contact_names is on the floor")
    contact_names: list[str]
    camera_rotmat: list[list[float]] = Field(description="(3, 3), from the world to the camera")
    camera_transl: list[float] = Field(description="likewise (3,)")


class KeypointsReply(BaseModel):
    """A person's motion, as `predict` gives it: fitted to the key-points, smooth, in its place.

    Camera axes: x right, y down, z forward; meters, radians. N frames from the first in which the
    person was seen to the last.
    """

    first_frame: int = Field(description="of the request, which the first of these N is")
    num_frames: int
    fps: float
    is_filled: list[bool] = Field(description="(N,): not seen, drawn between the neighbors")
    pose: WireArray = Field(description="(N, 72) axis-angle, root first")
    betas: list[float] = Field(description="(10,), one body")
    transl: WireArray = Field(description="(N, 3): added to the posed mesh it lies on the picture")
    joints: WireArray | None = Field(None, description="(N, 24, 3), transl included")
    world: World | None = Field(None, description="if the camera stands still and up can be told")
    assumed: dict[str, Any] = Field(description="of the camera: given, estimated or assumed")
    notes: list[str] = Field(description="what was decided about the person, in words")
    warnings: list[str]
    quality: dict[str, Any] = Field(description="what can be said without knowing the truth")
    files: dict[str, str] = Field(description="by their kind: base64 of what `predict` writes")


class ModelInfo(BaseModel):
    """Which model answers, and what it takes."""

    checkpoint: str
    manifest: dict[str, Any] = Field(description="written with the checkpoint: code, data, metrics")
    feature_dim: int = Field(description="with key-points behind, if the model looks at those")
    takes_keypoints: bool = Field(description="whether /v1/keypoints answers")
    window_length: int = Field(description="frames of a window in training")
    num_verts: int
    max_frames: int = MAX_FRAMES
    max_mesh_frames: int = MAX_MESH_FRAMES
    max_body_bytes: int
    max_list_numbers: int = Field(description="as nested lists; packed features have no such limit")


class Problem(BaseModel):
    """Every error's body."""

    detail: str
