"""A track as labels, so that whoever eats a data set's frames eats a video's too.

Shapes: N frames of a track, D key-points by name.
"""

from dataclasses import replace

import numpy as np

from vibe_ray.data.labels import LabelledSequence, LabelNames, unknown_labels
from vibe_ray.data.schema import LABEL_ARRAYS
from vibe_ray.geometry.arrays import Array
from vibe_ray.video.frames import VideoFacts
from vibe_ray.video.people import Track


def label_track(
    track: Track, facts: VideoFacts, *, dataset: str, sequence: str
) -> LabelledSequence:
    """Label a person's frames with what a detector saw in them: key-points, and nothing in 3D.

    Frames that were filled keep their box, drawn between their neighbors, so that an encoder is
    shown the place; their key-points count for nothing, and they are not valid. The camera is known
    where its focal length was given or is the file's; an assumed one is written, but not as known.

    Args:
        track: Of a video.
        facts: The video's.
        dataset: Name of the data set.
        sequence: Name of the recording, unlike those of the data set's other videos.
    """
    N = track.num_frames
    focal = facts.focal.pixels
    pinhole = np.array([focal, focal, facts.width / 2, facts.height / 2], np.float32)
    kp_2d, conf = track.kp_2d.astype(np.float32), track.kp_2d_conf.astype(np.float32)
    names = LabelNames(kp_2d=track.names, detected=track.names)
    known: dict[str, Array] = {
        "frame_index": track.frames.astype(np.int64),
        "timestamps": track.times_s.astype(np.float64),
        "box": track.boxes.astype(np.float32),
        "kp_2d": kp_2d,
        "kp_2d_conf": conf,
        "detected": kp_2d,
        "detected_conf": conf,
        "camera": np.tile(pinhole, (N, 1)),
        "has_camera": np.full(N, not facts.focal.is_assumed),
        "valid": ~track.filled & (track.boxes[:, 2] > 0),
    }
    return LabelledSequence(
        dataset=dataset,
        sequence=sequence,
        person=str(track.person),
        fps=facts.fps,
        video="" if facts.images else facts.path,
        images=tuple(facts.images[frame] for frame in track.frames) if facts.images else (),
        width=facts.width,
        height=facts.height,
        names=names,
        **(unknown_labels(N, names) | known),
    )


def picked(labels: LabelledSequence, rows: Array, fps: float) -> LabelledSequence:
    """Keep some of a person's frames, which follow each other at another rate.

    Args:
        labels: Of N frames.
        rows: Which, in rising order.
        fps: At which they follow each other.
    """
    per_frame = {name: getattr(labels, name)[rows] for name in LABEL_ARRAYS}
    images = tuple(labels.images[row] for row in rows) if labels.images else ()
    return replace(labels, fps=fps, images=images, **per_frame)
