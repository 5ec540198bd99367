"""What every converter of an image data set does besides reading its format.

Frames are only referred to, so they are looked for while their labels are converted: a data set
whose pictures were not unpacked is told of then, not after a night of encoding.

Shapes: N frames, L key-points.
"""

import io
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from vibe_ray import storage
from vibe_ray.data.boxes import box_from_keypoints, track_boxes
from vibe_ray.data.labels import LabelledSequence, LabelNames, unknown_labels
from vibe_ray.data.recordings import Recording
from vibe_ray.data.schema import Array
from vibe_ray.data.sources.conversion import FAULTS_OF_A_FILE, reason


def recording(
    name: str, path: str, read: Callable[[], list[LabelledSequence]]
) -> Recording[LabelledSequence]:
    """Return a recording of which nothing but its reason to be left out may come."""

    def guarded() -> list[LabelledSequence]:
        try:
            return read()
        except FAULTS_OF_A_FILE as error:
            raise ValueError(reason(error)) from error

    return Recording(name, path, guarded)


def find_images(folder: str, names: Sequence[str]) -> tuple[str, ...]:
    """Return the paths of frames' pictures, all of which are there.

    Raises:
        ValueError: Some are missing; says how many, and the first.
    """
    there = set(storage.visible_files(folder))
    missing = [name for name in names if name not in there]
    if missing:
        raise ValueError(
            f"{len(missing)} of {len(names)} frames are missing, first {missing[0]} in {folder}: "
            "download and unpack the pictures too"
        )
    return tuple(storage.join(folder, name) for name in names)


def image_size(path: str) -> tuple[int, int]:
    """Width and height of a picture, in pixels.

    Raises:
        ValueError: It is no JPEG.
    """
    try:
        from PIL import Image
    except ImportError as error:
        raise ImportError(
            f"pictures need Pillow ({error}): pip install 'vibe_ray[datasets]'"
        ) from None
    try:
        with Image.open(io.BytesIO(storage.read_bytes(path)), formats=["JPEG"]) as image:
            return image.size
    except (OSError, Image.DecompressionBombError) as error:
        raise ValueError(f"{path} is no readable JPEG: {error}") from error


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


def labelled(
    *, images: tuple[str, ...], frame_index: Array, fps: float, names: LabelNames, **known: Any
) -> LabelledSequence:
    """Make a sequence of what is known of a person in pictures; all else is unknown, and 0."""
    width, height = image_size(images[0])
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
