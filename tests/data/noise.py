"""Small data sets of random numbers, in which every frame says where it is from.

The first features, and the first numbers of a pose, are the clip's number and the frame's.
"""

from pathlib import Path
from typing import Any

import numpy as np

from vibe_ray.body.skeletons import COCO_17, H36M_17, PENN_ACTION_13
from vibe_ray.data.labels import LabelledSequence, LabelNames
from vibe_ray.data.manifest import Manifest
from vibe_ray.data.schema import Kind, MotionSequence, PoseSequence
from vibe_ray.data.shards import ShardWriter
from vibe_ray.storage import join

F = 16
FPS = 25.0
RAW = "/raw"
NAMES = LabelNames(kp_2d=PENN_ACTION_13, detected=COCO_17, kp_3d=H36M_17)
LENGTHS = {
    "open_2d/train": (40, 7, 64, 33, 90),
    "open_3d/train": (16, 48, 70),
    "open_3d/val": (30, 20),
    "open_3d/test": (25,),
    "motion/train": (100, 50, 31),
}
"""The standard layout, and how many frames each sequence has."""


def header(name: str, **changes: Any) -> Manifest:
    dataset, split = name.split("/")
    kinds: dict[str, Kind] = {"motion": "motion", "labels": "labels"}
    kind = kinds.get(dataset, "pose")
    known: dict[str, Any] = {"dataset": dataset, "split": split, "kind": kind, "fps": FPS}
    known |= {"source": "random numbers", "converter": "noise"}
    known |= {"encoder_id": "noise", "feature_dim": F} if kind == "pose" else {}
    known |= {"names": NAMES, "raw": RAW} if kind == "labels" else {}
    return Manifest.model_validate(known | changes)


def pose_sequence(name: str, num_frames: int, number: int = 0, **changes: Any) -> PoseSequence:
    rng = np.random.default_rng([number, num_frames])
    features = _floats(rng, num_frames, F)
    features[:, 0], features[:, 1] = number, np.arange(num_frames)
    known: dict[str, Any] = {
        "dataset": "noise",
        "sequence": name,
        "person": "0",
        "fps": FPS,
        "encoder_id": "noise",
        "features": features.astype(np.float16),
        "kp_2d": _floats(rng, num_frames, 49, 2),
        "kp_2d_conf": rng.random((num_frames, 49), np.float32),
        "kp_3d": _floats(rng, num_frames, 49, 3),
        "has_kp_3d": rng.random(num_frames) < 0.7,
        "pose": _floats(rng, num_frames, 72),
        "betas": _floats(rng, num_frames, 10),
        "has_smpl": rng.random(num_frames) < 0.7,
        "valid": rng.random(num_frames) < 0.9,
    }
    return PoseSequence(**(known | changes))


def known_sequence(name: str, num_frames: int, number: int = 0) -> PoseSequence:
    """A sequence in every frame of which all is known."""
    known = dict.fromkeys(("has_smpl", "has_kp_3d", "valid"), np.ones(num_frames, bool))
    return pose_sequence(name, num_frames, number, **known)


def motion_sequence(name: str, num_frames: int, number: int = 0, **changes: Any) -> MotionSequence:
    rng = np.random.default_rng([number, num_frames, 1])
    pose = _floats(rng, num_frames, 72)
    pose[:, 0], pose[:, 1] = number, np.arange(num_frames)
    known: dict[str, Any] = {"dataset": "noise", "name": name, "fps": FPS, "pose": pose}
    known |= {"trans": _floats(rng, num_frames, 3), "betas": _floats(rng, 10)}
    return MotionSequence(**(known | changes))


def labelled_sequence(
    name: str, num_frames: int, number: int = 0, **changes: Any
) -> LabelledSequence:
    rng = np.random.default_rng([number, num_frames, 2])
    N, first = num_frames, 100 * number
    names = changes.get("names", NAMES)
    L, D, M = len(names.kp_2d), len(names.detected), len(names.kp_3d)
    box = np.column_stack([300 + 50 * rng.random((N, 2)), 200 + 20 * rng.random(N)])
    known: dict[str, Any] = {
        "dataset": "noise",
        "sequence": name,
        "person": "0",
        "fps": FPS,
        "video": f"{RAW}/{name}.mp4",
        "width": 640,
        "height": 480,
        "frame_index": np.arange(first, first + N),
        "timestamps": np.arange(first, first + N) / FPS,
        "box": box.astype(np.float32),
        "names": names,
        "kp_2d": 300 + 100 * _floats(rng, N, L, 2),
        "kp_2d_conf": rng.random((N, L), np.float32),
        "detected": 300 + 100 * _floats(rng, N, D, 2),
        "detected_conf": rng.random((N, D), np.float32),
        "kp_3d": _floats(rng, N, M, 3),
        "has_kp_3d": rng.random(N) < 0.7,
        "pose": _floats(rng, N, 72),
        "betas": _floats(rng, N, 10),
        "has_smpl": rng.random(N) < 0.7,
        "camera": 500 + _floats(rng, N, 4),
        "has_camera": rng.random(N) < 0.7,
        "valid": rng.random(N) < 0.9,
    }
    return LabelledSequence(**(known | changes))


def write(root: str, name: str, lengths: tuple[int, ...], **changes: Any) -> str:
    """Write one data set of the standard layout; return its folder."""
    manifest = header(name, **changes)
    make = pose_sequence if manifest.kind == "pose" else motion_sequence
    with ShardWriter(join(root, name), manifest) as writer:
        for number, num_frames in enumerate(lengths):
            writer.write(make(f"{name}/{number}", num_frames, number))
    return join(root, name)


def write_labels(out: str, lengths: tuple[int, ...]) -> str:
    """Write a label data set of sequences s0, s1 and so on; return its folder."""
    with ShardWriter(out, header("labels/train")) as writer:
        for number, num_frames in enumerate(lengths):
            writer.write(labelled_sequence(f"s{number}", num_frames, number))
    return out


def contents(folder: Path) -> dict[str, bytes]:
    """Return every file of a folder by its name."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def write_all(root: str, lengths: dict[str, tuple[int, ...]] = LENGTHS) -> str:
    """Write the standard layout below a folder and return it."""
    for name, of in lengths.items():
        write(root, name, of)
    return root


def _floats(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return (0.2 * rng.standard_normal(shape)).astype(np.float32)
