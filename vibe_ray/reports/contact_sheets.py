"""What does a data set hold? A picture of it, by which a person sees what no check finds.

A sheet shows a window of some recordings, chosen evenly from the first to the last, and of each
window a few frames: the picture around the person's box, or a blank where there are no pictures,
with box and key-points drawn over it; below it the body of its SMPL parameters as seen from behind
the scene, where a body that is mirrored or turned in depth shows. Captured motion is shown from
ahead and from behind.

Shapes: S frames of a window, V vertices, M triangles, L key-points.
"""

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from vibe_ray import storage
from vibe_ray.body.mesh import BodyModel
from vibe_ray.body.model import BodyConfig, load_body
from vibe_ray.body.params import pose_to_rotmat
from vibe_ray.body.skeletons import COCO_17, COMMON_14, KEYPOINTS, OPENPOSE_25
from vibe_ray.data.labels import AnySequence, LabelledSequence
from vibe_ray.data.schema import MotionSequence, PoseSequence
from vibe_ray.data.sequences import (
    count_sequences,
    read_sequences,
)
from vibe_ray.data.shards import find_data_sets, read_manifest
from vibe_ray.geometry.arrays import Array
from vibe_ray.rendering.scene import Mesh, Orthographic, render
from vibe_ray.reports.figures import BASELINE_COLOR, FAINT, INK, VIBE_COLOR
from vibe_ray.reports.pictures import spread_frames

MAX_WINDOWS = 6
WINDOW_FRAMES = 16
NUM_COLUMNS = 6
TILE_INCHES, DPI = 1.45, 110
AROUND = 1.3
"""How much of a picture is shown, in sides of the box."""
TILE_PIXELS = 220
TILE_METERS = 2.6
"""Of a drawn body and around it: arms may be raised."""
BEHIND = np.diag([-1.0, 1.0, -1.0])
"""From a camera's axes to those of a camera that looks back at it."""
UPRIGHT = np.diag([1.0, -1.0, -1.0])
"""From a world with y up to a camera's axes."""
LEFT_COLOR, RIGHT_COLOR, MIDDLE_COLOR = VIBE_COLOR, BASELINE_COLOR, "#3aa655"
_LIMBS = (
    *(("ankle", "knee"), ("knee", "hip"), ("hip", "shoulder"), ("shoulder", "elbow")),
    ("elbow", "wrist"),
)


@dataclass(frozen=True)
class Row:
    """A window of a recording: what is drawn in each column."""

    title: str
    pictures: list[Array | None]
    """Of the whole frame (H, W, 3), where it could be read."""
    boxes: Array
    """(S, 3) center x, center y, size; of a pose shard the crop, [-1, 1]."""
    kp_2d: Array
    """(S, L, 2) in the same units."""
    conf: Array
    names: Sequence[str]
    bodies: list[list[Array]]
    """Of each view one list: (V, 3) of each frame, camera axes; no frame, no body."""


def write_sheets(path: str, out: str, raw: str | None = None) -> Iterator[str]:
    """Draw each data set at or below a path into a PNG of its own, and yield where that is.

    Sheets lie below `out` as data sets do below `path`; that of `path` itself is `sheet.png`.

    Args:
        path: A data set, or a folder of several; local or remote.
        out: Folder of the pictures, in which none of them may be yet.
        raw: Where videos and images are, if not where they were when labels were made.

    Raises:
        FileExistsError: A file is where a sheet belongs; nothing has been drawn then.
        FileNotFoundError: There is no data set.
        ValueError: One cannot be read.
    """
    root = storage.absolute(path)
    folders = [storage.absolute(folder) for folder in find_data_sets(path)]
    targets = [_target(folder.removeprefix(root).strip("/"), out) for folder in folders]
    arrays = load_body(BodyConfig())
    body = BodyModel(arrays)
    for folder, target in zip(folders, targets, strict=True):
        manifest = read_manifest(folder)
        # Evenly from the first to the last; of the others the names are read.
        which = spread_frames(count_sequences(folder), MAX_WINDOWS)
        chosen = read_sequences(folder, manifest, which, raw)
        rows = [_row(sequence, body) for sequence in chosen]
        title = f"{manifest.dataset}, {manifest.split}: {manifest.num_clips} clips, "
        title += f"{manifest.num_frames} frames at {manifest.fps:g} a second"
        title += " (left limbs blue, right ones orange)" * (manifest.kind != "motion")
        if not storage.create_exclusive(target, _draw(title, rows, arrays.faces)):
            raise _is_there(target)  # since we looked
        yield target


