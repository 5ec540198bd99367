"""What does a camera see of a moving person, and what does a detector make of it?

`capture` turns motion and shapes into truth (pose in camera axes, 49 key-points in 3D and 2D) and
into a detector's view of it, batched over clips and frames. A pure function of its generator.

Shapes: C clips, N frames, D detected key-points, K = 49, J = 24.
"""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from vibe_ray.body.joints import BodyJoints
from vibe_ray.body.model import BodyArrays
from vibe_ray.body.skeletons import KEYPOINTS, NUM_BETAS, indices
from vibe_ray.data.boxes import track_boxes
from vibe_ray.data.synthetic.detector import DETECTED_AMONG_49, DetectorConfig, Projected, detect
from vibe_ray.data.synthetic.draws import normal
from vibe_ray.data.synthetic.virtual_cameras import CameraConfig, Cameras, draw_cameras
from vibe_ray.geometry.arrays import Array
from vibe_ray.geometry.cameras import pixels_to_crop, project_perspective
from vibe_ray.geometry.rotations import rotmat_to_axis_angle

MAX_BETA = 2.5
USUAL_REACH = 1.5
"""Half boxes that key-points reach from the center when the whole person was detected."""


@dataclass(frozen=True, kw_only=True)
class CaptureConfig:
    """How clips are captured."""

    camera: CameraConfig = field(default_factory=CameraConfig)
    detector: DetectorConfig = field(default_factory=DetectorConfig)


@dataclass(frozen=True)
class CapturedBody:
    """A body's joints twice: where they are, and where the simulated detector aims."""

    keypoints: BodyJoints
    """The 49 key-points."""
    detected: BodyJoints
    """Those of them that a detector reports, in the order `detector.DETECTED`, where it sees them.
    """

    @classmethod
    def of(cls, arrays: BodyArrays) -> "CapturedBody":
        """Fold a body into its joints."""
        seen = BodyJoints.keypoints(arrays, which=DETECTED_AMONG_49, as_detected=True)
        return cls(BodyJoints.keypoints(arrays), seen)


@dataclass(frozen=True)
class CapturedClips:
    """A batch of captured clips of equal length: what was detected and what is true."""

    detected: Tensor
    """Pixels (C, N, D, 2) in the order `detector.DETECTED`; zero where missed."""
    detected_conf: Tensor
    """(C, N, D), zero where missed."""
    box: Tensor
    """(C, N, 3) from the detected key-points, pixels; size 0 if a clip shows nobody."""
    image_size: Tensor
    """Width and height (C, 2)."""
    camera: Tensor
    """The true pinhole (C, N, 4) = (fx, fy, cx, cy) in pixels."""
    kp_px: Tensor
    """True key-points (C, N, K, 2) in pixels."""
    kp_3d: Tensor
    """Body model's key-points in camera axes (C, N, K, 3), meters, without translation."""
    rotmat: Tensor
    """Pose in camera axes (C, N, J, 3, 3)."""
    betas: Tensor
    """(C, NUM_BETAS)."""

    def part(self, which: slice) -> "CapturedClips":
        """Return some of the clips."""
        return CapturedClips(**{name: values[which] for name, values in vars(self).items()})

    def to(self, device: torch.device) -> "CapturedClips":
        """Move to a device."""
        return CapturedClips(**{name: values.to(device) for name, values in vars(self).items()})

    @property
    def pose(self) -> Tensor:
        """Axis-angle pose in camera axes (C, N, 72)."""
        return rotmat_to_axis_angle(self.rotmat).flatten(-2)

    @property
    def kp_2d(self) -> Tensor:
        """True key-points (C, N, K, 2), the box being [-1, 1]; zero where there is none."""
        has_box = self.box[..., 2:] > 0
        safe = torch.where(has_box, self.box, 1.0)
        return torch.where(has_box[..., None], pixels_to_crop(self.kp_px, safe), 0.0)

    @property
    def kp_2d_conf(self) -> Tensor:
        """Weight of the true 2D key-points (C, N), 0 without a box.

        1, but where a cut-off person reaches far beyond its box, errors would be counted in tiny
        units: there the weight brings them back to about the person's own size.
        """
        reach = self.kp_2d.abs().amax(dim=(-2, -1)) / USUAL_REACH
        return self.has_box / reach.clamp(min=1.0).square()

    @property
    def has_box(self) -> Tensor:
        """Whether a frame has a box at all (C, N)."""
        return self.box[..., 2] > 0


