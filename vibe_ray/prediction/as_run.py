"""How good is a prediction as it is run, with the detector in the loop?

Whoever is measured on boxes or key-points of a data set is told where the people are. Here nobody
tells: a video goes in, people come out, and each frame's people are matched with the data set's by
their boxes. So errors are only those of who was found, and a share says how many were.

Shapes: N frames of a label sequence, F frames of a video, P people found, L label sequences.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from typing import Any

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from vibe_ray.body.model import BodyArrays
from vibe_ray.body.params import SmplParams
from vibe_ray.data.labels import LabelledSequence
from vibe_ray.data.schema import PoseSequence
from vibe_ray.data.sequences import read_label_sequences
from vibe_ray.data.targets import pose_targets
from vibe_ray.evaluation.comparison import Comparison, Method
from vibe_ray.evaluation.evaluator import Evaluator
from vibe_ray.evaluation.protocols import PROTOCOLS
from vibe_ray.evaluation.scores import EvaluationResult
from vibe_ray.geometry.arrays import Array
from vibe_ray.prediction.job import Prediction, Tools, predict_people
from vibe_ray.prediction.person import Person
from vibe_ray.video.reader import open_video

MIN_OVERLAP = 0.3
"""Intersection over union of two boxes from which on they may be of one person."""
NOBODY = -1

Predict = Callable[[str, float], Prediction]
"""Given the path of a video, or of a folder of pictures, and their frames per second."""


@dataclass(frozen=True, kw_only=True)
class AsRun:
    """Errors of those who were found, and how many were."""

    result: EvaluationResult
    num_frames: int
    """Frames, counted per person, in which the data set knows the truth."""
    num_found: int
    num_strangers: int
    """Labelled frames, counted per person, in which somebody was seen who is none of the data
    set's: others, or nobody."""

    @property
    def coverage(self) -> float:
        """Share of the known people's frames in which they were found."""
        return self.num_found / self.num_frames

    @property
    def comparison(self) -> Comparison:
        """For a table of the errors."""
        method = Method(name="As run", runs=(self.result.metrics,))
        title = self.result.per_sequence[0].dataset
        return Comparison(
            dataset=title, protocol=self.result.protocol, methods=(method,), published=()
        )

    def told(self) -> str:
        """Say how many were found."""
        return (
            f"found in {self.num_found} of {self.num_frames} frames in which somebody's truth is "
            f"known: {100 * self.coverage:.1f} %; errors are those of the found\n"
            f"{self.num_strangers} frames of people that the data set does not know"
        )

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain JSON values."""
        counts = {"num_known": self.num_frames, "num_found": self.num_found}
        strangers = {"num_strangers": self.num_strangers, "coverage": self.coverage}
        return {**self.result.to_dict(), **counts, **strangers}


def measure_videos(
    labels: str,
    predict: Predict,
    body: BodyArrays,
    protocol: str = "open",
    raw: str | None = None,
) -> AsRun:
    """Predict the videos of a label data set, and compare with what is known of them.

    Args:
        labels: Folder of the label data set.
        predict: How a video is predicted; see `predicts_with`.
        body: Of the prediction and of the truth.
        protocol: A name of `evaluation.protocols`, by which whole sequences are measured.
        raw: Where the videos are, if not where they were when the labels were made.

    Raises:
        FileNotFoundError: There are no labels, or a video is missing.
        ValueError: No such protocol, labels without pixels, or nobody whose truth is known was
            found.
    """
    if protocol not in PROTOCOLS:
        raise ValueError(f"no protocol {protocol!r}, expected one of {', '.join(PROTOCOLS)}")
    evaluator = Evaluator(body, PROTOCOLS[protocol], window_length=1)
    num_frames = num_found = num_strangers = 0
    for video, known in _videos(labels, raw):
        people = predict(video, known[0].fps).people
        who = match([_boxes(one) for one in known], [_found_boxes(one) for one in people])
        for labelled, matched in zip(known, who, strict=True):
            sequence, estimates = _matched(labelled, people, matched)
            counted = labelled.valid & (sequence.has_smpl | sequence.has_kp_3d)
            num_frames += int(counted.sum())
            num_found += int((counted & (matched != NOBODY)).sum())
            if sequence.valid.any():
                evaluator.add(partial(_rows_of, estimates), sequence)
        labelled_frames = {frame for one in known for frame in one.frame_index.tolist()}
        num_seen = sum(frame in labelled_frames for one in people for frame in _found_boxes(one))
        num_strangers += num_seen - sum(int((matched != NOBODY).sum()) for matched in who)
    if not num_found:
        raise ValueError(
            f"{labels}: of {num_frames} frames in which somebody's truth is known the detector "
            "found nobody: do the labels belong to these videos?"
        )
    return AsRun(
        result=evaluator.result(),
        num_frames=num_frames,
        num_found=num_found,
        num_strangers=num_strangers,
    )


def predicts_with(tools: Tools) -> Predict:
    """Return what predicts a video as the command does."""

    def predict(path: str, fps: float) -> Prediction:
        with open_video(path, focal=tools.config.focal, fps=fps) as video:
            return predict_people(video, tools)

    return predict


def match(known: Sequence[dict[int, Array]], found: Sequence[dict[int, Array]]) -> list[Array]:
    """Say who of the people found is who of those known, frame by frame.

    Pairs are chosen so that a frame's boxes overlap most in all; below `MIN_OVERLAP` none is made.
    A person is not held to one identity: that a track jumps to somebody else costs no error here.

    Args:
        known: L dictionaries from a frame's number to a box (3,) = (cx, cy, size).
        found: P likewise.

    Returns:
        For each of L, by the order of its frames, the index of a person found or `NOBODY`.
    """
    answer = [dict.fromkeys(boxes, NOBODY) for boxes in known]
    for frame in sorted({frame for boxes in known for frame in boxes}):
        here = [i for i, boxes in enumerate(known) if frame in boxes]
        there = [i for i, boxes in enumerate(found) if frame in boxes]
        pairs = [[_overlap(known[i][frame], found[j][frame]) for j in there] for i in here]
        overlap = np.array(pairs).reshape(len(here), len(there))
        overlap[overlap < MIN_OVERLAP] = 0  # else what is no pair would decide who is one
        for row, column in zip(*linear_sum_assignment(-overlap), strict=True):
            if overlap[row, column]:
                answer[here[row]][frame] = there[column]
    return [np.array(list(of.values()), dtype=np.int64) for of in answer]


def _overlap(one: Array, other: Array) -> float:
    """Intersection over union of two squares (3,) = (cx, cy, size)."""
    reach = (one[2] + other[2]) / 2 - np.abs(one[:2] - other[:2])
    sides = np.clip(np.minimum(reach, min(one[2], other[2])), 0, None)
    both = float(sides.prod())
    return both / max(float(one[2] ** 2 + other[2] ** 2) - both, 1e-9)


def _videos(labels: str, raw: str | None) -> Iterator[tuple[str, list[LabelledSequence]]]:
    """Yield each video with all the sequences labelled in it, which a converter writes together."""
    sequences = read_label_sequences(labels, raw=raw)
    for video, known in groupby(sequences, lambda one: _pixels(one, labels)):
        yield video, list(known)


def _pixels(labels: LabelledSequence, path: str) -> str:
    """Path of a sequence's video, or of the folder of its pictures."""
    if labels.video:
        return labels.video
    if not labels.images:
        raise ValueError(
            f"{path}: sequence {labels.sequence!r} has neither a video nor images, at which a "
            "detector is to look: prepare the labels from where the pixels are"
        )
    return labels.images[0].rpartition("/")[0]


