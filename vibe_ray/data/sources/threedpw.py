"""3DPW: people outdoors before a moving camera, with SMPL parameters -> labels.

`sequenceFiles/{train,validation,test}/<name>.pkl` describes `imageFiles/<name>/image_00000.jpg` and
on, at 30 frames per second, one or two people each. Roots are turned into the camera's axes. A
person's sequence begins with the first frame in which it is seen.

3D key-points are those of a licensed SMPL body in these poses: of the neutral one, as VIBE's, or of
the person's gender, as SPIN's. Without a body there are none; pose and betas are there always.

Shapes: N frames.
"""

from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

import numpy as np
import torch
from scipy.spatial.transform import Rotation

from vibe_ray import storage
from vibe_ray.body.joints import BodyJoints
from vibe_ray.body.model import BodyConfig, load_body
from vibe_ray.body.params import pose_to_rotmat
from vibe_ray.body.skeletons import H36M_17, NUM_BETAS, OPENPOSE_18, POSE_DIM
from vibe_ray.data.labels import LabelledSequence, LabelNames
from vibe_ray.data.recordings import OnSkip, Recording, Recordings, log_skip, recording_of
from vibe_ray.data.sources.conversion import find_files, read_file
from vibe_ray.data.sources.labelling import find_images, labelled, seen_span
from vibe_ray.geometry.arrays import Array
from vibe_ray.storage.pickles import read_pickle

FPS = 30.0
NAMES = LabelNames(kp_2d=OPENPOSE_18, detected=OPENPOSE_18, kp_3d=H36M_17)
FOLDERS = {"train": "train", "val": "validation", "validation": "validation", "test": "test"}
MIN_CONFIDENCE = 0.3
"""OpenPose's key-points from here on count as seen, as in VIBE."""
MIN_SEEN = 7
"""Frames with fewer key-points do not count in an evaluation: VIBE leaves them out."""
_KEYS = ("poses", "betas", "poses2d", "cam_poses", "campose_valid", "cam_intrinsics")


def read_sequences(
    root: str,
    split: str,
    *,
    bodies: Mapping[str, BodyConfig] | None = None,
    on_skip: OnSkip = log_skip,
) -> Recordings[LabelledSequence]:
    """Return the recordings of a split: `train`, `val` (or `validation`), `test`.

    Args:
        root: The folder that holds `sequenceFiles` and `imageFiles`.
        split: Which.
        bodies: SMPL by gender, `neutral`, or `m` and `f`, which are preferred; none for no 3D
            key-points.
        on_skip: Told what is left out.

    Raises:
        FileNotFoundError: No sequence files there, or no body.
        ValueError: No such split.
    """
    if split not in FOLDERS:
        raise ValueError(f"3DPW has no split {split!r}: it has train, val and test")
    joints = {
        gender: BodyJoints.h36m(load_body(config)) for gender, config in (bodies or {}).items()
    }

    def one(path: str) -> Recording[LabelledSequence]:
        name = PurePosixPath(path).stem
        return recording_of(name, path, lambda: _read(root, path, name, joints))

    paths = find_files(root, ".pkl", f"sequenceFiles/{FOLDERS[split]}")
    return Recordings(root, [one(path) for path in paths], on_skip, names=NAMES, fps=FPS)


def _read(
    root: str, path: str, name: str, joints: Mapping[str, BodyJoints]
) -> list[LabelledSequence]:
    content = read_pickle(read_file(path), "a sequence file of 3DPW")
    if not isinstance(content, dict) or not set(_KEYS) <= content.keys():
        found = sorted(map(str, content)) if isinstance(content, dict) else type(content).__name__
        raise ValueError(
            f"no sequence file of 3DPW: it holds {found}, expected {list(_KEYS)}; put the set's "
            "own file in its place"
        )
    num_people = len(content["poses"])
    people = [_person(root, name, content, number, joints) for number in range(num_people)]
    seen = [person for person in people if person is not None]
    if not seen:
        raise ValueError(f"none of its {num_people} people is ever seen")
    return seen


