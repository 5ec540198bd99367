"""The way back from a crop, which the package never goes."""

from torch import Tensor


def crop_to_pixels(kp: Tensor, box: Tensor) -> Tensor:
    """Turn crop coordinates (..., K, 2) in [-1, 1] back into pixels of the image."""
    center, side = box[..., None, :2], box[..., None, 2:]
    return kp * side / 2 + center