def _boxes(labels: LabelledSequence) -> dict[int, Array]:
    return dict(zip(labels.frame_index.tolist(), labels.box, strict=True))


def _found_boxes(person: Person) -> dict[int, Array]:
    seen = zip(person.track.frames.tolist(), person.track.boxes, person.track.filled, strict=True)
    return {frame: box for frame, box, is_filled in seen if not is_filled}


def _matched(
    labels: LabelledSequence, people: Sequence[Person], who: Array
) -> tuple[PoseSequence, SmplParams]:
    """Return the truth of a sequence, of which what was found is valid, and what was found (N).

    The truth's features are the numbers of its frames, by which `_rows_of` finds the estimates.
    """
    N = labels.num_frames
    rotmat = np.tile(np.eye(3, dtype=np.float32), (N, 24, 1, 1))
    betas = np.zeros((N, 10), np.float32)
    for row in np.flatnonzero(who != NOBODY):
        person = people[who[row]]
        rotmat[row] = person.rotmat[labels.frame_index[row] - person.track.frames[0]]
        betas[row] = person.betas
    known = pose_targets(labels)
    known["valid"] = known["valid"] & (who != NOBODY)
    sequence = PoseSequence(
        dataset=labels.dataset,
        sequence=labels.sequence,
        person=labels.person,
        fps=labels.fps,
        start_frame=labels.start_frame,
        encoder_id="",
        features=np.arange(N, dtype=np.float32)[:, None],
        **known,
    )
    arrays = torch.from_numpy(rotmat), torch.from_numpy(betas)
    return sequence, SmplParams(*arrays, cam=torch.zeros(N, 3))


def _rows_of(estimates: SmplParams, rows: Tensor) -> SmplParams:
    """Stand in for a network: return the estimates (..., ) of frames by their numbers (..., 1)."""
    return estimates.map(lambda values: values[rows[..., 0].long()])
