"""How alike are two point sets once position, size and orientation are taken out?

Shapes: any leading dimensions (...), K points.
"""

import torch
from torch import Tensor


def procrustes_align(source: Tensor, target: Tensor) -> Tensor:
    """Move source (..., K, 3) onto target (..., K, 3) by the best similarity, set by set.

    The similarity (rotation, uniform scale, translation; no reflection) minimizes the sum of
    squared distances (Umeyama 1991). This is the alignment of PA-MPJPE.

    Returns:
        The aligned source (..., K, 3), in the target's units.
    """
    source_center = source.mean(dim=-2, keepdim=True)
    target_center = target.mean(dim=-2, keepdim=True)
    centered = source - source_center
    covariance = centered.mT @ (target - target_center)  # (..., 3, 3)
    U, S, Vh = torch.linalg.svd(covariance)
    # Flipping the weakest axis turns a best reflection into the best rotation.
    sign = torch.linalg.det(U @ Vh).sign()
    flip = torch.stack([torch.ones_like(sign), torch.ones_like(sign), sign], dim=-1)
    rotation = U * flip.unsqueeze(-2) @ Vh  # acts on row vectors
    variance = centered.square().sum(dim=(-2, -1))
    scale = (S * flip).sum(dim=-1) / variance.clamp_min(torch.finfo(source.dtype).tiny)
    return scale[..., None, None] * (centered @ rotation) + target_center
