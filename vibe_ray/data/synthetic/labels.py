"""A synthetic capture as labels: what a converter of an image data set would say of it.

Shapes: N frames, D detected key-points, K = 49.
"""

from typing import Literal

import numpy as np
import torch
from torch import Tensor

from vibe_ray.body.skeletons import KEYPOINTS
from vibe_ray.data.labels import LabelledSequence, LabelNames
from vibe_ray.data.synthetic.captures import CapturedClips
from vibe_ray.data.synthetic.detector import DETECTED
from vibe_ray.geometry.arrays import Array

Truth = Literal["2d", "3d"]
NAMES: dict[Truth, LabelNames] = {
    "2d": LabelNames(kp_2d=DETECTED, detected=DETECTED),
    "3d": LabelNames(kp_2d=KEYPOINTS, detected=DETECTED, kp_3d=KEYPOINTS),
}


def label_capture(
    clips: CapturedClips, *, dataset: str, sequence: str, fps: float, truth: Truth
) -> LabelledSequence:
    """Label a captured clip.

    Args:
        clips: A batch of one.
        dataset: Name of the data set.
        sequence: Name of the recording.
        fps: Frames per second.
        truth: `3d`: exact 2D key-points, 3D key-points, pose and shape. `2d`: no more than what the
            detector found, as a data set has it that was labelled by one.
    """
    N = clips.box.shape[1]
    knows_3d = truth == "3d"
    exact = clips.kp_px[0], clips.kp_2d_conf[0, :, None].expand(N, len(KEYPOINTS))
    kp_2d, kp_2d_conf = exact if knows_3d else (clips.detected[0], clips.detected_conf[0])
    width, height = clips.image_size[0].int().tolist()
    known = np.full(N, knows_3d)
    return LabelledSequence(
        dataset=dataset,
        sequence=sequence,
        person="0",
        fps=fps,
        width=width,
        height=height,
        frame_index=np.arange(N),
        timestamps=np.arange(N) / fps,
        box=_array(clips.box[0]),
        names=NAMES[truth],
        kp_2d=_array(kp_2d),
        kp_2d_conf=_array(kp_2d_conf),
        detected=_array(clips.detected[0]),
        detected_conf=_array(clips.detected_conf[0]),
        kp_3d=_array(clips.kp_3d[0] if knows_3d else torch.zeros(N, 0, 3)),
        has_kp_3d=known,
        pose=_array(clips.pose[0] * knows_3d),
        betas=_array(clips.betas.expand(N, -1) * knows_3d),
        has_smpl=known,
        camera=_array(clips.camera[0]),
        has_camera=np.full(N, True),
        valid=_array(clips.has_box[0]),
    )


def _array(values: Tensor) -> Array:
    array: Array = values.numpy()
    return array
