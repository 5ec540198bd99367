"""Where is the virtual camera, and where does the person stand before it?

One camera per clip, slowly turning and zooming. The world is y up with the person on it; camera
axes are x right, y down, z forward. The root's path is followed in part, as an operator would, so
that long walks stay in the picture.

Shapes: C clips, N frames.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from vibe_ray.data.synthetic.draws import log_uniform, slow_wave, uniform

BODY_HEIGHT = 1.7
"""Meters; how large a person is in the image follows from this, the focal length and the depth."""


@dataclass(frozen=True, kw_only=True)
class CameraConfig:
    """Ranges from which each clip's camera is drawn."""

    pitch_deg: tuple[float, float] = (-10.0, 30.0)
    """Positive looks down on the person."""
    roll_deg: float = 6.0
    focal: tuple[float, float] = (0.8, 2.2)
    """In units of the image's longer side."""
    fill: tuple[float, float] = (0.2, 0.9)
    """Share of the image height that a standing person takes."""
    min_depth: float = 1.3
    """Meters."""
    pan_deg: float = 12.0
    """Largest amplitude of the camera's slow turning around the person."""
    zoom: float = 0.1
    """Largest relative amplitude of the slow change of focal length."""
    period_s: tuple[float, float] = (6.0, 30.0)
    max_excursion: float = 0.3
    """How far the root may wander from its mean place, in units of the view's half width."""


@dataclass(frozen=True)
class Cameras:
    """Cameras of a batch of clips, in pixels and meters."""

    rotation: Tensor
    """World to camera axes (C, N, 3, 3)."""
    root: Tensor
    """Where the pelvis is in camera axes (C, N, 3)."""
    focal: Tensor
    """(C, N)."""
    image_size: Tensor
    """Width and height (C, 2)."""

    @property
    def principal(self) -> Tensor:
        """Image center (C, 1, 2)."""
        return self.image_size[:, None] / 2

    @property
    def height_px(self) -> Tensor:
        """Height in pixels of a standing person at the root's depth (C, N)."""
        return self.focal * BODY_HEIGHT / self.root[..., 2]


IMAGE_SIZES = ((1280.0, 720.0), (720.0, 1280.0), (1024.0, 1024.0))


def draw_cameras(
    trans: Tensor, fps: float, config: CameraConfig, generator: torch.Generator
) -> Cameras:
    """Draw a camera for every clip.

    Args:
        trans: Root translation in the world (C, N, 3).
        fps: Frames per second.
        config: Ranges.
        generator: Source of randomness.
    """
    C, N, _ = trans.shape
    seconds = torch.arange(N) / fps
    choice = torch.randint(len(IMAGE_SIZES), (C,), generator=generator)
    size = torch.tensor(IMAGE_SIZES)[choice]
    zoom = uniform((C, 1), 0, config.zoom, generator) * slow_wave(
        C, seconds, config.period_s, generator
    )
    mean_focal = log_uniform((C, 1), *config.focal, generator) * size.amax(dim=1, keepdim=True)
    fill = log_uniform((C, 1), *config.fill, generator)
    depth = (mean_focal * BODY_HEIGHT / (fill * size[:, 1:])).clamp(min=config.min_depth)
    fill = mean_focal * BODY_HEIGHT / (depth * size[:, 1:])
    rotation = _rotation(C, seconds, config, generator)
    root = _place(size, mean_focal, depth, fill, generator)[:, None]
    wander = (rotation @ (trans - trans.mean(dim=1, keepdim=True))[..., None])[..., 0]
    view = depth * size.amin(dim=1, keepdim=True) / (2 * mean_focal)  # half width in meters
    reach = wander.norm(dim=-1).amax(dim=1, keepdim=True)
    limit = (config.max_excursion * view / reach.clamp(min=1e-6)).clamp(max=1.0)
    followed = uniform((C, 1), 0, 1, generator) * limit
    root = root + wander * followed[..., None]
    return Cameras(rotation, root, mean_focal * (1 + zoom), size)


def _place(
    size: Tensor, focal: Tensor, depth: Tensor, fill: Tensor, generator: torch.Generator
) -> Tensor:
    """Place the root (C, 3) off the image's centre, at times so far that limbs are cut off."""
    C = len(size)
    x = uniform((C, 1), -0.35, 0.35, generator) * size[:, :1]
    room = (1 - fill).clamp(min=0) / 2 + 0.08  # half of what the person leaves free, and a bit
    y = uniform((C, 1), -1, 1, generator) * room * size[:, 1:]
    return torch.cat([x / focal * depth, y / focal * depth, depth], dim=1)


def _rotation(
    num_clips: int, seconds: Tensor, config: CameraConfig, generator: torch.Generator
) -> Tensor:
    """World to camera axes (C, N, 3, 3): heading, half a turn about x, pitch, roll."""
    C = num_clips
    swing = uniform((C, 2, 1), 0, math.radians(config.pan_deg), generator)
    waves = [slow_wave(C, seconds, config.period_s, generator) for _ in range(2)]
    yaw = uniform((C, 1), -math.pi, math.pi, generator) + swing[:, 0] * waves[0]
    low, high = (math.radians(angle) for angle in config.pitch_deg)
    pitch = uniform((C, 1), low, high, generator) + 0.3 * swing[:, 1] * waves[1]
    roll_limit = math.radians(config.roll_deg)
    roll = uniform((C, 1), -roll_limit, roll_limit, generator).expand_as(pitch)
    half_turn = torch.diag(torch.tensor([1.0, -1.0, -1.0]))
    return _about(roll, 2) @ _about(pitch, 0) @ half_turn @ _about(yaw, 1)


def _about(angle: Tensor, axis: int) -> Tensor:
    """Rotation matrices (..., 3, 3) by `angle` (...) about a coordinate axis."""
    c, s = angle.cos(), angle.sin()
    i, j = (axis + 1) % 3, (axis + 2) % 3
    matrix = torch.zeros(*angle.shape, 3, 3)
    matrix[..., axis, axis] = 1.0
    matrix[..., i, i] = c
    matrix[..., j, j] = c
    matrix[..., i, j] = -s
    matrix[..., j, i] = s
    return matrix
