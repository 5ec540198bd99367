"""RTMPose for the close looks, for whoever has one of its networks: it finds feet, too.

The library `rtmlib` runs it, on onnxruntime: `pip install "vibe_ray[rtmpose]"`. No network comes
with either; OpenMMLab publishes them as `.onnx` files.

Shapes: B crops, S x S pixels, D key-points.
"""

import contextlib
import sys
from collections.abc import Sequence
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
"""By which rtmlib widens a box before it looks: here the crop is what shall be seen. It is a
square, since people lie and spread their arms, too; in the upright picture that the network takes,
an eighth above and below it stays black."""


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
            ValueError: rtmlib is not installed, the file holds another kind of network, or
                onnxruntime cannot use the device.
        """
        rtmlib = check_rtmpose(path)
        with storage.local_copy(path) as local, contextlib.redirect_stdout(sys.stderr):
            try:
                self._tool: Any = rtmlib.RTMPose(
                    str(local), backend="onnxruntime", device=str(device)
                )
            except Exception as error:  # onnxruntime's own kinds, which have no common name
                raise ValueError(f"detection.rtmpose: {path} cannot be loaded: {error}") from error
        session = self._tool.session
        wants_gpu = torch.device(device).type == "cuda"
        if wants_gpu and "CUDAExecutionProvider" not in session.get_providers():
            raise ValueError(
                "detection.rtmpose: this onnxruntime cannot use the GPU: install onnxruntime-gpu "
                "in its place, or predict on the CPU"
            )
        self.names = self._names(path, session.get_inputs()[0].shape)

    def _names(self, path: str, shape: Sequence[Any]) -> tuple[str, ...]:
        """Show the network a black picture of the shape it takes, and see what it answers.

        What a file says of its outputs is often but the name of a dimension.
        """
        found: list[tuple[int, ...]] = []
        if len(shape) == 4 and shape[1] == 3 and all(isinstance(size, int) for size in shape[2:]):
            height, width = shape[2:]
            self._tool.model_input_size = (width, height)
            black = np.zeros((height, width, 3), np.float32)
            try:
                found = [output.shape for output in self._tool.inference(black)]
            except Exception as error:  # such as a network that takes other numbers than float32
                raise ValueError(
                    f"detection.rtmpose: {path} cannot be computed: {error}"
                ) from error
            num_keypoints = found[0][1] if found and len(found[0]) == 3 else 0
            if found == [(1, num_keypoints, 2 * width), (1, num_keypoints, 2 * height)]:
                return _known(path, num_keypoints)
        raise ValueError(
            f"detection.rtmpose: {path} takes {list(shape)} and answers {found}; RTMPose takes a "
            "picture (B, 3, H, W) and answers (B, D, 2 W) and (B, D, 2 H)"
        )

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


def check_rtmpose(path: str) -> ModuleType:
    """Return rtmlib, and make sure that there is a file for it.

    Raises:
        FileNotFoundError: There is none.
        ValueError: rtmlib is not installed.
    """
    if not storage.exists(path):
        raise FileNotFoundError(
            f"detection.rtmpose: no network at {path}, expected an .onnx file of RTMPose's"
        )
    return _rtmlib()


def _known(path: str, num_keypoints: int) -> tuple[str, ...]:
    if num_keypoints not in ORDERS:
        raise ValueError(
            f"detection.rtmpose: {path} finds {num_keypoints} key-points, whose names are not "
            f"known; expected {', '.join(map(str, sorted(ORDERS)))}"
        )
    return ORDERS[num_keypoints]


def _rtmlib() -> ModuleType:
    try:
        import rtmlib  # an extra
    except ImportError as error:  # OpenCV, which it draws on, may lack a library of the system's
        raise ValueError(
            f"detection.rtmpose needs rtmlib, which cannot be imported ({error}): "
            "pip install 'vibe_ray[rtmpose]'"
        ) from error
    return rtmlib
