"""MPI-INF-3DHP: people in a studio and outdoors, joints captured without markers -> labels.

Training: `S1/Seq1/annot.mat` describes what 14 cameras saw, of which VIBE takes eight; pixels are
`imageSequence/video_0.avi`, or pictures taken out of it in a folder `video_0`. Five recordings play
at 50 frames per second, of which every second frame is taken; all others at 25. A frame with a
joint outside of the picture is left out, and the track is cut there.

Test: `mpi_inf_3dhp_test_set/TS1/annot_data.mat` (HDF5) describes `imageSequence/img_000001.jpg` and
on; all frames are kept, of which those marked as valid count. 3D joints are the universal ones,
which are scaled to one height, as the benchmark and VIBE have them.

Shapes: N frames, L joints.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any

import numpy as np

from vibe_ray import storage
from vibe_ray.body.skeletons import MPII3D_28, MPII3D_TEST_17
from vibe_ray.data.labels import LabelledSequence, LabelNames
from vibe_ray.data.recordings import OnSkip, Recording, Recordings, log_skip, recording_of
from vibe_ray.data.sources.conversion import read_file, read_text
from vibe_ray.data.sources.labelling import (
    labelled,
    numbered_images,
    piece_name,
    seen_span,
    unbroken,
    warn_of,
)
from vibe_ray.data.sources.matlab import read_mat, read_mat_73
from vibe_ray.geometry.arrays import Array

DATASET = "mpi_inf_3dhp"
FPS = 25.0
FAST = ("S1/Seq2", "S3/Seq1", "S3/Seq2", "S5/Seq1", "S5/Seq2")
"""The recordings of 50 frames per second, as the set's own `mpii_get_sequence_info.m` says."""
SUBJECTS, SEQUENCES = range(1, 9), (1, 2)
CAMERAS = (0, 1, 2, 4, 5, 6, 7, 8)
"""Those at the height of a chest or above, which VIBE takes of 14."""
TEST_FOLDER, TESTS = "mpi_inf_3dhp_test_set", range(1, 7)
NAMES = {
    "train": LabelNames(kp_2d=MPII3D_28, kp_3d=MPII3D_28),
    "test": LabelNames(kp_2d=MPII3D_TEST_17, kp_3d=MPII3D_TEST_17),
}
Load = Callable[[str], Mapping[str, Any]]


def read_sequences(
    root: str, split: str, *, on_skip: OnSkip = log_skip
) -> Recordings[LabelledSequence]:
    """Return the recordings of a split, `train` or `test`: of each camera one.

    Raises:
        FileNotFoundError: None of them is there.
        ValueError: No such split.
    """
    if split not in NAMES:
        raise ValueError(f"MPI-INF-3DHP has no split {split!r}: it has {', '.join(NAMES)}")
    items = _training(root) if split == "train" else _tests(root)
    return Recordings(root, items, on_skip, names=NAMES[split], fps=FPS)


def _there(root: str, names: list[str], file: str) -> list[str]:
    """Those of the recordings' folders that have their file; who has none is told of."""
    found = [name for name in names if storage.exists(storage.join(root, name, file))]
    if not found:
        raise FileNotFoundError(
            f"no {names[0]}/{file} in {root}, nor of another recording: give the folder that holds "
            f"S1 to S8 and {TEST_FOLDER}"
        )
    absent = [name for name in names if name not in found]
    warn_of(f"recordings of MPI-INF-3DHP left out, of which {root} has no {file}", absent)
    return found


def _training(root: str) -> list[Recording[LabelledSequence]]:
    names = [f"S{subject}/Seq{sequence}" for subject in SUBJECTS for sequence in SEQUENCES]

    @functools.lru_cache(maxsize=1)  # a file holds what all cameras saw
    def load(path: str) -> Mapping[str, Any]:
        return read_mat(read_file(path), ("annot2", "annot3"), "annotation of MPI-INF-3DHP")

    def one(name: str, camera: int) -> Recording[LabelledSequence]:
        path = storage.join(root, name, "annot.mat")
        known_as = f"{name}/video_{camera}"
        return recording_of(known_as, path, lambda: _camera(root, name, camera, load))

    return [one(name, k) for name in _there(root, names, "annot.mat") for k in CAMERAS]


def _camera(root: str, name: str, camera: int, load: Load) -> list[LabelledSequence]:
    folder = storage.join(root, name)
    kp_2d, kp_3d = _joints(load(storage.join(folder, "annot.mat")), camera)
    size, pinhole = read_calibration(storage.join(folder, "camera.calibration"), camera)
    stride = 2 if name in FAST else 1
    inside = np.all(_within(kp_2d, size), axis=1)
    pieces = unbroken(inside[::stride])
    if not pieces:
        raise ValueError("in no eight frames in a row are all joints within the picture")
    frames_of = [stride * np.arange(piece.start, piece.stop) for piece in pieces]
    pixels = _pixels(folder, camera, frames_of)
    labels = []
    for number, frames in enumerate(frames_of):
        N = len(frames)
        conf = np.ones((N, len(MPII3D_28)), np.float32)
        part = {
            **pixels[number],
            "timestamps": frames / (stride * FPS),
            "box": seen_span(kp_2d[frames], conf)[1],
            "kp_2d": kp_2d[frames],
            "kp_2d_conf": conf,
            "kp_3d": kp_3d[frames],
            "has_kp_3d": np.ones(N, bool),
            "camera": np.tile(pinhole, (N, 1)),
            "has_camera": np.ones(N, bool),
        }
        labels.append(
            labelled(
                dataset=DATASET,
                sequence=piece_name(f"{name}/video_{camera}", number, len(pieces)),
                person="0",
                fps=FPS,
                size=size,
                frame_index=frames,
                names=NAMES["train"],
                **part,
            )
        )
    return labels


