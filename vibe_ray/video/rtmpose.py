"""RTMPose for the close looks, for whoever has one of its networks: it finds feet, too.

The library `rtmlib` runs it, on onnxruntime: `pip install "vibe_ray[rtmpose]"`. No network comes
with either; OpenMMLab publishes them as `.onnx` files.

Shapes: B crops, S x S pixels, D key-points.
"""

import contextlib
import sys
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vibe_ray import storage
from vibe_ray.video.keypoint_files import ORDERS

CROP_SIZE = 384
"""S; no less than the longer side of what the published networks look at."""
PADDING = 1.25
"""By which rtmlib widens a box before it looks: here the crop is what shall be seen."""


class RtmPose:
    """The key-points of the person in the middle of a crop."""

    size = CROP_SIZE

    def __init__(self, path: str, device: str | torch.device = "cpu") -> None:
        """Load a network.

        Args:
            path: Of an `.onnx` file whose outputs are RTMPose's two (SimCC): one row for each
                key-point and direction, two numbers for each pixel of the input.
            device: On which onnxruntime shall run it.

        Raises:
            FileNotFoundError: There is no such file.
            ValueError: rtmlib is not installed, or the file holds another kind of network.
        """
        if not storage.exists(path):
            raise FileNotFoundError(
                f"detection.rtmpose: no network at {path}, expected an .onnx file of RTMPose's"
            )
        rtmlib = _rtmlib()
        with storage.local_copy(path) as local, contextlib.redirect_stdout(sys.stderr):
            try:
                self._tool: Any = rtmlib.RTMPose(
                    str(local), backend="onnxruntime", device=torch.device(device).type
                )
            except Exception as error:  # onnxruntime's own kinds, which have no common name
                raise ValueError(f"detection.rtmpose: {path} cannot be loaded: {error}") from error
        session = self._tool.session
        shapes = [value.shape for value in (*session.get_inputs(), *session.get_outputs())]
        if not _is_simcc(shapes):
            raise ValueError(
                f"detection.rtmpose: inputs and outputs of {path} are {shapes}; RTMPose has one "
                "picture (B, 3, H, W) and two outputs (B, D, 2 W) and (B, D, 2 H)"
            )
        num_keypoints, height, width = shapes[1][1], shapes[0][2], shapes[0][3]
        if num_keypoints not in ORDERS:
            raise ValueError(
                f"detection.rtmpose: {path} finds {num_keypoints} key-points, whose names are not "
                f"known; expected {', '.join(map(str, sorted(ORDERS)))}"
            )
        self.names = ORDERS[num_keypoints]
        self._tool.model_input_size = (width, height)

    def __call__(self, crops: Tensor) -> tuple[Tensor, Tensor]:
        """Find key-points in RGB crops (B, S, S, 3) from 0 to 255.

        RTMPose learned from RGB; rtmlib's own demonstrations hand it OpenCV's BGR (its issue 48).

        Returns:
            Pixels (x, y) of the crop (B, D, 2), and confidences (B, D).
        """
        side = crops.shape[1]
        edge = side * (1 - 1 / PADDING) / 2
        whole = [edge, edge, side - edge, side - edge]
        found = [self._tool(crop.numpy(), [whole]) for crop in crops.cpu()]
        kp, conf = (np.concatenate(values) for values in zip(*found, strict=True))
        kp, conf = kp[:, : len(self.names)], conf[:, : len(self.names)]
        return torch.from_numpy(kp).float(), torch.from_numpy(conf).float().clamp(0, 1)


def _is_simcc(shapes: list[list[Any]]) -> bool:
    if [len(shape) for shape in shapes] != [4, 3, 3]:
        return False
    (_, channels, height, width), (_, rows, across), (_, same_rows, down) = shapes
    sizes = (height, width, rows)
    return (
        all(isinstance(size, int) for size in sizes)
        and (channels, same_rows) == (3, rows)
        and (across, down) == (2 * width, 2 * height)
    )


def _rtmlib() -> ModuleType:
    try:
        import rtmlib  # an extra
    except ImportError as error:  # OpenCV, which it draws on, may lack a library of the system's
        raise ValueError(
            f"detection.rtmpose needs rtmlib, which cannot be imported ({error}): "
            "pip install 'vibe_ray[rtmpose]'"
        ) from error
    return rtmlib
