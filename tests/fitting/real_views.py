"""Four calibrated views of a real person: the network's answers in each, and the triangulation."""

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import scipy.linalg
import torch
from torch import Tensor

from tests.fitting.estimated import estimated
from vibe_ray.body.joints import BodyJoints
from vibe_ray.body.skeletons import COCO_17, KEYPOINTS, indices
from vibe_ray.data.boxes import track_boxes
from vibe_ray.evaluation.metrics import pa_mpjpe_mm
from vibe_ray.features.frame_encoder import load_encoder
from vibe_ray.fitting.motion import Motion
from vibe_ray.fitting.observation import Observation
from vibe_ray.inference import Predictor

LIMBS = [
    f"{side}{joint}"
    for joint in ("shoulder", "elbow", "wrist", "hip", "knee", "ankle")
    for side in "lr"
]


def views_file() -> Path | None:
    """Where the data are, if they are."""
    folder = os.environ.get("VIBE_RAY_TEST_DATA")
    file = Path(folder or "") / "real_views" / "views.npz"
    return file if folder and file.is_file() else None


def views(
    checkpoint: str = "open", *, exact: bool = False
) -> Iterator[tuple[Motion, Observation, Tensor]]:
    """Yield a view's estimate, its key-points and the triangulated joints (N, 17, 3).

    Skips the test where there are no such data.

    Args:
        checkpoint: Of the generator.
        exact: Whether the triangulated joints, projected, are seen in place of the detected ones.
    """
    if (file := views_file()) is None:
        pytest.skip("VIBE_RAY_TEST_DATA does not name a folder with real_views/views.npz")
    predictor, encoder = Predictor.from_checkpoint(checkpoint), load_encoder("open")
    with np.load(file) as data:
        size, points = data["image_size"], torch.from_numpy(data["points_3d_m"]).float()
        times = torch.arange(len(points), dtype=torch.float64) / float(data["fps"])
        pairs = zip(data["kp_2d_px"], data["projection"], strict=True)
    for kp, projection in pairs:
        triangle, _ = scipy.linalg.rq(projection[:, :3])
        focal, center = (
            float(abs(triangle[0, 0] / triangle[2, 2])),
            triangle[:2, 2] / triangle[2, 2],
        )
        pixels, conf = torch.from_numpy(kp[..., :2]).float(), torch.from_numpy(kp[..., 2]).float()
        if exact:
            pixels, conf = projected(points, torch.from_numpy(projection).float())
        box = track_boxes(pixels, conf)
        seen = Observation(
            kp_2d=pixels,
            conf=conf,
            names=COCO_17,
            box_size=box[:, 2],
            focal=focal,
            center=(float(center[0]), float(center[1])),
        )
        motion = estimated(predictor, encoder, seen, box, torch.tensor(size).float(), times)
        assert motion is not None
        yield motion, seen, points


def projected(points: Tensor, projection: Tensor) -> tuple[Tensor, Tensor]:
    """Project joints (N, 17, 3) by a matrix (3, 4): pixels and confidences, 0 for unknown ones."""
    known = points.isfinite().all(dim=-1)
    homogeneous = torch.nn.functional.pad(points.nan_to_num(), (0, 1), value=1.0) @ projection.T
    pixels = homogeneous[..., :2] / homogeneous[..., 2:]
    return torch.where(known[..., None], pixels, 0.0), 0.9 * known.float()


def pa_mm(motion: Motion, points: Tensor, body: BodyJoints) -> float:
    """PA-MPJPE over the limbs' joints, in frames in which all of them were triangulated."""
    found = body(motion.betas.expand(motion.num_frames, -1), motion.rotmat)
    true = points[:, indices(LIMBS, COCO_17)]
    known = true.isfinite().all(dim=-1).all(dim=-1)
    return float(pa_mpjpe_mm(found[:, indices(LIMBS, KEYPOINTS)][known], true[known]).mean())
