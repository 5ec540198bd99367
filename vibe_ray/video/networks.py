"""Which networks find people, and look at each of them closely?

Shapes: B crops, S x S pixels, D key-points.
"""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from vibe_ray.video.movenet import MultiPose, load_multipose, load_singlepose
from vibe_ray.video.rtmpose import RtmPose


class CloseNetwork(Protocol):
    """Finds the key-points of the person in the middle of a crop."""

    @property
    def names(self) -> tuple[str, ...]:
        """Of the D key-points."""

    @property
    def size(self) -> int:
        """Side S of a crop, pixels."""

    def __call__(self, crops: Tensor, /) -> tuple[Tensor, Tensor]:
        """Return pixels (B, D, 2) and confidences (B, D) of RGB crops (B, S, S, 3), 0 to 255."""


@dataclass(frozen=True)
class Networks:
    """Who finds people, and who looks at each of them closely, on one device."""

    multipose: MultiPose
    close: CloseNetwork
    device: torch.device

    @classmethod
    def load(cls, device: str | torch.device = "cpu", rtmpose: str = "") -> "Networks":
        """Load MoveNet's packaged weights, and perhaps another network for the close looks.

        Args:
            device: Where they compute.
            rtmpose: As `DetectionConfig.rtmpose`.

        Raises:
            FileNotFoundError: There is no such file.
            ValueError: It is no network of RTMPose's, or rtmlib is not installed.
        """
        close = RtmPose(rtmpose, device) if rtmpose else load_singlepose(device)
        return cls(load_multipose(device), close, torch.device(device))
