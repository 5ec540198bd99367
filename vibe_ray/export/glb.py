"""Motion -> GLB: the skinned mesh of a body, animated, as one binary file of glTF 2.0.

Frames keep their times, so that a variable frame rate stays one. Joints are nodes, named as SMPL's;
at rest they stand in a T-pose. Written from the specification
(https://registry.khronos.org/glTF/specs/2.0/glTF-2.0.html); `container.py` does the packing.

Shapes: N frames, V vertices, J = 24 joints.
"""

from typing import Any

import numpy as np

from vibe_ray import __version__, storage
from vibe_ray.body.model import BodyArrays
from vibe_ray.body.skeletons import SMPL_JOINTS, SMPL_PARENTS
from vibe_ray.export.animation import Animation, ViewCamera
from vibe_ray.export.container import Container
from vibe_ray.export.curves import rotmat_to_quaternions
from vibe_ray.export.rest import INFLUENCES, RestBody, rest_body

SKIN_COLOR = (0.72, 0.55, 0.46, 1.0)
"""Red, green, blue and opacity, linear."""
NEAREST = 0.01
"""Meters before the camera from which on things are seen."""
FIRST_JOINT = 1
"""Number of the root's node; the mesh stands before it, the camera after the last joint."""


def write_glb(
    path: str, animation: Animation, body: BodyArrays, *, camera: ViewCamera | None = None
) -> None:
    """Write a person's motion as GLB.

    Args:
        path: File to write, local or of a store; complete or not there.
        animation: The motion.
        body: The body that it moves, whose pose correctives are left out (`rest.py`).
        camera: What saw it: a viewer that takes its view sees the body where the picture has it.

    Raises:
        ValueError: Frames too near to one another for the format's times.
    """
    storage.write_bytes_atomic(path, _glb(animation, rest_body(body, animation.betas), camera))


def _glb(animation: Animation, rest: RestBody, camera: ViewCamera | None) -> bytes:
    file = Container()
    nodes = [{"name": animation.name, "mesh": 0, "skin": 0}, *_joint_nodes(rest)]
    document: dict[str, Any] = {
        "asset": {"version": "2.0", "generator": f"vibe_ray {__version__}"},
        "scene": 0,
        "meshes": [_mesh(file, animation.name, rest)],
        "materials": [_material()],
        "skins": [_skin(file, rest)],
        "animations": [_animation(file, animation)],
        "nodes": nodes,
    }
    roots = [0, FIRST_JOINT]
    if camera is not None:
        roots.append(len(nodes))
        nodes.append(_camera_node(camera))
        document["cameras"] = [_camera(camera)]
    document["scenes"] = [{"name": animation.name, "nodes": roots}]
    return file.pack(document)


def _joint_nodes(rest: RestBody) -> list[dict[str, Any]]:
    nodes: list[dict[str, Any]] = [
        {"name": name, "translation": offset.tolist()}
        for name, offset in zip(SMPL_JOINTS, rest.offsets(), strict=True)
    ]
    for joint, parent in enumerate(SMPL_PARENTS[1:], start=1):
        nodes[parent].setdefault("children", []).append(FIRST_JOINT + joint)
    return nodes


def _mesh(file: Container, name: str, rest: RestBody) -> dict[str, Any]:
    num_verts = len(rest.verts)
    attributes = {
        "POSITION": file.vertices(rest.verts.astype(np.float32), with_bounds=True),
        "NORMAL": file.vertices(rest.normals.astype(np.float32)),
    }
    for number, first in enumerate(range(0, rest.weights.shape[1], INFLUENCES)):
        columns = slice(first, first + INFLUENCES)
        attributes[f"JOINTS_{number}"] = file.vertices(rest.influences[:, columns].astype(np.uint8))
        attributes[f"WEIGHTS_{number}"] = file.vertices(rest.weights[:, columns])
    # The largest number of a type is no vertex: it means "begin anew" to graphics cards.
    kind = np.uint16 if num_verts < np.iinfo(np.uint16).max else np.uint32
    indices = file.indices(rest.faces.astype(kind).ravel())
    primitive = {"attributes": attributes, "indices": indices, "material": 0}
    return {"name": name, "primitives": [primitive]}


def _material() -> dict[str, Any]:
    surface = {"baseColorFactor": SKIN_COLOR, "metallicFactor": 0.0, "roughnessFactor": 0.8}
    return {"name": "skin", "pbrMetallicRoughness": surface}


def _skin(file: Container, rest: RestBody) -> dict[str, Any]:
    """Joints turn about where they are at rest: from there a vertex is carried to the origin."""
    bind = np.tile(np.eye(4, dtype=np.float32), (len(rest.joints), 1, 1))
    bind[:, 3, :3] = -rest.joints  # matrices go column by column
    joints = [FIRST_JOINT + joint for joint in range(len(rest.joints))]
    return {
        "inverseBindMatrices": file.data(bind.reshape(-1, 16), "MAT4"),
        "joints": joints,
        "skeleton": FIRST_JOINT,
    }


def _animation(file: Container, animation: Animation) -> dict[str, Any]:
    times = file.data(_times(animation), "SCALAR", with_bounds=True)
    outputs = [file.data(animation.transl.astype(np.float32), "VEC3")]
    targets = [{"node": FIRST_JOINT, "path": "translation"}]
    for joint in range(animation.rotmat.shape[1]):  # one by one: memory holds one joint's curve
        curve = rotmat_to_quaternions(animation.rotmat[:, joint : joint + 1])[:, 0]
        outputs.append(file.data(curve.astype(np.float32), "VEC4"))
        targets.append({"node": FIRST_JOINT + joint, "path": "rotation"})
    return {
        "name": animation.name,
        "samplers": [{"input": times, "output": output} for output in outputs],
        "channels": [{"sampler": n, "target": target} for n, target in enumerate(targets)],
    }


def _times(animation: Animation) -> np.ndarray:
    """Seconds (N,) in float32, the only type that the format has for them."""
    times = animation.times_s.astype(np.float32)
    if (same := np.flatnonzero(np.diff(times) <= 0)).size:
        frame = int(same[0])
        raise ValueError(
            f"frames {frame} and {frame + 1} at {animation.times_s[frame]:.6f} s are too near for "
            "glTF's 32-bit times: let times_s begin at zero, or export a shorter piece"
        )
    return times


def _camera(camera: ViewCamera) -> dict[str, Any]:
    lens = {
        "yfov": 2 * float(np.arctan2(camera.height, 2 * camera.focal)),
        "aspectRatio": camera.width / camera.height,
        "znear": NEAREST,
    }
    return {"name": "view", "type": "perspective", "perspective": lens}


def _camera_node(camera: ViewCamera) -> dict[str, Any]:
    rotmat, position = camera.pose_in_world()
    return {
        "name": "camera",
        "camera": 0,
        "rotation": rotmat_to_quaternions(rotmat[None, None])[0, 0].tolist(),
        "translation": position.tolist(),
    }
