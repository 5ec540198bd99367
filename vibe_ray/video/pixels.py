"""The pictures that labels speak of: frames of a video, or image files.

They come one after the other, so that memory holds one, however many there are.
"""

import io
from collections.abc import Iterator

import numpy as np

from vibe_ray import storage
from vibe_ray.data.labels import LabelledSequence
from vibe_ray.geometry.arrays import Array
from vibe_ray.video.image_folder import read_picture
from vibe_ray.video.reader import open_video

_MOVED = "if it was moved, say where to with --raw"


def labelled_pictures(labels: LabelledSequence) -> Iterator[tuple[int, Array]]:
    """Yield the labels' frames in which the person is: the row's number, and RGB (H, W, 3) uint8.

    Of a video no more is decoded than up to the last of them.

    Raises:
        ValueError: A picture is not there, cannot be read, or has another size than the labels say.
    """
    rows = np.flatnonzero(labels.box[:, 2] > 0)
    found = _of_images(labels, rows) if labels.images else _of_video(labels, rows)
    for row, pixels in found:
        if pixels.shape[:2] != (labels.height, labels.width):
            raise ValueError(
                f"{labels.images[row] if labels.images else labels.video} has {pixels.shape[1]} x "
                f"{pixels.shape[0]} pixels, its labels are of {labels.width} x {labels.height}: "
                "give the pictures that were labelled, as large as they were"
            )
        yield row, pixels


def _of_images(labels: LabelledSequence, rows: Array) -> Iterator[tuple[int, Array]]:
    for row in rows.tolist():
        path = labels.images[row]
        try:
            content = storage.read_part(path)
        except FileNotFoundError:
            raise ValueError(f"no image at {path}: {_MOVED}") from None
        yield row, read_picture(io.BytesIO(content), path)[0]


def _of_video(labels: LabelledSequence, rows: Array) -> Iterator[tuple[int, Array]]:
    wanted: dict[int, list[int]] = {}
    for row in rows.tolist():
        wanted.setdefault(int(labels.frame_index[row]), []).append(row)
    if not wanted:
        return
    last, number = max(wanted), -1
    try:
        with open_video(labels.video) as video:
            for frame in video.frames():
                number = frame.number
                for row in wanted.get(number, ()):
                    yield row, frame.pixels
                if number >= last:
                    return
    except FileNotFoundError:
        raise ValueError(f"no video at {labels.video}: {_MOVED}") from None
    raise ValueError(
        f"{labels.video} ended after {number + 1} frames, its labels speak of frame {last}: it is "
        "another video, or it was cut off"
    )