def _joints(mat: Mapping[str, Any], camera: int) -> tuple[Array, Array]:
    """Joints of a camera: pixels (N, 28, 2), and meters in its axes (N, 28, 3)."""
    cells = [np.asarray(mat[key], object).reshape(-1) for key in ("annot2", "annot3")]
    if min(map(len, cells)) <= camera:
        raise ValueError(f"it describes {min(map(len, cells))} cameras, expected 14")
    arrays = [np.asarray(cell[camera], np.float32) for cell in cells]
    N, L = len(arrays[0]), len(MPII3D_28)
    if [array.shape for array in arrays] != [(N, 2 * L), (N, 3 * L)]:
        raise ValueError(
            f"annot2 and annot3 of camera {camera} have shapes {[a.shape for a in arrays]}: "
            f"expected ({N}, {2 * L}) and ({N}, {3 * L})"
        )
    return arrays[0].reshape(N, L, 2), arrays[1].reshape(N, L, 3) / np.float32(1000)


def _within(kp_2d: Array, size: tuple[int, int]) -> Array:
    """Which joints (N, L) of those in pixels (N, L, 2) are within the picture."""
    return np.all((kp_2d >= 0) & (kp_2d < np.array(size)), axis=2)


def read_calibration(path: str, camera: int) -> tuple[tuple[int, int], Array]:
    """Return a camera's picture size (width, height) and its pinhole (4,) = (fx, fy, cx, cy).

    Raises:
        ValueError: The file is not there, is damaged or knows no such camera.
    """
    try:
        lines = [line.split() for line in read_text(path).splitlines() if line.strip()]
    except FileNotFoundError:
        raise ValueError(f"no {path}, which tells the cameras' lenses") from None
    names = [number for number, line in enumerate(lines) if line[0] == "name"]
    for start, end in zip(names, [*names[1:], len(lines)], strict=True):
        if lines[start][1:] == [str(camera)]:
            known = {line[0]: line[1:] for line in lines[start:end]}
            try:
                width, height = (int(float(word)) for word in known["size"][:2])
                matrix = np.array(known["intrinsic"], float).reshape(4, 4)
            except (KeyError, ValueError) as error:
                raise ValueError(f"{path} is damaged at camera {camera}: {error}") from None
            return (width, height), matrix[[0, 1, 0, 1], [0, 1, 2, 2]].astype(np.float32)
    raise ValueError(f"{path} knows no camera {camera}")


def _pixels(folder: str, camera: int, frames_of: Sequence[Array]) -> list[dict[str, Any]]:
    """Where the pixels of a track's pieces are: pictures taken out of the camera's video, or it.

    A camera has thousands of pictures: its folder is listed once, however many pieces there are.
    """
    for kind in ("imageSequence", "imageFrames"):
        pictures = storage.join(folder, kind, f"video_{camera}")
        if storage.exists(pictures):
            paths = iter(numbered_images(pictures, np.concatenate(frames_of)))
            return [{"images": tuple(islice(paths, len(frames)))} for frames in frames_of]
    video = storage.join(folder, "imageSequence", f"video_{camera}.avi")
    if not storage.exists(video):
        raise ValueError(f"neither {video} nor pictures of it in a folder video_{camera} beside it")
    return [{"video": video}] * len(frames_of)


def _tests(root: str) -> list[Recording[LabelledSequence]]:
    names = [f"{TEST_FOLDER}/TS{number}" for number in TESTS]

    def one(name: str) -> Recording[LabelledSequence]:
        path = storage.join(root, name, "annot_data.mat")
        known_as = name.rpartition("/")[2]
        return recording_of(known_as, path, lambda: _test(path, known_as))

    return [one(name) for name in _there(root, names, "annot_data.mat")]


def _test(path: str, name: str) -> list[LabelledSequence]:
    keys = ("annot2", "univ_annot3", "valid_frame")
    mat = read_mat_73(read_file(path), keys, "test annotation of MPI-INF-3DHP")
    kp_2d, kp_3d = mat["annot2"].astype(np.float32), mat["univ_annot3"].astype(np.float32)
    is_valid = mat["valid_frame"].reshape(-1).astype(bool)
    N, L = len(is_valid), len(MPII3D_TEST_17)
    if (kp_2d.shape, kp_3d.shape) != ((N, 1, L, 2), (N, 1, L, 3)):
        raise ValueError(
            f"annot2 and univ_annot3 of shapes {kp_2d.shape} and {kp_3d.shape} for {N} frames: "
            f"expected ({N}, 1, {L}, 2) and ({N}, 1, {L}, 3)"
        )
    kp_2d, kp_3d = kp_2d[:, 0], kp_3d[:, 0] / np.float32(1000)
    images = numbered_images(storage.beside(path, "imageSequence"), np.arange(N))
    made = labelled(
        dataset=DATASET,
        sequence=name,
        person="0",
        fps=FPS,
        images=images,
        frame_index=np.arange(N),
        names=NAMES["test"],
        kp_2d=kp_2d,
        kp_3d=kp_3d,
        has_kp_3d=is_valid,
        valid=is_valid,
    )
    conf = _within(kp_2d, (made.width, made.height)).astype(np.float32)
    span, box = seen_span(kp_2d, conf)
    if not len(box):
        raise ValueError("in no frame are three joints within the picture")
    boxes = np.zeros((N, 3), np.float32)
    boxes[span] = box
    return [replace(made, kp_2d_conf=conf, box=boxes)]
