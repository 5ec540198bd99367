"""A person whose every number is known, before a camera: as key-points, and as pixels."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch

from vibe_ray.body.joints import BodyJoints
from vibe_ray.body.mesh import BodyModel
from vibe_ray.body.model import BodyArrays, BodyConfig, load_body
from vibe_ray.body.params import pose_to_rotmat
from vibe_ray.body.skeletons import COCO_17, KEYPOINTS, indices
from vibe_ray.data.boxes import track_boxes
from vibe_ray.data.sources.open_motion import load_open_motion
from vibe_ray.geometry.arrays import Array
from vibe_ray.rendering.scene import Mesh, Perspective, paint_over, render
from vibe_ray.video.frames import Focal, VideoFacts
from vibe_ray.video.people import Track

WIDTH, HEIGHT, FOCAL, FPS = 480, 400, 500.0, 25.0
DOWN = np.diag([1.0, -1.0, -1.0])
"""From a world whose y is up to the axes of a camera that looks along -z."""


@dataclass(frozen=True)
class Filmed:
    rotmat: Array
    """(N, 24, 3, 3), the root's in camera axes."""
    betas: Array
    transl: Array
    """(N, 3): the posed mesh moved by it stands before the camera."""
    kp_2d: Array
    """COCO's 17 (N, 17, 2), pixels, where a detector that is never wrong sees them."""
    kp_3d: Array
    """Where it sees them before the camera (N, 17, 3), meters."""
    fps: float = FPS

    @property
    def track(self) -> Track:
        N = len(self.rotmat)
        conf = np.full((N, 17), 0.9, np.float32)
        kp_2d = self.kp_2d.astype(np.float32)
        return Track(
            person=0,
            names=COCO_17,
            frames=np.arange(N),
            times_s=np.arange(N) / self.fps,
            boxes=track_boxes(torch.from_numpy(kp_2d), torch.from_numpy(conf)).numpy(),
            kp_2d=kp_2d,
            kp_2d_conf=conf,
            filled=np.zeros(N, bool),
        )

    @property
    def facts(self) -> VideoFacts:
        return VideoFacts(
            path="made/up.mp4", width=WIDTH, height=HEIGHT, fps=self.fps,
            num_frames=len(self.rotmat), duration_s=len(self.rotmat) / self.fps, codec="none",
            focal=Focal(pixels=FOCAL, source="given in pixels"),
        )  # fmt: skip


@cache
def body() -> BodyArrays:
    return load_body(BodyConfig())


@cache
def walk(num_frames: int = 24, start: int = 0) -> Filmed:
    """A clip of the open motion, seen from 4 meters before the person."""
    clip = next(c for c in load_open_motion() if c.num_frames >= 4 * (start + num_frames))
    clip = clip.resampled(FPS)
    rows = slice(start, start + num_frames)
    rotmat = pose_to_rotmat(torch.tensor(clip.pose[rows], dtype=torch.float32)).numpy()
    rotmat[:, 0] = DOWN @ rotmat[:, 0]
    moved = clip.trans[rows] - clip.trans[start]
    transl = (moved @ DOWN + [0.1, 0.2, 4.0]).astype(np.float32)
    betas = np.array([0.8, -0.5, 0.3, 0, 0, 0, 0, 0, 0, 0], np.float32)
    return film(rotmat, betas, transl)


def film(rotmat: Array, betas: Array, transl: Array, fps: float = FPS) -> Filmed:
    """Put a body that moves in camera axes before the camera; arrays as of `Filmed`."""
    known = torch.from_numpy(betas).expand(len(rotmat), -1), torch.from_numpy(rotmat)
    rows = indices(COCO_17, KEYPOINTS)
    points = BodyJoints.keypoints(body(), which=rows, as_detected=True)(*known).numpy()
    kp_3d = points + transl[:, None]
    kp_2d = kp_3d[..., :2] / kp_3d[..., 2:] * FOCAL + [WIDTH / 2, HEIGHT / 2]
    return Filmed(rotmat, betas, transl, kp_2d, kp_3d, fps)


def pixels(filmed: Filmed) -> list[Array]:
    """Render the clip before a wall of noise: RGB frames (H, W, 3)."""
    generator = np.random.default_rng(3)
    coarse = generator.integers(60, 200, (HEIGHT // 8, WIDTH // 8, 3), dtype=np.uint8)
    wall = coarse.repeat(8, axis=0).repeat(8, axis=1)
    model, camera = BodyModel(body()), Perspective(FOCAL, (WIDTH / 2, HEIGHT / 2))
    frames = []
    for rotmat, transl in zip(filmed.rotmat, filmed.transl, strict=True):
        posed = model(torch.from_numpy(filmed.betas)[None], torch.from_numpy(rotmat)[None])
        mesh = Mesh(posed.verts[0].numpy() + transl, body().faces, (0.85, 0.65, 0.55))
        frames.append(paint_over(wall, render([mesh], camera, HEIGHT, WIDTH, samples=2)))
    return frames


def write_keypoints(
    folder: Path, filmed: Filmed, kp_2d: Array | None = None, conf: Array | None = None
) -> Path:
    """Write key-points as OpenPose does: a file per frame, COCO's 17 with confidences.

    Args:
        folder: Is made.
        filmed: The clip, whose key-points are exact.
        kp_2d: Others (N, 17, 2) in their place.
        conf: Their confidences (N, 17).
    """
    import json

    folder.mkdir(parents=True, exist_ok=True)
    shown = filmed.kp_2d if kp_2d is None else kp_2d
    sure = np.full(shown.shape[:2], 0.9) if conf is None else conf
    for i, rows in enumerate(np.concatenate([shown, sure[..., None]], axis=-1)):
        person = {"pose_keypoints_2d": rows.round(3).ravel().tolist()}
        (folder / f"clip_{i:06d}_keypoints.json").write_text(json.dumps({"people": [person]}))
    return folder
