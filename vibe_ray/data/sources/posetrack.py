"""PoseTrack 2018 and 2021: people in videos of the world, key-points marked by hand -> labels.

`annotations/train/000001_bonn_train.json` (of 2021: `posetrack_data/train/...`) describes pictures
by their paths below the folder of the download, and people by tracks. Of a video some frames are
labeled, most often thirty in a row. No file tells a frame rate: 25 per second are assumed.

Shapes: N frames of a track, L = 17 key-points.
"""

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import numpy as np

from vibe_ray import storage
from vibe_ray.body.skeletons import POSETRACK_17, POSETRACK_CATEGORIES, indices
from vibe_ray.data.labels import LabelledSequence, LabelNames
from vibe_ray.data.recordings import OnSkip, Recording, Recordings, log_skip, recording_of
from vibe_ray.data.sources.conversion import find_files, read_file
from vibe_ray.data.sources.labelling import (
    MIN_FRAMES,
    find_images,
    labelled,
    piece_name,
    seen_span,
)
from vibe_ray.geometry.arrays import Array

FPS = 25.0
NAMES = LabelNames(kp_2d=POSETRACK_17)
SPLITS = ("train", "val")
FOLDERS = ("annotations", "posetrack_data/annotations", "posetrack_data")
"""Where annotations lie in a download: of 2018, as VIBE unpacks it, of 2021."""
MAX_IGNORED = 0.5
"""Share of a person's key-points from which on it is one of a crowd that is not labeled one by one:
there the track is cut."""


@dataclass(frozen=True)
class Picture:
    frame: int
    file: str
    ignored: tuple[Array, ...]
    """Polygons (P, 2) in pixels in which people are not labeled one by one."""


def read_sequences(
    root: str, split: str, *, on_skip: OnSkip = log_skip
) -> Recordings[LabelledSequence]:
    """Return the videos of a split, `train` or `val`; the test set's labels are kept secret.

    Raises:
        FileNotFoundError: No annotations there.
        ValueError: No such split.
    """
    if split not in SPLITS:
        raise ValueError(f"PoseTrack has no split {split!r}: it has {' and '.join(SPLITS)}")
    folders = [storage.join(root, folder, split) for folder in FOLDERS]
    there = [folder for folder in folders if storage.exists(folder)]
    if not there:
        raise FileNotFoundError(
            f"no {FOLDERS[0]}/{split} in {root}, nor {FOLDERS[-1]}/{split}: give the folder that "
            "holds one of them"
        )

    def one(path: str) -> Recording[LabelledSequence]:
        name = PurePosixPath(path).stem
        return recording_of(name, path, lambda: _read(root, path, name))

    paths = find_files(there[0], ".json")
    return Recordings(root, [one(path) for path in paths], on_skip, names=NAMES, fps=FPS)


def _read(root: str, path: str, name: str) -> list[LabelledSequence]:
    content = _parse(read_file(path))
    pictures = {item["id"]: _picture(item) for item in content["images"]}
    columns = _columns(content["categories"])
    tracks: dict[int, dict[int, Array]] = defaultdict(dict)
    for item in content["annotations"]:
        _add(tracks, pictures, item, columns)
    by_frame = {picture.frame: picture for picture in pictures.values()}
    found = [
        labels
        for track, frames in sorted(tracks.items())
        for labels in _pieces(root, name, track, frames, by_frame)
    ]
    if not found:
        raise ValueError(
            f"none of its {len(tracks)} tracks has {MIN_FRAMES} labeled frames in a row"
        )
    return found


def _parse(content: bytes) -> Mapping[str, Any]:
    try:
        parsed = json.loads(content)
    except ValueError as error:
        raise ValueError(f"no JSON, or cut off: {error}; download it again") from None
    keys = ("images", "annotations", "categories")
    if not isinstance(parsed, dict) or not all(isinstance(parsed.get(key), list) for key in keys):
        found = ", ".join(parsed) if isinstance(parsed, dict) else type(parsed).__name__
        raise ValueError(
            f"no annotations of PoseTrack: it holds {found}; expected {keys}; put the set's own "
            "file in its place"
        )
    return parsed


