"""How does a network see a sequence? In windows, or in one pass; each frame is estimated once.

However long the sequence, some frames of it are held at a time.

Shapes: N frames of one sequence, B windows, T frames of a window, F features.
"""

from collections.abc import Callable, Iterator
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from vibe_ray.body.params import SmplParams
from vibe_ray.models.pieces import Sliceable

Predict = Callable[[Tensor], SmplParams]
"""Features (B, T, F) -> parameters with leading (B, T); a `Generator` is one."""

BATCH_WINDOWS = 64
PIECE_FRAMES = 1024
"""Frames of a long sequence, taken in one pass, that a network holds at the same time."""


@runtime_checkable
class InPieces(Protocol):
    """A network that runs over a sequence in one pass without holding all of it."""

    def pieces(self, features: Sliceable, length: int) -> Iterator[SmplParams]:
        """Estimate a sequence (N, F), some frames at a time."""


def predict_sequence(
    predict: Predict,
    features: Sliceable,
    window_length: int,
    device: torch.device | str = "cpu",
    batch_windows: int = BATCH_WINDOWS,
) -> SmplParams:
    """Predict every frame of one person once: `predict_pieces`, put together.

    Returns:
        Parameters with leading (N,), on `device`.
    """
    pieces = predict_pieces(predict, features, window_length, device, batch_windows)
    return SmplParams.joined(pieces)


@torch.no_grad()
def predict_pieces(
    predict: Predict,
    features: Sliceable,
    window_length: int,
    device: torch.device | str = "cpu",
    batch_windows: int = BATCH_WINDOWS,
) -> Iterator[SmplParams]:
    """Predict every frame of one person once, some frames at a time and in their order.

    Windows of T frames do not overlap, except that the last one ends with the sequence and only its
    frames not yet covered are used. A sequence shorter than T is one short window.

    Args:
        predict: The network, in eval mode.
        features: (N, F) of any float type, on any device; N at least 1.
        window_length: T; N or more runs the whole sequence in one pass. A long one is not held in
            memory by a network that is `InPieces`.
        device: Where the network is.
        batch_windows: Windows per call.

    Returns:
        Parameters with leading (n,), on `device`.
    """
    num_frames = len(features)
    if window_length >= num_frames > PIECE_FRAMES and isinstance(predict, InPieces):
        yield from predict.pieces(features, PIECE_FRAMES)
        return
    length = min(window_length, num_frames)
    left = num_frames % length
    starts = torch.arange(0, num_frames - left, length)
    if left:
        starts = torch.cat([starts, torch.tensor([num_frames - length])])
    windows = starts[:, None] + torch.arange(length)  # (windows, T) frame numbers
    ends = torch.cat([torch.tensor([-1]), windows[:-1, -1]])
    is_new = (windows > ends[:, None]).to(device)  # all but the last window's beginning
    for batch, new in zip(windows.split(batch_windows), is_new.split(batch_windows), strict=True):
        params = predict(features[batch].to(device, torch.float32))
        yield SmplParams(params.rotmat[new], params.betas[new], params.cam[new])
