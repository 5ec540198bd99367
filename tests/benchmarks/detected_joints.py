"""`python -m tests.benchmarks.detected_joints`: where does a detector see the joints of the body?

The open body is rendered in poses of the open motion, in random shapes, colors and views, and
MoveNet looks at the pictures. Of the key-points of each kind one offset is sought, in the axes of
the bone that carries it: what it says of one half of the pictures is tried on the other. The
offsets are those of `vibe_ray.body.detected`.

Shapes: N pictures, J = 24, D = 17.
"""

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.progress import track as watched
from rich.table import Table

from vibe_ray.body.detected import OFFSETS
from vibe_ray.body.joints import BodyJoints
from vibe_ray.body.kinematics import KinematicChain
from vibe_ray.body.mesh import BodyModel
from vibe_ray.body.model import BodyConfig, load_body
from vibe_ray.body.skeletons import COCO_17, KEYPOINTS, SMPL_JOINTS, indices, mirrored_name
from vibe_ray.data.boxes import track_boxes
from vibe_ray.data.sources.open_motion import load_open_motion
from vibe_ray.data.synthetic.captures import draw_betas
from vibe_ray.data.synthetic.frames import NOT_AUGMENTED, FramePool
from vibe_ray.data.synthetic.virtual_cameras import CameraConfig, draw_cameras
from vibe_ray.geometry.arrays import Array
from vibe_ray.rendering.scene import Mesh, Perspective, paint_over, render
from vibe_ray.video.crops import cut, from_square, square_around
from vibe_ray.video.movenet import load_singlepose
from vibe_ray.video.movenet.network import SINGLEPOSE_SIZE

SIDE, PERSON, TILE = 400, 220, 16
"""Pixels: of a picture, of the person in it, and of the squares of the wall behind."""
MIN_CONF, FAR_M = 0.3, 0.25
"""Less sure, and farther off, it is a mistake and says nothing of where a joint is seen."""
ROBUST_M = 0.03


@dataclass(frozen=True)
class Looked:
    """What is known of the pictures, and what was seen in them."""

    rotations: Array
    """Global (N, J, 3, 3)."""
    points: Array
    """The 49 key-points before the camera (N, 49, 3), meters, where the body has them."""
    camera: Array
    """Focal length and principal point (N, 3), pixels."""
    kp_2d: Array
    """Where COCO's 17 were seen (N, D, 2), pixels."""
    conf: Array
    """(N, D)."""


@dataclass(frozen=True)
class Found:
    """An offset, and what it is worth on the half of the pictures that it was not found on."""

    name: str
    bone: str
    num: int
    offset_mm: tuple[float, float, float]
    halves_differ_mm: float
    before_mm: float
    after_mm: float
    """Medians of the distance across the line of sight."""


def main(argv: Sequence[str] | None = None) -> None:
    """Render, look, and print a table."""
    parser = argparse.ArgumentParser(prog="tests.benchmarks.detected_joints", description=__doc__)
    parser.add_argument("--num", type=int, default=1500, help="pictures: ten a second")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, default=Path("runs/bench/detected_joints.json"))
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    found = list(offsets(look(args.num, args.seed)))
    table = Table("key-point", "bone", "seen", "offset (mm)", "halves", "median before", "after")
    for row in found:
        offset = ", ".join(f"{value:.1f}" for value in row.offset_mm)
        distances = (f"{x:.1f}" for x in (row.halves_differ_mm, row.before_mm, row.after_mm))
        table.add_row(row.name, row.bone, str(row.num), offset, *distances)
    Console(width=120).print(table)
    args.json.parent.mkdir(parents=True, exist_ok=True)
    args.json.write_text(json.dumps([asdict(row) for row in found], indent=1) + "\n")