def _target(name: str, out: str) -> str:
    """Where the sheet belongs of a data set with that path below the root."""
    target = storage.join(out, f"{name or 'sheet'}.png")
    if storage.exists(target):
        raise _is_there(target)
    return target


def _is_there(target: str) -> FileExistsError:
    return FileExistsError(f"{target} is there already: give another --out, or remove it")


def _row(sequence: AnySequence, body: BodyModel) -> Row:
    """Take a window from the middle of a recording, and some of its frames."""
    length = min(WINDOW_FRAMES, sequence.num_frames)
    first = (sequence.num_frames - length) // 2
    frames = first + np.array(spread_frames(length, NUM_COLUMNS), int)
    name = " ".join(part for part in sequence.key if part)
    title = f"{name}, frames {frames[0]} to {frames[-1]} of {sequence.num_frames}"
    S = len(frames)
    if isinstance(sequence, MotionSequence):
        verts = _bodies(body, sequence.pose[frames], np.tile(sequence.betas, (S, 1)))
        views = [[v @ UPRIGHT for v in verts], [v @ UPRIGHT @ BEHIND for v in verts]]
        none = np.zeros((S, 0, 2))
        return Row(title, [], np.zeros((S, 3)), none, none[..., 0], (), views)
    known = np.flatnonzero(sequence.has_smpl[frames])
    bodies: list[Array] = [np.zeros((0, 3))] * S
    drawn = _bodies(body, sequence.pose[frames[known]], sequence.betas[frames[known]])
    for column, shown in zip(known, drawn, strict=True):
        bodies[column] = shown @ BEHIND
    views = [bodies] if len(known) else []
    if isinstance(sequence, PoseSequence):
        crop = np.tile([0.0, 0.0, 2.0], (S, 1))
        kp_2d, conf = sequence.kp_2d[frames], sequence.kp_2d_conf[frames]
        return Row(title, [None] * S, crop, kp_2d, conf, KEYPOINTS, views)
    pictures, problem = _pictures(sequence, frames)
    return Row(
        title + problem,
        pictures,
        sequence.box[frames],
        sequence.kp_2d[frames],
        sequence.kp_2d_conf[frames],
        sequence.names.kp_2d,
        views,
    )


def _pictures(labels: LabelledSequence, frames: Array) -> tuple[list[Array | None], str]:
    """Frames of labels, where they can be read, and in words why not."""
    from vibe_ray.video.labels import picked
    from vibe_ray.video.pixels import labelled_pictures  # PyAV and Pillow are an extra

    found: list[Array | None] = [None] * len(frames)
    if not (labels.video or labels.images):
        return found, ""
    try:
        for row, pixels in labelled_pictures(picked(labels, frames, labels.fps)):
            found[row] = pixels
    except (ValueError, FileNotFoundError) as error:
        return found, f" ({str(error)[:120]})"
    return found, ""


@torch.no_grad()
def _bodies(body: BodyModel, pose: Array, betas: Array) -> list[Array]:
    """Vertices (V, 3) of each frame, the pelvis at 0."""
    if not len(pose):
        return []
    rotmat = pose_to_rotmat(torch.tensor(pose, dtype=torch.float32))
    mesh = body(torch.tensor(betas, dtype=torch.float32), rotmat)
    return list((mesh.verts - mesh.joints[:, :1]).numpy().astype(np.float64))


