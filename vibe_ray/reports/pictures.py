"""What does a predicted motion look like beside the true one? Strips of frames, drawn as meshes.

Meshes are drawn by `rendering/`, what is written and drawn over them by matplotlib's Agg: no
graphics card and no display is needed. Bodies are in camera axes (x right, y down, z forward) and
centered on their pelvis, since where a body stands is not predicted.

Shapes: S frames of the strip, V vertices, J SMPL joints 24, K key-points 49, M triangles.
"""

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from numpy.typing import NDArray

from vibe_ray.body.mesh import BodyModel
from vibe_ray.body.params import SmplParams
from vibe_ray.body.skeletons import KEYPOINTS, SMPL_PARENTS, indices
from vibe_ray.geometry.arrays import Array
from vibe_ray.rendering.scene import Mesh, Orthographic, render
from vibe_ray.reports.figures import FAINT, GRID, INK

View = Literal["front", "side"]

DPI = 160
PIXELS_PER_METER = 168
SAMPLES = 3
"""Points across a pixel at which meshes are looked at, for smooth edges."""
MARGIN = 0.07
"""Meters left free around a body, or key-points."""
LABEL_WIDTH = 0.28
"""Meters left of the first column, for the rows' names (upright)."""
HEADER_HEIGHT = 0.2
CAPTION_HEIGHT = 0.16
INPUT_SIZE = 1.5
"""Meters that the crop takes up in a row of key-points, with a margin on either side."""

_LIMBS = [
    indices(limb, KEYPOINTS)
    for limb in (
        *(("rankle", "rknee"), ("rknee", "rhip"), ("lankle", "lknee"), ("lknee", "lhip")),
        *(("rhip", "lhip"), ("rhip", "rshoulder"), ("lhip", "lshoulder")),
        *(("rshoulder", "lshoulder"), ("rshoulder", "relbow"), ("relbow", "rwrist")),
        *(("lshoulder", "lelbow"), ("lelbow", "lwrist")),
        *(("nose", "reye"), ("nose", "leye"), ("reye", "rear"), ("leye", "lear")),
    )
]
_BONES = [(parent, joint) for joint, parent in enumerate(SMPL_PARENTS) if parent >= 0]


@dataclass(frozen=True)
class BodyRow:
    """One method's bodies in the frames of a strip."""

    label: str
    color: str
    verts: Array
    """(S, V, 3) meters, camera axes, centered on the pelvis."""
    joints: Array
    """(S, 24, 3), likewise."""
    captions: tuple[str, ...] = ()
    """A word under each frame, as its error; none if empty."""


@dataclass(frozen=True)
class KeypointRow:
    """What the frame encoder was given: 2D key-points in the crop."""

    label: str
    kp_2d: Array
    """(S, 49, 2) in [-1, 1], y down."""
    kp_2d_conf: Array
    """(S, 49)."""


@torch.no_grad()
def body_row(
    body: BodyModel, params: SmplParams, label: str, color: str, captions: Sequence[str] = ()
) -> BodyRow:
    """Pose the bodies of a strip.

    Args:
        body: The mesh model, on the parameters' device.
        params: Leading (S,): the frames to draw, few.
        label: The method's name.
        color: Of its meshes.
        captions: S words, or none.
    """
    mesh = body(params.betas, params.rotmat)
    pelvis = mesh.joints[:, :1]
    verts, joints = (mesh.verts - pelvis).cpu().numpy(), (mesh.joints - pelvis).cpu().numpy()
    return BodyRow(label, color, verts, joints, tuple(captions))


def spread_frames(num_frames: int, count: int) -> list[int]:
    """Choose `count` frames, or all if there are fewer, evenly from the first to the last.

    Of other things that stand in a row likewise, such as recordings.
    """
    positions = np.linspace(0, num_frames - 1, min(count, num_frames))
    return [int(position) for position in positions.round()]


def mesh_strip(
    rows: Sequence[BodyRow],
    faces: NDArray[np.integer],
    times: Sequence[float],
    view: View = "front",
    inputs: KeypointRow | None = None,
) -> bytes:
    """Draw methods as rows and frames as columns, the first row's skeleton over all the others.

    Args:
        rows: The truth first, then predictions.
        faces: (M, 3) vertex numbers of the triangles, counter-clockwise from outside.
        times: S seconds, printed above the columns.
        view: From the camera (`front`), or a quarter turn about the vertical away (`side`).
        inputs: A row of 2D key-points to draw first.

    Returns:
        A PNG.
    """
    turned = [_turned(row.verts, view) for row in rows]
    truth = _turned(rows[0].joints, view)
    canvas = _Canvas(turned, num_columns=len(times), has_inputs=inputs is not None)
    canvas.add_times(times)
    if inputs is not None:
        canvas.add_label(inputs.label, INK, INPUT_SIZE)
        for column in range(len(times)):
            _draw_keypoints(canvas, column, inputs.kp_2d[column], inputs.kp_2d_conf[column])
        canvas.next_row(INPUT_SIZE)
    for row, verts in zip(rows, turned, strict=True):
        canvas.add_label(row.label, row.color, canvas.body_height)
        canvas.add_bodies(verts, faces, row.color)
        for column in range(len(times)):
            if row is not rows[0]:
                _draw_skeleton(canvas.axes, truth[column] + canvas.pelvis(column))
            if row.captions:
                canvas.add_caption(column, row.captions[column])
        canvas.next_row(canvas.body_height + CAPTION_HEIGHT)
    return canvas.png()


