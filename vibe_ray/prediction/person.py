"""What is known of a video's people in the end, and the file that holds it.

Shapes: N frames of a person, D key-points of the detector, J = 24 SMPL joints, R rows of a table.
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from vibe_ray import storage
from vibe_ray.body.skeletons import SMPL_JOINTS
from vibe_ray.fitting.contacts import CONTACTS
from vibe_ray.geometry.arrays import Array
from vibe_ray.geometry.rotations import rotmat_to_axis_angle
from vibe_ray.video.people import Track


@dataclass(frozen=True, kw_only=True, eq=False)
class WorldMotion:
    """A person's motion in a world of their own, before a camera that stands still.

    y is up, the floor at 0; the person begins above the origin, facing +z. So people of one video
    are related by the camera alone.
    """

    rotmat: Array
    """(N, J, 3, 3), the root's in the world; the legs may differ from the camera's, where feet were
    locked."""
    transl: Array
    """(N, 3) where the mesh's origin is, as `Person.transl`."""
    contacts: Array
    """(N, 4) bool: which of `CONTACTS` are on the floor."""
    camera_rotmat: Array
    """From the world to the camera (3, 3), as camera = rotmat @ world + transl."""
    camera_transl: Array
    """Likewise (3,), meters."""

    @property
    def pose(self) -> Array:
        """Axis-angle (N, 72), the root first, in the world."""
        return _axis_angle(self.rotmat)


@dataclass(frozen=True, kw_only=True, eq=False)
class Person:
    """One person of a video. Camera axes are x right, y down, z forward, in meters."""

    track: Track
    """Frames, times, boxes and key-points."""
    rotmat: Array
    """Rotation of each joint relative to its parent (N, J, 3, 3); the root's in camera axes."""
    betas: Array
    """(10,): one body for the whole clip."""
    cam: Array
    """Weak-perspective camera (N, 3) of the crop `track.boxes`, as the network gave it."""
    transl: Array
    """(N, 3): a mesh `body(betas, rotmat) + transl` lies on the person in the picture."""
    joints: Array
    """(N, J, 3) meters, camera axes: where the joints are, `transl` included."""
    world: WorldMotion | None = None
    notes: tuple[str, ...] = ()
    """What was decided about this person, in words."""
    quality: dict[str, Any] = field(default_factory=dict)
    """What can be said without the truth: `fitting.quality`."""

    @property
    def num_frames(self) -> int:
        """N."""
        return self.track.num_frames

    @property
    def pose(self) -> Array:
        """Axis-angle (N, 72), the root first, in camera axes."""
        return _axis_angle(self.rotmat)


def save_people(path: str, people: Sequence[Person], facts: dict[str, Any]) -> None:
    """Write a table of all people's frames as `people.npz`; plain arrays, nothing pickled.

    A row is one person in one frame; the rows of a person follow each other:
    `data["pose"][data["person"] == 0]` are the first one's.

    | array | shape | |
    |---|---|---|
    | `person`, `frame` | (R,) | who, and the number of the video's frame, from 0 |
    | `time_s` | (R,) | seconds since the first frame |
    | `is_filled` | (R,) | not seen: drawn between the frames before and after |
    | `box` | (R, 3) | center x, center y, side of the square crop, pixels |
    | `kp_2d`, `kp_2d_conf` | (R, D, 2), (R, D) | detected, pixels; `kp_names` (D,) |
    | `pose` | (R, 72) | axis-angle of the 24 joints (`joint_names`), root in camera axes |
    | `betas` | (R, 10) | shape, the same in all frames of a person |
    | `cam` | (R, 3) | weak-perspective s, tx, ty of the crop |
    | `transl` | (R, 3) | meters, camera axes: added to the posed mesh it lies on the picture |
    | `joints` | (R, 24, 3) | meters, camera axes |
    | `world_pose`, `world_transl` | (R, 72), (R, 3) | y up, floor at 0, own origin; or NaN |
    | `world_camera_rotmat` | (R, 3, 3) | from that world to the camera, and |
    | `world_camera_transl` | (R, 3) | likewise, meters |
    | `contacts` | (R, 4) | `contact_names`: on the floor |
    | `width`, `height`, `focal` | () | of the picture, pixels; principal point in its middle |

    Between close looks at somebody who is at rest or moves evenly, key-points are drawn straight
    from what both looks saw (`DetectionConfig.max_unseen_s`); such frames are not `is_filled`.

    Args:
        path: Local or in a store.
        people: In order.
        facts: Scalars and names to add: width, height, focal.
    """
    names = people[0].track.names if people else ()
    tables = [_rows(person) for person in people] or [_empty_rows()]
    columns = {name: np.concatenate([table[name] for table in tables]) for name in tables[0]}
    arrays: dict[str, Any] = {
        **columns,
        "joint_names": np.array(SMPL_JOINTS),
        "kp_names": np.array(names, dtype=np.str_),
        "contact_names": np.array(CONTACTS),
        **{name: np.array(value) for name, value in facts.items()},
    }
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    storage.write_bytes_atomic(path, buffer.getvalue())


def _rows(person: Person) -> dict[str, Array]:
    track, N, world = person.track, person.num_frames, person.world
    nothing = np.full((N, 3), np.nan, np.float32)
    return {
        "person": np.full(N, track.person, np.int32),
        "frame": track.frames.astype(np.int64),
        "time_s": track.times_s.astype(np.float64),
        "is_filled": track.filled,
        "box": track.boxes.astype(np.float32),
        "kp_2d": track.kp_2d.astype(np.float32),
        "kp_2d_conf": track.kp_2d_conf.astype(np.float32),
        "pose": person.pose.astype(np.float32),
        "betas": np.tile(person.betas.astype(np.float32), (N, 1)),
        "cam": person.cam.astype(np.float32),
        "transl": person.transl.astype(np.float32),
        "joints": person.joints.astype(np.float32),
        "world_pose": np.tile(nothing, (1, len(SMPL_JOINTS)))
        if world is None
        else world.pose.astype(np.float32),
        "world_transl": nothing if world is None else world.transl.astype(np.float32),
        "world_camera_rotmat": np.full((N, 3, 3), np.nan, np.float32)
        if world is None
        else np.tile(world.camera_rotmat.astype(np.float32), (N, 1, 1)),
        "world_camera_transl": nothing
        if world is None
        else np.tile(world.camera_transl.astype(np.float32), (N, 1)),
        "contacts": np.zeros((N, 4), bool) if world is None else world.contacts,
    }


def _empty_rows() -> dict[str, Array]:
    shapes = {
        "box": (3,), "kp_2d": (0, 2), "kp_2d_conf": (0,), "pose": (72,), "betas": (10,),
        "cam": (3,), "transl": (3,), "joints": (24, 3), "world_pose": (72,), "world_transl": (3,),
        "world_camera_rotmat": (3, 3), "world_camera_transl": (3,),
    }  # fmt: skip
    empty = {name: np.zeros((0, *shape), np.float32) for name, shape in shapes.items()}
    keys = {"person": np.int32, "frame": np.int64, "time_s": np.float64, "is_filled": bool}
    return {
        **{name: np.zeros(0, kind) for name, kind in keys.items()},
        **empty,
        "contacts": np.zeros((0, 4), bool),
    }


def _axis_angle(rotmat: Array) -> Array:
    return rotmat_to_axis_angle(torch.as_tensor(rotmat)).flatten(-2).numpy()