def _draw(title: str, rows: Sequence[Row], faces: Array) -> bytes:
    """Lay rows below each other; each is one or two lines of tiles."""
    lines = [(row, line) for row in rows for line in _lines(row)]
    height = max(len(lines), 1)
    figure = Figure(
        figsize=(NUM_COLUMNS * TILE_INCHES, (height + 0.4) * TILE_INCHES + 0.2 * len(rows)),
        dpi=DPI,
        facecolor="white",
    )
    figure.suptitle(title, fontsize=10, color=INK)
    grid = figure.add_gridspec(
        height, NUM_COLUMNS, left=0.01, right=0.99, top=1 - 0.45 / (height + 0.4), bottom=0.01,
        wspace=0.04, hspace=0.16,
    )  # fmt: skip
    for number, (row, view) in enumerate(lines):
        for column in range(len(row.boxes)):
            axes = figure.add_subplot(grid[number, column])
            axes.set(xticks=[], yticks=[])
            if view is None:
                _draw_picture(axes, row, column)
            else:
                _draw_body(axes, row.bodies[view][column], faces)
            if column == 0 and (view is None or (view == 0 and not row.pictures)):
                axes.set_title(row.title, fontsize=7, color=INK, loc="left", pad=3)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def _lines(row: Row) -> list[int | None]:
    """A row's lines: None for its pictures, and the number of each view of its bodies."""
    return [*([None] if row.pictures else []), *range(len(row.bodies))]


def _draw_picture(axes: Axes, row: Row, column: int) -> None:
    picture, (x, y, size) = row.pictures[column], row.boxes[column]
    if picture is not None:
        axes.imshow(picture, extent=(0, picture.shape[1], picture.shape[0], 0))
    else:
        axes.set_facecolor("#f2f4f6")
    if size <= 0:
        axes.text(0.5, 0.5, "not seen", transform=axes.transAxes, ha="center", color=FAINT)
        return
    half = AROUND * size / 2
    axes.set(xlim=(x - half, x + half), ylim=(y + half, y - half), aspect="equal")
    corner = (x - size / 2, y - size / 2)
    axes.add_patch(Rectangle(corner, size, size, fill=False, edgecolor="white", linewidth=2.2))
    axes.add_patch(Rectangle(corner, size, size, fill=False, edgecolor=INK, linewidth=0.9))
    _draw_skeleton(axes, row.kp_2d[column], row.conf[column], row.names)


def _draw_skeleton(axes: Axes, kp_2d: Array, conf: Array, names: Sequence[str]) -> None:
    """Draw limbs, left ones blue and right ones orange, and all other key-points as dots."""
    place = {name: kp for name, kp, c in zip(names, kp_2d, conf, strict=True) if c > 0}
    for side, color in (("l", LEFT_COLOR), ("r", RIGHT_COLOR)):
        ends = ((_named(place, side, a), _named(place, side, b)) for a, b in _LIMBS)
        lines = [(a, b) for a, b in ends if a is not None and b is not None]
        axes.add_collection(LineCollection(lines, colors=color, linewidths=1.6, capstyle="round"))
    head = {*COMMON_14[12:], *COCO_17[:5], *OPENPOSE_25[:2], *OPENPOSE_25[15:19]}
    dots = [kp for name, kp in place.items() if name in head]
    if dots:
        x, y = np.array(dots).T
        axes.scatter(x, y, s=6, color=MIDDLE_COLOR, linewidths=0)


def _named(place: dict[str, Array], side: str, joint: str) -> Array | None:
    """Where a joint is, by the name that it has in data sets or in OpenPose."""
    return place.get(side + joint, place.get(f"OP {side.upper()}{joint.capitalize()}"))


def _draw_body(axes: Axes, verts: Array, faces: Array) -> None:
    axes.set_facecolor("#f2f4f6")
    if not len(verts):
        return
    camera = Orthographic(TILE_PIXELS / TILE_METERS, (TILE_PIXELS / 2, TILE_PIXELS / 2))
    mesh = Mesh(verts, faces, to_rgb(VIBE_COLOR))
    axes.imshow(render([mesh], camera, TILE_PIXELS, TILE_PIXELS, samples=2))