def look(num: int, seed: int) -> Looked:
    """Render pictures and look at them."""
    generator, rng = torch.Generator().manual_seed(seed), np.random.default_rng(seed)
    body = load_body(BodyConfig())
    rotmat = FramePool(list(load_open_motion()), 25.0).draw(num, NOT_AUGMENTED, generator)
    betas = draw_betas(num, generator)
    cameras = draw_cameras(torch.zeros(num, 1, 3), 25.0, CameraConfig(), generator)
    rotmat[:, 0] = cameras.rotation[:, 0] @ rotmat[:, 0]
    points = BodyJoints.keypoints(body)(betas, rotmat)
    place = cameras.root - points[:, KEYPOINTS.index("OP MidHip"), None]
    points = (points + place).numpy()
    rotations, _ = KinematicChain(*body.rest_joints(), torch.float32)(betas, rotmat)

    model, network = BodyModel(body), load_singlepose("cpu")
    rows = indices(COCO_17, KEYPOINTS)
    cameras_px, kp_2d, conf = np.zeros((num, 3)), np.zeros((num, 17, 2)), np.zeros((num, 17))
    for i in watched(range(num), "looking at bodies"):
        camera = _close_up(points[i, rows])
        verts = model(betas[i : i + 1], rotmat[i : i + 1]).verts[0].numpy() + place[i].numpy()
        mesh = Mesh(verts, body.faces, tuple(rng.uniform(0.35, 0.95, 3)))
        wall = rng.integers(40, 220, (SIDE // TILE, SIDE // TILE, 3), dtype=np.uint8)
        picture = paint_over(
            wall.repeat(TILE, axis=0).repeat(TILE, axis=1), render([mesh], camera, SIDE, SIDE)
        )
        true = torch.from_numpy(camera.project(points[i, rows])[None, :, :2]).float()
        box = track_boxes(true, torch.full((1, 17), 0.9))[0].numpy()
        square = square_around(box, 1.25)
        kp, sure = network(cut(picture, square, SINGLEPOSE_SIZE)[None])
        cameras_px[i], conf[i] = (camera.focal, *camera.center), sure[0].numpy()
        kp_2d[i] = from_square(kp[0].numpy(), square, SINGLEPOSE_SIZE)
    return Looked(rotations.numpy(), points, cameras_px, kp_2d, conf)


def _close_up(points: Array) -> Perspective:
    """A camera that shows points (D, 3) in the middle of the picture."""
    flat = points[:, :2] / points[:, 2:]
    low, high = flat.min(axis=0), flat.max(axis=0)
    focal = PERSON / float((high - low).max())
    x, y = SIDE / 2 - focal * (low + high) / 2
    return Perspective(focal, (float(x), float(y)))


def offsets(looked: Looked) -> Iterator[Found]:
    """Yield the offset of each kind of key-point, those of both sides together."""
    in_first_half = np.arange(len(looked.points)) < len(looked.points) // 2
    for name, known in OFFSETS.items():
        both = sorted({name, mirrored_name(name)})
        sides = [_equations(looked, side, known.bone) for side in both]
        turns, wanted = (np.concatenate(part) for part in zip(*(s[:2] for s in sides), strict=True))
        is_first = np.concatenate([in_first_half[seen] for *_, seen in sides])
        one, two = (_solved(turns[half], wanted[half]) for half in (is_first, ~is_first))
        x, y, z = (float(1000 * value) for value in _solved(turns, wanted))
        others, seen = turns[~is_first], wanted[~is_first]
        yield Found(
            name=name,
            bone=known.bone,
            num=len(wanted),
            offset_mm=(x, y, z),
            halves_differ_mm=1000 * float(np.abs(one - two).max()),
            before_mm=1000 * float(np.median(np.linalg.norm(seen, axis=1))),
            after_mm=1000 * float(np.median(np.linalg.norm(seen - others @ one, axis=1))),
        )


def _equations(looked: Looked, name: str, left_bone: str) -> tuple[Array, Array, Array]:
    """What an offset has to explain: (n, 2, 3) times it are (n, 2) meters, for pictures (n,)."""
    is_right = name not in OFFSETS
    bone = SMPL_JOINTS.index(mirrored_name(left_bone) if is_right else left_bone)
    column = COCO_17.index(name.removeprefix("OP ").lower())
    points, focal = looked.points[:, KEYPOINTS.index(name)], looked.camera[:, :1]
    depth = points[:, 2:]
    slope = points[:, :2] / depth
    wanted = ((looked.kp_2d[:, column] - looked.camera[:, 1:]) / focal - slope) * depth
    seen = (looked.conf[:, column] > MIN_CONF) & (np.linalg.norm(wanted, axis=1) < FAR_M)
    axes = looked.rotations[:, bone] * (np.array([-1, 1, 1]) if is_right else 1)  # mirrored
    turns = axes[:, :2] - slope[..., None] * axes[:, 2:]  # what comes nearer moves outward
    rows = np.flatnonzero(seen)
    return turns[rows], wanted[rows], rows


def _solved(turns: Array, wanted: Array) -> Array:
    """Return the offset (3,) in meters that explains most, mistakes counting for less."""
    weight = np.ones(len(wanted))
    for _ in range(20):
        left = (turns * weight[:, None, None]).reshape(-1, 3)
        offset = np.linalg.lstsq(left, (wanted * weight[:, None]).ravel(), rcond=None)[0]
        far = np.linalg.norm(wanted - turns @ offset, axis=1) / ROBUST_M
        weight = 1 / np.sqrt(1 + far**2)
    return np.asarray(offset)


if __name__ == "__main__":
    main()
