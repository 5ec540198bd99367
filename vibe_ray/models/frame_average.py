"""Residual without jitter: what is a feature, averaged over the frames around it?

Shapes: B windows, T frames, F features.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class FrameAverage(nn.Module):
    """Weighted average over neighboring frames, its weights learned feature by feature.

    Starts as a triangle that sums to one; at a window's ends the outermost frames are repeated.
    Stays in the features' precision under `torch.autocast`.
    """

    def __init__(self, feature_dim: int, num_frames: int) -> None:
        super().__init__()
        half = num_frames // 2
        triangle = 1.0 + half - torch.arange(-half, half + 1).abs()
        weight = (triangle / triangle.sum()).repeat(feature_dim, 1, 1)
        self.weight = nn.Parameter(weight)  # (F, 1, num_frames)

    def forward(self, features: Tensor) -> Tensor:
        """Average features (B, T, F) over time, same shape."""
        half = self.weight.shape[-1] // 2
        padded = F.pad(features.mT, (half, half), mode="replicate")  # (B, F, T + 2 half)
        with torch.autocast(features.device.type, enabled=False):
            return F.conv1d(padded, self.weight, groups=len(self.weight)).mT


def check_residual_frames(section: str, num_frames: int) -> None:
    """Raise ValueError unless an average over so many frames has a middle."""
    if num_frames < 1 or num_frames % 2 == 0:
        raise ValueError(f"{section}.residual_frames is {num_frames}, must be odd")
