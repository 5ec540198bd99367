"""Where does a point of the body appear in the image?

Camera space: x right, y down, z forward, meters. A person's `cam` is the weak-perspective camera
(s, tx, ty) of the square crop around them; crop coordinates run from -1 to 1 over that square.
A `box` is the square that was really cut out, margin included: center x, center y, side, in pixels
of the full image. (VIBE's demo leaves the margin out here, so its meshes come out 9 % too small.)

Shapes: any leading dimensions (...), K points.
"""

import torch
from torch import Tensor

FOCAL_LENGTH = 5000.0
"""Focal length of the crop's camera in pixels: so long that it is nearly orthographic."""
CROP_SIZE = 224
"""Side of the crop that the frame encoder sees, in pixels."""


def weak_perspective_translation(cam: Tensor) -> Tensor:
    """Turn cam (..., 3) into the body's translation (..., 3) in meters before the crop's camera."""
    scale, x, y = cam.unbind(-1)
    depth = 2 * FOCAL_LENGTH / (CROP_SIZE * scale + 1e-9)
    return torch.stack([x, y, depth], dim=-1)


def project_weak_perspective(points: Tensor, cam: Tensor) -> Tensor:
    """Project points (..., K, 3), meters in camera axes, into the crop: (..., K, 2) in [-1, 1].

    VIBE Sec. 3.1 calls this orthographic; its code, and this, is a perspective of long focal
    length whose depth is read off the scale. A negative scale mirrors the points.
    """
    moved = points + weak_perspective_translation(cam).unsqueeze(-2)
    return moved[..., :2] / moved[..., 2:] * (FOCAL_LENGTH / (CROP_SIZE / 2))


def project_perspective(points: Tensor, focal: Tensor | float, principal: Tensor) -> Tensor:
    """Project points (..., K, 3) in camera space through a pinhole: (..., K, 2) in pixels.

    Args:
        points: Meters; z is the depth and must not be zero.
        focal: Focal length in pixels, one number or (...).
        principal: The principal point (..., 2) in pixels.
    """
    focal = torch.as_tensor(focal, dtype=points.dtype, device=points.device)
    image_plane = points[..., :2] / points[..., 2:]
    return image_plane * focal[..., None, None] + principal.unsqueeze(-2)


def pixels_to_crop(kp: Tensor, box: Tensor) -> Tensor:
    """Turn pixels (..., K, 2) of the image into coordinates in [-1, 1] of the box (..., 3)."""
    center, side = box[..., None, :2], box[..., None, 2:]
    return 2 * (kp - center) / side


def crop_camera_to_translation(cam: Tensor, box: Tensor, focal: float, principal: Tensor) -> Tensor:
    """Turn a crop's cam (..., 3) into a translation (..., 3) before the whole image's camera.

    The depth is the one at which a body as large as the crop shows it stands; exact for a body that
    is shallow against its distance.

    Args:
        cam: s, tx, ty.
        box: The crop (..., 3).
        focal: Of the camera, in pixels.
        principal: The principal point (2,) in pixels.
    """
    scale, x, y = cam.unbind(-1)
    center, side = box[..., :2], box[..., 2]
    depth = 2 * focal / (scale * side + 1e-9)
    shift = (center - principal) * (depth / focal)[..., None]
    return torch.stack([x + shift[..., 0], y + shift[..., 1], depth], dim=-1)


def locate(
    points: Tensor, kp: Tensor, weights: Tensor, focal: float, principal: Tensor, rounds: int = 3
) -> Tensor:
    """Find where a body must stand for its points to appear where they were seen, in closed form.

    Of a point (X, Y, Z) moved by t, f (X + tx) = u (Z + tz) and likewise for Y: linear in t. What
    does not fit is believed less in each further round (Cauchy's weights), so that a single wrong
    key-point does not move the body.

    Args:
        points: Of the body (..., K, 3), meters, camera axes.
        kp: Where they were seen (..., K, 2), pixels.
        weights: How much each counts (..., K); 0 for what was not seen.
        focal: Of the camera, in pixels.
        principal: The principal point (2,) in pixels.
        rounds: Of believing less what does not fit.

    Returns:
        The translation (..., 3) in meters; NaN where fewer than two points count, or where they put
        the body behind the camera.
    """
    rays = ((kp - principal) / focal).double()
    points, weights = points.double(), weights.double()
    seen = weights > 0
    rays = torch.where(seen[..., None], rays, 0.0)
    zeros, ones = torch.zeros_like(weights), torch.ones_like(weights)
    rows = torch.stack(
        [
            torch.stack([ones, zeros, -rays[..., 0]], dim=-1),
            torch.stack([zeros, ones, -rays[..., 1]], dim=-1),
        ],
        dim=-2,
    )  # (..., K, 2, 3)
    wanted = rays * points[..., 2:] - points[..., :2]  # (..., K, 2)
    belief = weights
    translation = points.new_zeros(*points.shape[:-2], 3)
    for _ in range(rounds):
        weighted = rows * belief[..., None, None]
        normal = torch.einsum("...kai,...kaj->...ij", weighted, rows)
        right = torch.einsum("...kai,...ka->...i", weighted, wanted)
        translation = torch.linalg.solve_ex(normal, right[..., None]).result[..., 0]
        missed = ((rows @ translation[..., None, :, None])[..., 0] - wanted).square().sum(-1)
        total = belief.sum(-1, keepdim=True).clamp(min=1e-12)
        spread = (belief * missed).sum(-1, keepdim=True) / total + 1e-12
        belief = weights / (1 + missed / spread)
    good = (seen.sum(-1) >= 2) & (translation[..., 2] > 0) & translation.isfinite().all(-1)
    return torch.where(good[..., None], translation, torch.nan).float()
