"""A whole track estimated as a prediction does it without flipping, and put before the camera."""

import torch
from torch import Tensor

from vibe_ray.body.joints import BodyJoints
from vibe_ray.features.frame_encoder import FrameEncoder
from vibe_ray.features.keypoint_encoder import encoder_inputs
from vibe_ray.features.with_keypoints import given_keypoints
from vibe_ray.fitting.motion import Motion
from vibe_ray.fitting.observation import Observation
from vibe_ray.geometry.cameras import locate
from vibe_ray.inference import Predictor


def estimated(
    predictor: Predictor,
    encoder: FrameEncoder,
    seen: Observation,
    box: Tensor,
    image_size: Tensor,
    times_s: Tensor,
) -> Motion | None:
    """Return what a checkpoint says of key-points, or None where a frame shows too little.

    Args:
        predictor: The checkpoint.
        encoder: Its frame encoder, one of key-points.
        seen: Key-points and camera of N frames.
        box: The person's boxes (N, 3).
        image_size: Width and height (2,).
        times_s: Of the frames (N,), float64.
    """
    encoder = given_keypoints(encoder, predictor.config.generator.sees_keypoints)
    inputs = encoder_inputs(seen.names, seen.kp_2d, seen.conf, box, image_size)
    params = predictor.predict(encoder.forward(inputs).detach(), "sequence")
    betas = params.betas.median(dim=0).values
    body = BodyJoints.keypoints(predictor.body, which=seen.body_rows, as_detected=True)
    points = body(betas.expand(len(box), -1), params.rotmat)
    center = torch.tensor(seen.center, dtype=torch.float64)
    transl = locate(points, seen.target, seen.weight, seen.focal, center)
    if not transl.isfinite().all():
        return None
    return Motion(rotmat=params.rotmat, transl=transl, betas=betas, times_s=times_s)
