"""InstaVariety: people in short videos, key-points found by OpenPose -> labels.

`train/*.tfrecord` as HMMR's authors give them: a record is one person's track, its pictures (JPEG)
cut out around the person and its 25 key-points. The pictures stay where they are: an image of these
labels is a part of a file (`storage.part_path`). The box is the whole picture, as in VIBE. No file
tells a frame rate: 25 per second are assumed.

Shapes: N frames of a track, L = 25 key-points.
"""

from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

import numpy as np

from vibe_ray import storage
from vibe_ray.body.skeletons import INSTA_25
from vibe_ray.data.labels import LabelledSequence, LabelNames
from vibe_ray.data.recordings import OnSkip, Recording, Recordings, log_skip, recording_of
from vibe_ray.data.sources.conversion import find_files
from vibe_ray.data.sources.labelling import image_size, labelled
from vibe_ray.data.sources.tfrecords import Record, parse_example, read_records
from vibe_ray.geometry.arrays import Array

FPS = 25.0
NAMES = LabelNames(kp_2d=INSTA_25)
SPLITS = ("train", "test")
PARTS = {"image/xys": (2, 14), "image/face_pts": (3, 5), "image/toe_pts": (3, 6)}
"""Key-points of a frame, coordinate by coordinate: x, y and, of face and toes, visibility."""
_KEYS = ("meta/N", "image/encoded", "image/xys", "image/visibilities", "image/face_pts")


def read_sequences(
    root: str, split: str, *, on_skip: OnSkip = log_skip
) -> Recordings[LabelledSequence]:
    """Return the files of a split, `train` or `test`, each of which holds many tracks.

    Raises:
        FileNotFoundError: There are none.
        ValueError: No such split.
    """
    if split not in SPLITS:
        raise ValueError(f"InstaVariety has no split {split!r}: it has {' and '.join(SPLITS)}")

    def one(path: str) -> Recording[LabelledSequence]:
        name = PurePosixPath(path).stem
        return recording_of(name, path, lambda: [_track(path, name, r) for r in read_records(path)])

    paths = find_files(root, ".tfrecord", split)
    return Recordings(root, [one(path) for path in paths], on_skip, names=NAMES, fps=FPS)


def _track(path: str, name: str, record: Record) -> LabelledSequence:
    try:
        example = parse_example(record.content)
        if missing := [key for key in _KEYS if key not in example]:
            found = ", ".join(sorted(example)) or "nothing"
            raise ValueError(f"no track of InstaVariety: no {', '.join(missing)} among {found}")
        kp, N = _keypoints(example), int(example["meta/N"][0])
        images = _images(path, record, example["image/encoded"], N)
        width, height = image_size(images[0])
        if width != height:
            raise ValueError(f"pictures of {width} x {height} pixels: expected squares")
    except ValueError as error:
        raise ValueError(f"record {record.number} of {path}: {error}") from error
    if "image/phis" in example:  # of those that HMMR has preprocessed the picture is [-1, 1]
        kp[..., :2] = (kp[..., :2] + 1) / 2 * width
    return labelled(
        dataset="insta_variety",
        sequence=f"{name}-{record.number}",
        person="0",
        fps=FPS,
        images=images,
        size=(width, height),
        frame_index=np.arange(N),
        names=NAMES,
        box=np.tile(np.array([width / 2, height / 2, width], np.float32), (N, 1)),
        kp_2d=kp[..., :2],
        kp_2d_conf=np.clip(kp[..., 2], 0, 1),
    )


def _keypoints(example: Mapping[str, Any]) -> Array:
    """Key-points and visibilities (N, L, 3) of a track."""
    N = int(example["meta/N"][0]) if len(example["meta/N"]) else 0
    arrays = {"image/visibilities": np.asarray(example["image/visibilities"], np.float32)}
    for name in PARTS:
        values = np.asarray(example.get(name, ()), np.float32)
        if name == "image/toe_pts" and not len(values):  # some tracks have none
            values = np.zeros(N * 18, np.float32)
        arrays[name] = values
    sizes = {"image/visibilities": 14, **{key: a * b for key, (a, b) in PARTS.items()}}
    for name, size in sizes.items():
        if not N or arrays[name].size != N * size:
            raise ValueError(f"{name} has {arrays[name].size} numbers for {N} frames: {size} each")
    xy, *others = (arrays[name].reshape(N, *shape) for name, shape in PARTS.items())
    body = np.concatenate([xy, arrays["image/visibilities"].reshape(N, 1, 14)], axis=1)
    joined: Array = np.concatenate([body, *others], axis=2)
    return joined.transpose(0, 2, 1).copy()


def _images(path: str, record: Record, pictures: list[bytes], num_frames: int) -> tuple[str, ...]:
    """Where in the file each of a track's pictures is."""
    if len(pictures) != num_frames:
        raise ValueError(f"{len(pictures)} pictures for {num_frames} frames")
    parts, position = [], 0
    for picture in pictures:
        position = record.content.index(picture, position)
        start = record.start + position
        parts.append(storage.part_path(path, start, start + len(picture)))
        position += len(picture)
    return tuple(parts)
