"""Rotations as VIBE's released code computes them, in plain PyTorch: part of the reference step.

Written from a description of what it computes, none of it copied.
"""

import torch
from torch import Tensor
from torch.nn import functional as F


def rot6d_to_rotmat(rot6d: Tensor) -> Tensor:
    columns = rot6d.reshape(-1, 3, 2)
    a, b = columns[:, :, 0], columns[:, :, 1]
    x = F.normalize(a, dim=1, eps=1e-6)
    y = F.normalize(b - torch.einsum("bi,bi->b", x, b).unsqueeze(-1) * x, dim=1, eps=1e-6)
    return torch.stack([x, y, torch.cross(x, y, dim=1)], dim=-1)


def rotmat_to_axis_angle(m: Tensor) -> Tensor:
    """By a quaternion, of four formulas the one that is far from a division by zero."""
    m00, m11, m22 = m[:, 0, 0], m[:, 1, 1], m[:, 2, 2]
    tops = [1 + m00 + m11 + m22, 1 + m00 - m11 - m22, 1 - m00 + m11 - m22, 1 - m00 - m11 + m22]
    x, y, z = m[:, 2, 1] - m[:, 1, 2], m[:, 0, 2] - m[:, 2, 0], m[:, 1, 0] - m[:, 0, 1]
    xy, xz, yz = m[:, 1, 0] + m[:, 0, 1], m[:, 0, 2] + m[:, 2, 0], m[:, 2, 1] + m[:, 1, 2]
    cases = [
        torch.stack(rows, -1)
        for rows in (
            [tops[0], x, y, z],
            [x, tops[1], xy, xz],
            [y, xy, tops[2], yz],
            [z, xz, yz, tops[3]],
        )
    ]
    low, more, less = m22 < 1e-6, m00 > m11, m00 < -m11
    masks = [~low & ~less, low & more, low & ~more, ~low & less]
    weights = [mask.view(-1, 1).type_as(m) for mask in masks]
    q = torch.stack([case * w for case, w in zip(cases, weights, strict=True)]).sum(0)
    top = torch.stack([t[:, None] * w for t, w in zip(tops, weights, strict=True)]).sum(0)
    q = q / torch.sqrt(top) * 0.5
    cos, vector = q[:, 0], q[:, 1:]
    squared = (vector * vector).sum(-1)
    sin = torch.sqrt(squared)
    angle = 2 * torch.where(cos < 0, torch.atan2(-sin, -cos), torch.atan2(sin, cos))
    factor = torch.where(squared > 0, angle / sin, 2 * torch.ones_like(sin))
    axis_angle = vector * factor.unsqueeze(-1)
    axis_angle[torch.isnan(axis_angle)] = 0.0
    return axis_angle


def axis_angle_to_rotmat(axis_angle: Tensor) -> Tensor:
    angle = torch.norm(axis_angle + 1e-8, p=2, dim=1).unsqueeze(-1)
    axis, half = axis_angle / angle, angle / 2
    q = torch.cat([torch.cos(half), torch.sin(half) * axis], dim=1)
    w, x, y, z = (q / q.norm(p=2, dim=1, keepdim=True)).unbind(1)
    rows = [
        *(w * w + x * x - y * y - z * z, 2 * x * y - 2 * w * z, 2 * w * y + 2 * x * z),
        *(2 * w * z + 2 * x * y, w * w - x * x + y * y - z * z, 2 * y * z - 2 * w * x),
        *(2 * x * z - 2 * w * y, 2 * w * x + 2 * y * z, w * w - x * x - y * y + z * z),
    ]
    return torch.stack(rows, dim=1).view(-1, 3, 3)
