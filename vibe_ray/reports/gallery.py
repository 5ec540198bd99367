"""Which pictures show how well a sequence was predicted? Strips of meshes, and motion over time.

Shapes: N frames of one sequence, S frames of a strip, K joints.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from vibe_ray.body.joints import BodyJoints
from vibe_ray.body.mesh import BodyModel
from vibe_ray.body.model import BodyArrays
from vibe_ray.body.params import SmplParams
from vibe_ray.body.skeletons import COMMON_14, indices
from vibe_ray.data.schema import PoseSequence
from vibe_ray.evaluation.evaluator import true_params
from vibe_ray.evaluation.metrics import (
    MM_PER_METER,
    accel_mm_per_frame2,
    center_on_hips,
    mpjpe_mm,
)
from vibe_ray.reports.figures import TRUTH_COLOR, Trace, trace_plot
from vibe_ray.reports.pages import Picture
from vibe_ray.reports.pictures import KeypointRow, body_row, mesh_strip, spread_frames

NUM_COLUMNS = 6
TRACED_JOINT = "rwrist"
TRACED_TITLE = "right wrist"


@dataclass(frozen=True)
class Prediction:
    """One method's bodies for a whole sequence."""

    label: str
    color: str
    params: SmplParams
    """Leading (N,)."""


@torch.no_grad()
def sequence_pictures(
    sequence: PoseSequence,
    predictions: Sequence[Prediction],
    body: BodyArrays,
    seconds: float = 4.0,
) -> list[Picture]:
    """Show predictions of one sequence beside the truth.

    Args:
        sequence: With SMPL truth.
        predictions: Of all its frames, on the CPU; in the order of the rows.
        body: The body of all of them.
        seconds: How much to show, from the sequence's middle.

    Returns:
        Strips from the front and from the side, a joint's path and the acceleration over time.

    Raises:
        ValueError: Frames that would be shown have no SMPL truth.
    """
    shown = _middle(sequence, seconds)
    motions = [
        Prediction("Truth", TRUTH_COLOR, true_params(sequence).map(lambda x: x[shown])),
        *(Prediction(p.label, p.color, p.params.map(lambda x: x[shown])) for p in predictions),
    ]
    evaluation = BodyJoints.evaluation(body)
    joints = [center_on_hips(evaluation(m.params.betas, m.params.rotmat)) for m in motions]
    name = f"{sequence.sequence} ({sequence.dataset})"
    return [
        *_strips(sequence, shown, motions, joints, body),
        Picture(
            title=f"Height of the {TRACED_TITLE} over the hips",
            caption=f"{name}. Jitter is what the truth's line does not do.",
            data=_plot(motions, [_height_mm(j) for j in joints], sequence.fps, "mm"),
            kind="svg",
        ),
        Picture(
            title="Acceleration over time",
            caption=f"{name}. Mean over 14 joints, frame by frame; the nearer to the truth's, the "
            "better.",
            data=_plot(
                motions, [accel_mm_per_frame2(j) for j in joints], sequence.fps, "mm/frame²"
            ),
            kind="svg",
        ),
    ]


def _middle(sequence: PoseSequence, seconds: float) -> slice:
    num_frames = sequence.num_frames
    length = min(num_frames, max(1, round(seconds * sequence.fps)))
    start = (num_frames - length) // 2
    shown = slice(start, start + length)
    if not sequence.has_smpl[shown].all():
        raise ValueError(
            f"sequence {sequence.sequence!r} has no SMPL truth in some of its frames {start} to "
            f"{start + length}: choose one that has, to be shown beside predictions"
        )
    return shown


def _strips(
    sequence: PoseSequence,
    shown: slice,
    motions: Sequence[Prediction],
    joints: Sequence[Tensor],
    body: BodyArrays,
) -> list[Picture]:
    frames = spread_frames(len(joints[0]), NUM_COLUMNS)
    model = BodyModel(body)
    rows = []
    for motion, predicted in zip(motions, joints, strict=True):
        errors = mpjpe_mm(predicted, joints[0])[frames].tolist()
        captions = [] if motion is motions[0] else [f"{error:.0f} mm" for error in errors]
        params = motion.params.map(lambda x: x[frames])
        rows.append(body_row(model, params, motion.label, motion.color, captions))
    times = [(shown.start + frame) / sequence.fps for frame in frames]
    inputs = KeypointRow("Input", sequence.kp_2d[shown][frames], sequence.kp_2d_conf[shown][frames])
    name = f"{sequence.sequence} ({sequence.dataset})"
    return [
        Picture(
            title="Predicted and true motion, seen by the camera",
            caption=f"{name}. The lines over the meshes are the true skeleton, the numbers are the "
            "mean error of 14 joints in that frame.",
            data=mesh_strip(rows, body.faces, times, "front", inputs),
            kind="png",
        ),
        Picture(
            title="The same from the side, which the camera does not see",
            caption=f"{name}. Depth is where errors of a single camera show.",
            data=mesh_strip(rows, body.faces, times, "side"),
            kind="png",
        ),
    ]


def _height_mm(joints: Tensor) -> Tensor:
    """Height (N,) of the traced joint above the hips; the camera's y points down."""
    (joint,) = indices([TRACED_JOINT], COMMON_14)
    return -MM_PER_METER * joints[:, joint, 1]


def _plot(motions: Sequence[Prediction], values: Sequence[Tensor], fps: float, unit: str) -> bytes:
    pairs = zip(motions, values, strict=True)
    return trace_plot([Trace(m.label, m.color, v.numpy()) for m, v in pairs], fps, unit)