def _columns(categories: Sequence[Any]) -> list[int]:
    """Where in a person's key-points those of `POSETRACK_17` are."""
    named = [item["keypoints"] for item in categories if "keypoints" in item]
    if not named:
        raise ValueError("its categories do not name the key-points")
    return indices(POSETRACK_CATEGORIES, named[0])


def _picture(item: Mapping[str, Any]) -> Picture:
    file = str(item["file_name"])
    stem = PurePosixPath(file).stem
    if not stem.isdigit():
        raise ValueError(f"picture {file} is not named by a frame's number")
    xs, ys = (item.get(f"ignore_regions_{axis}") or [] for axis in "xy")
    polygons = (np.array([x, y], float).T for x, y in zip(xs, ys, strict=True))
    return Picture(int(stem), file, tuple(polygon for polygon in polygons if len(polygon) > 2))


def _add(
    tracks: dict[int, dict[int, Array]],
    pictures: Mapping[Any, Picture],
    item: Mapping[str, Any],
    columns: Sequence[int],
) -> None:
    """Note a person's key-points (L, 3) in a frame, unless its box is empty or it is ignored."""
    if item["image_id"] not in pictures:
        raise ValueError(f"a person is in picture {item['image_id']}, which is not listed")
    if min(item.get("bbox", (0, 0, 1, 1))[2:]) <= 0:
        return
    picture = pictures[item["image_id"]]
    kp = np.array(item["keypoints"], np.float32).reshape(-1, 3)[columns]
    kp[:, 2] = (kp[:, :2] != 0).any(axis=1)
    seen = kp[kp[:, 2] > 0, :2]
    if not len(seen) or _ignored(seen, picture.ignored).mean() > MAX_IGNORED:
        return
    frames = tracks[int(item["track_id"])]
    if picture.frame in frames:
        raise ValueError(f"track {item['track_id']} is twice in picture {picture.file}")
    frames[picture.frame] = kp


def _ignored(points: Array, polygons: Iterable[Array]) -> Array:
    """Which points (P, 2) lie in one of the polygons."""
    from matplotlib.path import Path  # takes a while

    inside = np.zeros(len(points), bool)
    for polygon in polygons:
        inside |= Path(polygon).contains_points(points)
    return inside


def _pieces(
    root: str,
    name: str,
    track: int,
    frames: Mapping[int, Array],
    pictures: Mapping[int, Picture],
) -> list[LabelledSequence]:
    """Cut a track where frames are missing."""
    known = np.array(sorted(frames))
    pieces = np.split(known, np.flatnonzero(np.diff(known) > 1) + 1)
    labels = []
    for number, there in enumerate(pieces):
        kp = np.stack([frames[frame] for frame in there])
        span, box = seen_span(kp[..., :2], kp[..., 2])
        if len(box) < MIN_FRAMES:
            continue
        there, kp = there[span], kp[span]
        labels.append(
            labelled(
                dataset="posetrack",
                sequence=piece_name(name, number, len(pieces)),
                person=str(track),
                fps=FPS,
                images=_images(root, [pictures[frame].file for frame in there]),
                frame_index=there,
                names=NAMES,
                box=box,
                kp_2d=kp[..., :2],
                kp_2d_conf=kp[..., 2],
            )
        )
    return labels


def _images(root: str, files: Sequence[str]) -> tuple[str, ...]:
    """Paths of pictures that are named by their path below the folder of the download."""
    folder, _, _ = files[0].rpartition("/")
    for part in files[0].split("/"):
        storage.check_plain_name(part, "a part of a picture's path")
    if any(file.rpartition("/")[0] != folder for file in files):
        raise ValueError(f"its pictures are in several folders: {folder} and others")
    return find_images(storage.join(root, folder), [file.rpartition("/")[2] for file in files])
