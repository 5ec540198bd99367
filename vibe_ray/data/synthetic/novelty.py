"""How rare is a pose among others? Poses far from all others are worth more of a training's time.

An hour of walking and dribbling crowds out what a person does once. The distance from a pose to its
nearest neighbors in a sample of all poses says how thinly the motion covers what is around it: a
k-nearest-neighbor estimate of the density, to a power.

Shapes: M poses, R of them in the sample, J = 24.
"""

import torch
from torch import Tensor

from vibe_ray.body.skeletons import SMPL_JOINTS, indices

NUM_NEIGHBORS = 4
SAMPLE = 1024
LIMITS = (0.25, 4.0)
"""Of a pose's weight over the median one: a glitch of the capture is the rarest pose of all."""
_CHUNK = 16384
_SAMPLE_SEED = 0
_HANDS = indices(("left_hand", "right_hand"), SMPL_JOINTS)
"""Noise in most recordings."""


def novelty_weights(rotmat: Tensor, power: float) -> Tensor:
    """Return how often each pose is to be drawn (M,), the median pose once.

    Args:
        rotmat: World poses (M, J, 3, 3), y up; the heading counts for nothing.
        power: Of the distance to the neighbors; 0 treats all poses alike.
    """
    if not power:
        return torch.ones(len(rotmat))
    generator = torch.Generator().manual_seed(_SAMPLE_SEED)
    sample = _described(rotmat[torch.randperm(len(rotmat), generator=generator)[:SAMPLE]])
    # One more than asked for: a pose of the sample is its own nearest neighbor.
    k = min(NUM_NEIGHBORS + 1, len(sample))
    distance = torch.cat(
        [
            torch.cdist(_described(part), sample).kthvalue(k, dim=1).values
            for part in rotmat.split(_CHUNK)
        ]
    )
    median = distance.median()
    if not median:  # as many poses as not are all the same one
        return torch.ones(len(rotmat))
    weights: Tensor = ((distance / median) ** power).clamp(*LIMITS)
    return weights


def _described(rotmat: Tensor) -> Tensor:
    """Numbers (M, F) whose distances are those of poses: each joint's turn, and which way is up."""
    up = rotmat[:, 0, 1]  # the world's y axis in the root's own axes
    joints = [j for j in range(1, rotmat.shape[1]) if j not in _HANDS]
    turns = rotmat[:, joints][..., :2].flatten(1)
    return torch.cat([up, turns], dim=1)
