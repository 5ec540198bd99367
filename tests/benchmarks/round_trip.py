"""Filmed people are found again, and compared with what was filmed: how good is a prediction?

Bodies that move in a known way are rendered before a wall with a camera that stands still, and go
through the whole prediction. Three times: from the pixels, from exact key-points, and from
key-points that are as wrong as the detector's were measured to be: so what an error owes to the
detector is told from what it owes to the rest.

Shapes: N frames, J = 24 joints.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import roma
import torch

from tests.fitting.motions import FPS, before_camera, captured, skeleton, up_of
from tests.prediction.filmed import (
    FOCAL,
    HEIGHT,
    WIDTH,
    Filmed,
    body,
    film,
    pixels,
    write_keypoints,
)
from vibe_ray.body.joints import BodyJoints
from vibe_ray.body.skeletons import COCO_17
from vibe_ray.data.synthetic.detector import DETECTED, DetectorConfig, Projected, detect
from vibe_ray.evaluation.metrics import pa_mpjpe_mm
from vibe_ray.fitting.contacts import contact_points
from vibe_ray.fitting.motion import Motion
from vibe_ray.fitting.world import moved
from vibe_ray.geometry.arrays import Array
from vibe_ray.prediction.job import Tools, predict_people
from vibe_ray.prediction.person import Person
from vibe_ray.prediction.settings import PredictConfig
from vibe_ray.settings import override
from vibe_ray.video.reader import open_video

UP = up_of(8.0, 2.0)
"""The camera looks down by 8 degrees, and is rolled by 2."""
MIDDLE = torch.tensor([0.0, 0.1, 4.5], dtype=torch.float64)
"""Where the middle of the way is before the camera, meters."""
TOUCHING_M, STANDING_M_S = 0.03, 0.25
"""A point of the foot is truly on the floor while it is lower and slower."""
BETAS = torch.tensor([0.8, -0.5, 0.3, 0, 0, 0, 0, 0, 0, 0])
INPUTS = ("pixels", "exact key-points", "noisy key-points")


CLIPS: dict[str, Callable[[], Motion]] = {
    "walk": lambda: captured("01/01_03_part00", 0, 97),
    "turn in place": lambda: captured("01/01_01", 210, 300),
    "jumps": lambda: captured("01/01_01", 0, 120),
    "walking about": lambda: captured("01/01_03_part06", 0, 150),
}


@dataclass(frozen=True)
class Clip:
    """A motion of the world, y up, and what a camera saw of it."""

    world: Motion
    filmed: Filmed

    @classmethod
    def of(cls, motion: Motion) -> "Clip":
        """Film a motion."""
        motion = replace(motion, betas=BETAS)
        there = before_camera(motion, UP, torch.zeros(3, dtype=torch.float64))
        pelvis = skeleton().joints(there)[:, 0]
        middle = (pelvis.amax(dim=0) + pelvis.amin(dim=0)) / 2
        identity = torch.eye(3, dtype=torch.float64)
        seen = moved(there, identity, MIDDLE - middle, skeleton())
        arrays = (x.float().numpy() for x in (seen.rotmat, seen.betas, seen.transl))
        return cls(motion, film(*arrays, FPS))

    @property
    def contacts(self) -> Array:
        """Which of `contacts.CONTACTS` are on the floor (N, 4)."""
        points = contact_points(self.world, skeleton()).numpy()
        speed = np.gradient(points, self.world.times_s.numpy(), axis=0)
        floor = np.percentile(points[..., 1].min(axis=1), 5)
        is_slow = np.linalg.norm(speed, axis=-1) < STANDING_M_S
        return np.asarray((points[..., 1] - floor < TOUCHING_M) & is_slow)


def measure_clip(clip: Clip, folder: Path) -> dict[str, dict[str, float]]:
    """Predict a clip from each of `INPUTS`, and compare with the truth."""
    video = write_video(folder / "clip.mp4", clip.filmed)
    given = {
        "pixels": "",
        "exact key-points": str(write_keypoints(folder / "exact", clip.filmed)),
        "noisy key-points": str(write_keypoints(folder / "noisy", clip.filmed, *noisy(clip))),
    }
    return {name: _measured(clip, video, keypoints) for name, keypoints in given.items()}


def _measured(clip: Clip, video: Path, keypoints: str) -> dict[str, float]:
    config = override(PredictConfig(), {"keypoints": keypoints, "focal.focal_px": FOCAL})
    tools = Tools(config, "cpu")
    with open_video(str(video), focal=config.focal) as opened:
        made = predict_people(opened, tools)
    if not made.people:
        return {"coverage_percent": 0.0}
    person = max(made.people, key=lambda one: one.num_frames)
    return {"people": float(len(made.people)), **compare(person, clip)}


def compare(person: Person, clip: Clip) -> dict[str, float]:
    """How far a prediction is from the truth."""
    frames = person.track.frames
    seen = ~person.track.filled
    true = clip.filmed
    joints = BodyJoints.evaluation(body())
    betas = [torch.from_numpy(b).expand(len(frames), -1) for b in (person.betas, true.betas)]
    found = joints(betas[0], torch.from_numpy(person.rotmat))
    expected = joints(betas[1], torch.from_numpy(true.rotmat[frames]))
    numbers = {
        "coverage_percent": 100 * float(seen.sum()) / len(true.rotmat),
        "pa_mpjpe_mm": float(pa_mpjpe_mm(found, expected)[seen].mean()),
    }
    if person.world is not None:
        numbers |= _compare_world(person, clip)
    return numbers


def _compare_world(person: Person, clip: Clip) -> dict[str, float]:
    world, frames = person.world, person.track.frames
    assert world is not None
    up = world.camera_rotmat[:, 1]  # the world's y in camera axes
    times = clip.world.times_s[frames]
    motion = Motion(
        rotmat=torch.from_numpy(world.rotmat),
        transl=torch.from_numpy(world.transl),
        betas=torch.from_numpy(person.betas),
        times_s=times,
    )
    off = _path_error(motion, world.camera_rotmat, clip, frames)
    is_true, is_found = clip.contacts[frames], world.contacts
    both = float((is_true & is_found).sum())
    return {
        "path_m": _length(skeleton().joints(clip.world)[frames, 0].numpy()),
        "path_rms_cm": 100 * float(np.sqrt((off**2).sum(axis=1).mean())),
        "path_end_cm": 100 * float(np.linalg.norm(off[-1])),
        "up_deg": float(np.rad2deg(np.arccos(np.clip(up @ UP.numpy(), -1, 1)))),
        "slide_found_cm_s": person.quality["foot_slide_cm_s"] or 0.0,
        "slide_free_cm_s": person.quality["free_foot_slide_cm_s"] or 0.0,
        "slide_true_cm_s": _slide(motion, is_true),
        "contact_precision": both / max(float(is_found.sum()), 1.0),
        "contact_recall": both / max(float(is_true.sum()), 1.0),
    }


def _path_error(motion: Motion, camera: Array, clip: Clip, frames: Array) -> Array:
    """Where the pelvis is, less where it was (N, 3) meters, from one start and one heading.

    Both worlds have their own origin and heading; they are laid on each other by the first frame
    and by the direction in which the camera looks.
    """
    found = skeleton().joints(motion)[:, 0].numpy()
    true = skeleton().joints(clip.world)[frames, 0].numpy()
    angles = [np.arctan2(ahead[0], ahead[2]) for ahead in (camera[2], _true_camera()[2])]
    turn = angles[1] - angles[0]
    about = np.array([[np.cos(turn), 0, np.sin(turn)], [0, 1, 0], [-np.sin(turn), 0, np.cos(turn)]])
    return np.asarray((found - found[0]) @ about.T - (true - true[0]))


def _true_camera() -> Array:
    """From the world to the camera (3, 3), as `before_camera` has it."""
    y = torch.tensor([0.0, 1.0, 0.0], dtype=torch.float64)
    axis = torch.linalg.cross(y, UP)
    turn: Array = roma.rotvec_to_rotmat(axis / axis.norm() * (y @ UP).arccos()).numpy()
    return turn


def _slide(motion: Motion, contacts: Array) -> float:
    """Mean speed over the floor, in cm/s, of what truly stands in two frames in a row."""
    level = contact_points(motion, skeleton())[..., [0, 2]].numpy()
    speed = np.linalg.norm(np.diff(level, axis=0), axis=-1)
    speed /= np.diff(motion.times_s.numpy())[:, None]
    stays = contacts[1:] & contacts[:-1]
    return 100 * float(speed[stays].mean()) if stays.any() else float("nan")


def _length(points: Array) -> float:
    """Of a path (N, 3) over the floor, in meters."""
    return float(np.linalg.norm(np.diff(points[:, [0, 2]], axis=0), axis=1).sum())


def noisy(clip: Clip) -> tuple[Array, Array]:
    """Key-points (N, 17, 2) and confidences (N, 17) of the detector's model, one draw."""
    filmed = clip.filmed
    rows = [DETECTED.index(name) for name in COCO_17]
    N, D = len(filmed.kp_2d), len(DETECTED)
    kp, depth = torch.zeros(1, N, D, 2), torch.full((1, N, D), 1.0)
    kp[0, :, rows] = torch.from_numpy(filmed.kp_2d).float()
    depth[0, :, rows] = torch.from_numpy(filmed.kp_3d[..., 2]).float()
    rest = skeleton().rest(clip.world.betas).joints[:, 1]
    tall_m = 1.1 * float(rest.max() - rest.min())  # joints end below the skull and above the sole
    true = Projected(
        kp=kp,
        depth=depth,
        height_px=tall_m * FOCAL / torch.from_numpy(filmed.transl[None, :, 2]).float(),
        image_size=torch.tensor([[WIDTH, HEIGHT]]),
        fps=FPS,
    )
    found, conf = detect(true, DetectorConfig(feet_prob=0.0), torch.Generator().manual_seed(0))
    return found[0, :, rows].numpy(), conf[0, :, rows].numpy()


def write_video(path: Path, filmed: Filmed) -> Path:
    """Write the rendered clip as H.264 of high quality."""
    with av.open(str(path), "w") as output:
        stream: Any = output.add_stream("libx264", rate=Fraction(FPS), options={"crf": "16"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for picture in pixels(filmed):
            output.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        output.mux(stream.encode())
    return path