def draw_betas(num: int, generator: torch.Generator) -> Tensor:
    """Draw body shapes (num, NUM_BETAS), standard normal and clipped."""
    return normal((num, NUM_BETAS), generator).clamp(-MAX_BETA, MAX_BETA)


@torch.no_grad()
def capture(
    rotmat: Tensor,
    trans: Tensor,
    fps: float,
    body: CapturedBody,
    config: CaptureConfig,
    generator: torch.Generator,
) -> CapturedClips:
    """Capture clips of motion with random people, cameras and detectors.

    Args:
        rotmat: World pose (C, N, J, 3, 3), y up.
        trans: Root translation (C, N, 3), meters.
        fps: Frames per second.
        body: Where its key-points are, and where the detector aims.
        config: Cameras and detector.
        generator: Source of all randomness.
    """
    C, N = rotmat.shape[:2]
    betas = draw_betas(C, generator)
    cameras = draw_cameras(trans, fps, config.camera, generator)
    rotmat = rotmat.clone()
    rotmat[:, :, 0] = cameras.rotation @ rotmat[:, :, 0]
    shape = betas[:, None].expand(C, N, -1)
    kp_3d = body.keypoints(shape, rotmat)
    place = cameras.root[:, :, None] - _pelvis(kp_3d)
    kp_px = project_perspective(kp_3d + place, cameras.focal, cameras.principal)
    if config.detector.own_joints:
        seen = body.detected(shape, rotmat) + place
    else:
        seen = kp_3d[..., DETECTED_AMONG_49, :] + place
    detected, conf = detect(_projected(seen, cameras, fps), config.detector, generator)
    box = track_boxes(detected, conf)
    return CapturedClips(
        detected=detected,
        detected_conf=conf,
        box=box,
        image_size=cameras.image_size,
        camera=_pinhole(cameras),
        kp_px=kp_px,
        kp_3d=kp_3d,
        rotmat=rotmat,
        betas=betas,
    )


def captured_arrays(clips: CapturedClips) -> dict[str, Array]:
    """Return captured windows (C, N, ...) by the columns of `reading.SHARE_SCHEMA`.

    All is known of them but their features, which are yet to be made of what was detected.
    """
    shown = clips.has_box  # (C, N)
    known = {
        "kp_2d": clips.kp_2d,
        "kp_2d_conf": clips.kp_2d_conf[..., None].expand(clips.kp_2d.shape[:-1]),
        "kp_3d": clips.kp_3d,
        "has_kp_3d": shown,
        "pose": clips.pose,
        "betas": clips.betas[:, None].expand(*shown.shape, -1),
        "has_smpl": shown,
        "detected": clips.detected,
        "detected_conf": clips.detected_conf,
        "box": clips.box,
        "image_size": clips.image_size[:, None].expand(*shown.shape, -1),
    }
    return {name: values.numpy() for name, values in known.items()}


def _projected(seen: Tensor, cameras: Cameras, fps: float) -> Projected:
    return Projected(
        kp=project_perspective(seen, cameras.focal, cameras.principal),
        depth=seen[..., 2],
        height_px=cameras.height_px,
        image_size=cameras.image_size,
        fps=fps,
    )


def _pelvis(kp_3d: Tensor) -> Tensor:
    """The root joint (C, N, 1, 3), which is what `Cameras.root` places."""
    (index,) = indices(("OP MidHip",), KEYPOINTS)
    return kp_3d[..., index : index + 1, :]


def _pinhole(cameras: Cameras) -> Tensor:
    """(C, N, 4) = (fx, fy, cx, cy)."""
    focal = cameras.focal[..., None].expand(-1, -1, 2)
    return torch.cat([focal, cameras.principal.expand_as(focal)], dim=-1)