def _person(
    root: str,
    name: str,
    content: Mapping[str, Any],
    number: int,
    joints: Mapping[str, BodyJoints],
) -> LabelledSequence | None:
    """Label one of the people; None if it is never seen."""
    poses2d, pose, extrinsics = _arrays(content, number)
    kp_2d = poses2d[:, :2].transpose(0, 2, 1)
    detected_conf = np.clip(poses2d[:, 2], 0, 1)
    conf = (detected_conf > MIN_CONFIDENCE).astype(np.float32)
    span, box = seen_span(kp_2d, conf)
    frames = np.arange(len(pose))[span]
    if not len(frames):
        return None
    root_orient = Rotation.from_matrix(extrinsics[span]) * Rotation.from_rotvec(pose[span, :3])
    pose = np.hstack([root_orient.as_rotvec(), pose[span, 3:]]).astype(np.float32)
    shape = np.asarray(content["betas"][number], np.float32).reshape(-1)[:NUM_BETAS]
    betas = np.tile(shape, (len(frames), 1))
    aligned = np.asarray(content["campose_valid"][number]).astype(bool)[span]
    body = joints.get(_gender(content, number), joints.get("neutral"))
    if joints and body is None:
        raise ValueError(f"no body for person {number}, {_gender(content, number)!r}: give --body")
    images = find_images(
        storage.join(root, "imageFiles", name), [f"image_{frame:05d}.jpg" for frame in frames]
    )
    known: dict[str, Any] = {}
    if body:
        known = {"kp_3d": _kp_3d(body, betas, pose), "has_kp_3d": aligned}
    fx, fy, cx, cy = np.asarray(content["cam_intrinsics"], np.float32)[[0, 1, 0, 1], [0, 1, 2, 2]]
    return labelled(
        dataset="threedpw",
        sequence=name,
        person=str(number),
        fps=FPS,
        images=images,
        frame_index=frames,
        box=box,
        names=NAMES,
        kp_2d=kp_2d[span],
        kp_2d_conf=conf[span],
        detected=kp_2d[span],
        detected_conf=detected_conf[span],
        pose=pose,
        betas=betas,
        has_smpl=aligned,
        camera=np.tile(np.array([fx, fy, cx, cy]), (len(frames), 1)),
        has_camera=np.ones(len(frames), bool),
        valid=aligned & (conf[span].sum(axis=1) >= MIN_SEEN),
        **known,
    )


def _arrays(content: Mapping[str, Any], number: int) -> tuple[Array, Array, Array]:
    """Key-points (N, 3, 18), pose (N, 72) and the camera's rotation (N, 3, 3) of a person."""
    poses2d = np.asarray(content["poses2d"][number], np.float32)
    pose = np.asarray(content["poses"][number], np.float64)
    extrinsics = np.asarray(content["cam_poses"], np.float64)
    valid = np.asarray(content["campose_valid"][number])
    N = len(pose)
    expected = [(N, 3, len(OPENPOSE_18)), (N, POSE_DIM), (N, 4, 4), (N,)]
    found = [array.shape for array in (poses2d, pose, extrinsics, valid)]
    if found != expected:
        raise ValueError(
            f"poses2d, poses, cam_poses and campose_valid of shapes {found}: expected {expected}"
        )
    return poses2d, pose, extrinsics[:, :3, :3]


def _gender(content: Mapping[str, Any], number: int) -> str:
    genders = content.get("genders", content.get("gender", ()))
    return str(genders[number]) if number < len(genders) else ""


def _kp_3d(body: BodyJoints, betas: Array, pose: Array) -> Array:
    with torch.no_grad():
        joints = body(torch.tensor(betas), pose_to_rotmat(torch.tensor(pose)))
    array: Array = joints.numpy()
    return array
