"""Which square of the image belongs to a person whose key-points were detected?

The one rule for synthetic captures and for real video, so the encoder sees the same boxes in both.

Shapes: N frames, D detected key-points, `...` any leading dimensions.
"""

import torch
from torch import Tensor
from torch.nn.functional import avg_pool1d, pad

BOX_SCALE = 1.2
"""Side of the box over the longer side of the key-points' bounds; VIBE crops 3D data alike."""
MIN_CONFIDENCE = 0.2
"""Key-points below this do not shape the box."""
MIN_KEYPOINTS = 3
MIN_SIZE = 8.0
"""Pixels; a smaller box tells nothing about a pose."""
SMOOTHING_FRAMES = 5


def box_from_keypoints(kp: Tensor, conf: Tensor) -> Tensor:
    """Return the square box (..., 3) = (cx, cy, size) in pixels, all zero where too little is seen.

    Args:
        kp: Pixels (..., D, 2); where the confidence is 0 the value does not matter.
        conf: (..., D).
    """
    seen = (conf >= MIN_CONFIDENCE)[..., None]
    low = torch.where(seen, kp, torch.inf).amin(dim=-2)
    high = torch.where(seen, kp, -torch.inf).amax(dim=-2)
    size = BOX_SCALE * (high - low).amax(dim=-1, keepdim=True)
    good = (seen.sum(dim=-2) >= MIN_KEYPOINTS) & (size >= MIN_SIZE)
    return torch.where(good, torch.cat([(low + high) / 2, size], dim=-1), 0.0)


def track_boxes(kp: Tensor, conf: Tensor) -> Tensor:
    """Return a track's boxes (..., N, 3): per frame, gaps filled, smoothed over time.

    A gap takes the last box before it, or the first after it; a track without any box stays zero.

    Args:
        kp: Pixels (..., N, D, 2) of consecutive frames.
        conf: (..., N, D).
    """
    box = box_from_keypoints(kp, conf)
    if box.shape[-2] == 1:
        return box
    good = box[..., 2] > 0
    frames = torch.arange(box.shape[-2], device=box.device).expand_as(good)
    last = torch.where(good, frames, 0).cummax(dim=-1).values
    first = good.int().argmax(dim=-1, keepdim=True)
    box = box.gather(-2, torch.maximum(last, first)[..., None].expand_as(box))
    half = SMOOTHING_FRAMES // 2
    flat = box.reshape(-1, *box.shape[-2:]).mT  # (tracks, 3, N)
    return avg_pool1d(pad(flat, (half, half), mode="replicate"), SMOOTHING_FRAMES, 1).mT.reshape(
        box.shape
    )
