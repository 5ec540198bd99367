"""Penn Action: people at 15 actions, 13 joints marked by hand in every frame -> labels.

`labels/0001.mat` describes the frames `frames/0001/000001.jpg` and on. No file tells a frame rate:
videos are taken to play at 25 frames per second.

Shapes: N frames.
"""

from pathlib import PurePosixPath

import numpy as np

from vibe_ray import storage
from vibe_ray.body.skeletons import PENN_ACTION_13
from vibe_ray.data.labels import LabelledSequence, LabelNames
from vibe_ray.data.recordings import OnSkip, Recording, Recordings, log_skip, recording_of
from vibe_ray.data.sources.conversion import find_files, read_file
from vibe_ray.data.sources.labelling import find_images, labelled, seen_span
from vibe_ray.data.sources.matlab import read_mat

FPS = 25.0
NAMES = LabelNames(kp_2d=PENN_ACTION_13)
SPLITS = {"train": 1, "test": -1}
"""What `train` is in a file of each."""
_KEYS = ("x", "y", "visibility", "nframes", "train")


def read_sequences(
    root: str, split: str, *, on_skip: OnSkip = log_skip
) -> Recordings[LabelledSequence]:
    """Return the videos of a split, `train` or `test`; those of the other hold nothing.

    Raises:
        FileNotFoundError: No `labels/*.mat` there.
        ValueError: No such split.
    """
    if split not in SPLITS:
        raise ValueError(f"Penn Action has no split {split!r}: it has {', '.join(SPLITS)}")

    def one(path: str) -> Recording[LabelledSequence]:
        name = PurePosixPath(path).stem
        return recording_of(name, path, lambda: _read(root, path, name, split))

    paths = find_files(root, ".mat", "labels")
    return Recordings(root, [one(path) for path in paths], on_skip, names=NAMES, fps=FPS)


def _read(root: str, path: str, name: str, split: str) -> list[LabelledSequence]:
    mat = read_mat(read_file(path), _KEYS, "label file of Penn Action")
    if int(mat["train"].item()) != SPLITS[split]:
        return []
    N = int(mat["nframes"].item())
    arrays = [np.asarray(mat[key], np.float32) for key in ("x", "y", "visibility")]
    shapes = [array.shape for array in arrays]
    if shapes != [(N, len(PENN_ACTION_13))] * 3:
        raise ValueError(f"x, y and visibility of shapes {shapes}: expected ({N}, 13) each")
    conf = np.clip(arrays[2], 0, 1)
    kp_2d = np.stack(arrays[:2], axis=-1)
    span, box = seen_span(kp_2d, conf)
    frames = np.arange(N)[span]
    if not len(frames):
        raise ValueError("fewer than three joints are visible in every frame")
    images = find_images(storage.join(root, "frames", name), [f"{n + 1:06d}.jpg" for n in frames])
    return [
        labelled(
            dataset="penn_action",
            sequence=name,
            person="0",
            fps=FPS,
            images=images,
            frame_index=frames,
            box=box,
            names=NAMES,
            kp_2d=kp_2d[span],
            kp_2d_conf=conf[span],
        )
    ]
