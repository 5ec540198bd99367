"""What does a config's task mean: which learner, and what does it learn from?"""

import torch

from vibe_ray.config import TrainConfig
from vibe_ray.data.mixing import StepPlan, make_plan
from vibe_ray.data.synthetic.frames import frame_plan
from vibe_ray.data.synthetic.windows import window_plan
from vibe_ray.data.validate import check_usable, pose_sets
from vibe_ray.features.with_keypoints import check_has_keypoints, leaving_keypoints
from vibe_ray.training.frame_encoder import FrameEncoderState
from vibe_ray.training.initial import windows_encoder
from vibe_ray.training.learner import Learner
from vibe_ray.training.prior import PriorState
from vibe_ray.training.state import TrainState


def create(
    config: TrainConfig, device: torch.device, rank: int = 0, *, is_resumed: bool = False
) -> Learner:
    """Build the learner from the config and its seed, the same on every rank.

    Args:
        config: Of the run.
        device: To which everything is moved.
        rank: Of this process.
        is_resumed: Whether a checkpoint will be loaded, so that no other weights need be.

    Raises:
        FileNotFoundError: A body, initial weights, motion or a motion prior that are not there.
        ValueError: They do not fit, or settings that do not go together.
    """
    if config.task == "motion_prior":
        return PriorState.create(config, device, rank, is_resumed=is_resumed)
    if config.task == "frame_encoder":
        return FrameEncoderState.create(config, device, rank, is_resumed=is_resumed)
    return TrainState.create(config, device, rank, is_resumed=is_resumed)


def make_step_plan(config: TrainConfig) -> StepPlan:
    """Return what every step sees, after quick checks of the data.

    Raises:
        FileNotFoundError: A data set is missing.
        ValueError: One does not fit the config.
    """
    if config.task == "frame_encoder":
        return frame_plan(config.data, config.frames, config.body, config.seed)
    if config.windows.motion:
        encoder_id = windows_encoder(config).id
        plan = window_plan(config.data, config.windows, config.body, encoder_id, config.seed)
    else:
        plan = make_plan(config.data, config.seed)
    sets = pose_sets(config.data, plan)
    if config.generator.sees_keypoints:
        for path, manifest in sets:
            check_has_keypoints(path, manifest.encoder_id)
    elif sets:  # it is validated on features that key-points may follow, which it leaves
        *train_sets, (path, validation) = sets
        sets = [*train_sets, (path, leaving_keypoints(validation))]
    check_usable(config.data, config.generator.input_dim, plan, sets)
    return plan
