"""What every converter of an image data set does besides reading its format.

Frames are only referred to, so they are looked for while their labels are converted: a data set
whose pictures were not unpacked is told of then, not after a night of encoding.

Shapes: N frames, L key-points.
"""

import io
import logging
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from vibe_ray import storage
from vibe_ray.data.boxes import box_from_keypoints, track_boxes
from vibe_ray.data.labels import LabelledSequence, LabelNames, unknown_labels
from vibe_ray.geometry.arrays import Array

logger = logging.getLogger(__name__)

MAX_NAMED = 16
"""How many of those that are absent are named; they may be hundreds."""
MIN_FRAMES = 8
"""Shorter pieces of a track that is cut are left out, as VIBE leaves out PoseTrack's."""
_NUMBERED = re.compile(r"(.*?)(\d+)(\.jpe?g)", re.IGNORECASE)


def warn_of(what: str, absent: Sequence[str]) -> None:
    """Log what is missing of a data set that is converted all the same, if anything is."""
    if absent:
        more = f" and {len(absent) - MAX_NAMED} more" * (len(absent) > MAX_NAMED)
        logger.warning("%s: %s%s", what, ", ".join(absent[:MAX_NAMED]), more)


def find_images(folder: str, names: Sequence[str]) -> tuple[str, ...]:
    """Return the paths of frames' pictures, all of which are there.

    Raises:
        ValueError: Some are missing; says how many, and the first.
    """
    return _found(folder, names, storage.visible_files(folder))


def _found(folder: str, names: Sequence[str], there: Sequence[str]) -> tuple[str, ...]:
    """Do as `find_images` does, where it is known which pictures are there."""
    known = set(there)
    missing = [name for name in names if name not in known]
    if missing:
        raise ValueError(
            f"{len(missing)} of {len(names)} frames are missing, first {missing[0]} in {folder}: "
            "download and unpack the pictures too"
        )
    return tuple(storage.join(folder, name) for name in names)


def numbered_images(folder: str, frames: Array) -> tuple[str, ...]:
    """Return the paths of frames' pictures, all of which are there.

    They are named as programs name what they take out of a video: `frame_000001.jpg`, the first
    one's number being 1 or 0.

    Args:
        folder: Of all of a video's.
        frames: Numbers of frames, counted from 0.

    Raises:
        ValueError: Some are missing, or it cannot be told which is which.
    """
    there = storage.visible_files(folder)
    names = [name for name in there if _NUMBERED.fullmatch(name)]
    if not names:
        raise ValueError(f"no pictures such as frame_000001.jpg in {folder}")
    first = _NUMBERED.fullmatch(min(names))
    assert first is not None
    stem, digits, ending = first.groups()
    if int(digits) > 1:
        raise ValueError(f"the first picture in {folder} is {min(names)}: expected number 0 or 1")
    wanted = [f"{stem}{int(digits) + frame:0{len(digits)}d}{ending}" for frame in frames]
    return _found(folder, wanted, there)


def image_size(path: str) -> tuple[int, int]:
    """Width and height of a picture, in pixels.

    Raises:
        FileNotFoundError: It is not there.
        ValueError: It is no JPEG.
    """
    try:
        from PIL import Image, UnidentifiedImageError
    except ImportError as error:
        raise ImportError(
            f"pictures need Pillow ({error}): pip install 'vibe_ray[datasets]'"
        ) from None
    content = storage.read_part(path)
    try:
        with Image.open(io.BytesIO(content), formats=["JPEG"]) as image:
            return image.size
    except (OSError, Image.DecompressionBombError) as error:
        is_another = isinstance(error, UnidentifiedImageError)  # whose words tell but an address
        found = f"it begins with {content[:8]!r}" if is_another else error
        raise ValueError(
            f"{path} is no readable JPEG: {found}; unpack the pictures again"
        ) from error


def seen_span(kp: Array, conf: Array) -> tuple[slice, Array]:
    """Where a person is seen, from the first frame to the last, and the boxes (n, 3) therein.

    Args:
        kp: Pixels (N, L, 2).
        conf: (N, L); 0 for what is not seen.
    """
    (seen,) = np.nonzero(box_from_keypoints(torch.tensor(kp), torch.tensor(conf))[:, 2].numpy())
    if not len(seen):
        return slice(0, 0), np.zeros((0, 3), np.float32)
    span = slice(int(seen[0]), int(seen[-1]) + 1)
    boxes: Array = track_boxes(torch.tensor(kp[span]), torch.tensor(conf[span])).numpy()
    return span, boxes


def unbroken(keep: Array, at_least: int = MIN_FRAMES) -> list[slice]:
    """Return the runs of frames (N,) to keep; windows must not span what lies between them."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], keep, [False]]).astype(np.int8)))
    runs = (slice(int(start), int(end)) for start, end in edges.reshape(-1, 2))
    return [run for run in runs if run.stop - run.start >= at_least]


def piece_name(name: str, number: int, num_pieces: int) -> str:
    """Name one of the pieces of a track that is cut."""
    return name if num_pieces == 1 else f"{name}_part{number:02d}"


def labelled(
    *,
    frame_index: Array,
    fps: float,
    names: LabelNames,
    images: tuple[str, ...] = (),
    size: tuple[int, int] | None = None,
    **known: Any,
) -> LabelledSequence:
    """Make a sequence of what is known of a person in pictures; all else is unknown, and 0.

    Args:
        frame_index: (N,) numbers of the frames.
        fps: At which they follow each other, where no `timestamps` are known.
        names: Of the key-points.
        images: The frames', where they are not a video's.
        size: Width and height; if not known, the first image is asked.
        known: More of the sequence.
    """
    width, height = size or image_size(images[0])
    N = len(frame_index)
    assumed = {"valid": np.ones(N, bool), "timestamps": frame_index / fps}
    arrays = unknown_labels(N, names) | assumed | {"frame_index": frame_index.astype(np.int64)}
    return LabelledSequence(
        images=images,
        width=width,
        height=height,
        fps=fps,
        names=names,
        **(arrays | known),
    )
