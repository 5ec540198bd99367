"""Which networks find people, and look at each of them closely?

Shapes: B crops, S x S pixels, D key-points.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

import torch
from torch import Tensor, nn

from vibe_ray.video.cores import on_each_core
from vibe_ray.video.movenet import MultiPose, People, load_multipose, load_singlepose
from vibe_ray.video.rtmpose import RtmPose

T = TypeVar("T")


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

    def find(self, pictures: Sequence[Tensor]) -> list[People]:
        """Find the people in pictures (H, W, 3) of one size, some of them together."""
        return self._computed(self.multipose, pictures)

    def look(self, crops: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Find key-points (B, D, 2), in pixels, and confidences (B, D) in crops (S, S, 3)."""
        kp, conf = zip(*self._computed(self.close, crops), strict=True)
        return torch.cat(kp).cpu(), torch.cat(conf).cpu()

    def _computed(self, network: Callable[[Tensor], T], pictures: Sequence[Tensor]) -> list[T]:
        """Compute all pictures at once; but each by itself, in a core's own thread, on a CPU.

        Layers of many small maps do not fill two threads, and a batch's do not fit the caches.
        What is no module of PyTorch's has threads and a device of its own.
        """
        if not isinstance(network, nn.Module):
            return [network(torch.stack(list(pictures)))]
        if self.device.type != "cpu":
            return [network(torch.stack(list(pictures)).to(self.device))]
        return on_each_core(network, [picture[None] for picture in pictures])