class _Canvas:
    """One axes in meters, y down, filled row by row."""

    def __init__(self, verts: Sequence[Array], num_columns: int, has_inputs: bool) -> None:
        points = np.concatenate([v.reshape(-1, 3) for v in verts])
        self.half_width = float(np.abs(points[:, 0]).max()) + MARGIN
        if has_inputs:
            self.half_width = max(self.half_width, INPUT_SIZE / 2)
        self.top = float(points[:, 1].min()) - MARGIN
        self.body_height = float(points[:, 1].max()) + MARGIN - self.top
        width = LABEL_WIDTH + num_columns * 2 * self.half_width
        height = HEADER_HEIGHT + len(verts) * (self.body_height + CAPTION_HEIGHT)
        height += INPUT_SIZE * has_inputs
        self.size = _pixels(height), _pixels(width)
        height, width = (pixels / PIXELS_PER_METER for pixels in self.size)
        inches = (self.size[1] / DPI, self.size[0] / DPI)
        self.figure = Figure(figsize=inches, dpi=DPI, facecolor="white")
        self.axes = self.figure.add_axes((0, 0, 1, 1))
        self.axes.set(xlim=(0, width), ylim=(height, 0))
        self.axes.axis("off")
        self.y = HEADER_HEIGHT

    def x(self, column: int) -> float:
        """Middle of a column."""
        return LABEL_WIDTH + (2 * column + 1) * self.half_width

    def pelvis(self, column: int) -> Array:
        """Where the pelvis of a body in this row stands (3,)."""
        return np.array([self.x(column), self.y - self.top, 0], dtype=np.float32)

    def next_row(self, height: float) -> None:
        """Go on below a row of that height."""
        self.y += height
        self.axes.axhline(self.y, color=GRID, linewidth=0.8)

    def add_bodies(self, verts: Array, faces: NDArray[np.integer], color: str) -> None:
        """Draw the bodies (S, V, 3) of this row, one in each column."""
        bodies = [
            Mesh(body + self.pelvis(column), faces, to_rgb(color))
            for column, body in enumerate(verts)
        ]
        top, height = int(self.y * PIXELS_PER_METER), _pixels(self.body_height) + 1
        camera = Orthographic(PIXELS_PER_METER, (0, -top))
        drawn = render(bodies, camera, height, self.size[1], SAMPLES)
        self.figure.figimage(drawn, 0, self.size[0] - top - height, zorder=-1)

    def add_times(self, times: Sequence[float]) -> None:
        for column, time in enumerate(times):
            self._text(self.x(column), HEADER_HEIGHT / 2, f"{time:.2f} s", FAINT)

    def add_label(self, label: str, color: str, height: float) -> None:
        self._text(LABEL_WIDTH / 2, self.y + height / 2, label, color, rotation=90, weight="bold")

    def add_caption(self, column: int, caption: str) -> None:
        self._text(self.x(column), self.y + self.body_height + CAPTION_HEIGHT / 3, caption, INK)

    def png(self) -> bytes:
        buffer = io.BytesIO()
        self.figure.savefig(buffer, format="png", metadata={"Software": None})
        return buffer.getvalue()

    def _text(self, x: float, y: float, text: str, color: str, **style: Any) -> None:
        self.axes.text(x, y, text, color=color, ha="center", va="center", fontsize=9, **style)


def _pixels(meters: float) -> int:
    return math.ceil(meters * PIXELS_PER_METER)


def _turned(points: Array, view: View) -> Array:
    """Points (..., 3) as a camera in that place sees them: right, down, away."""
    if view == "front":
        return points
    # From the right of the picture: what was far is now on the right.
    return np.stack([points[..., 2], points[..., 1], -points[..., 0]], axis=-1)


def _draw_skeleton(axes: Axes, joints: Array) -> None:
    """Draw bones between joints (24, 3), dark with a light rim so that they show on any mesh."""
    bones = [joints[list(bone), :2] for bone in _BONES]
    axes.add_collection(LineCollection(bones, colors="white", linewidths=2.6, capstyle="round"))
    axes.add_collection(LineCollection(bones, colors=INK, linewidths=1.1, capstyle="round"))


def _draw_keypoints(canvas: _Canvas, column: int, kp_2d: Array, conf: Array) -> None:
    """Draw the key-points that were seen (49, 2), paler the less sure they are.

    Those of a person who reaches beyond the crop are drawn smaller, so that all are in their cell.
    """
    limbs = [limb for limb in _LIMBS if conf[limb].min() > 0]
    used = sorted({joint for limb in limbs for joint in limb})
    scale = (INPUT_SIZE / 2 - MARGIN) / np.abs(kp_2d[used]).max(initial=1.0)
    points = np.array([canvas.x(column), canvas.y + INPUT_SIZE / 2]) + scale * kp_2d
    shade = [(*to_rgb(INK), float(conf[limb].min().clip(0.15, 1))) for limb in limbs]
    canvas.axes.add_collection(
        LineCollection([points[limb] for limb in limbs], colors=shade, linewidths=1.4)
    )
    dots = [(*to_rgb(INK), float(c)) for c in conf[used].clip(0.15, 1)]
    canvas.axes.scatter(points[used, 0], points[used, 1], s=5, color=dots)
