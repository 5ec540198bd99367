"""Which learner, which update and which validation does a config's task mean?"""

import torch
from torch import Tensor

from vibe_ray import storage
from vibe_ray.config import TrainConfig
from vibe_ray.data.batches import StepBatch
from vibe_ray.models.motion_prior import MotionPrior
from vibe_ray.runs.checkpoints import find_checkpoint
from vibe_ray.training.learner import Learner
from vibe_ray.training.prior import PriorState, load_prior, prior_step
from vibe_ray.training.state import TrainState
from vibe_ray.training.step import adversarial_step
from vibe_ray.training.validation import validate_generator, validate_prior


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
        FileNotFoundError: A body, initial weights or a motion prior that are not there.
        ValueError: They do not fit, or settings that do not go together.
    """
    _check_windows(config)
    if config.task == "motion_prior":
        return PriorState.create(config, device, rank)
    prior = _trained_prior(config)
    return TrainState.create(config, device, rank, prior, is_resumed=is_resumed)


def learn(learner: Learner, batch: StepBatch) -> dict[str, Tensor]:
    """Update once, and return every loss term: this rank's share of the mean over all ranks."""
    match learner:
        case TrainState():
            return adversarial_step(learner, batch)
        case PriorState():
            return prior_step(learner, batch)
    raise TypeError(f"no update is known of a {type(learner).__name__}")


def validate(learner: Learner) -> dict[str, float]:
    """Measure on the validation split, each rank on its share of the sequences."""
    match learner:
        case TrainState():
            return validate_generator(learner)
        case PriorState():
            return validate_prior(learner)
    raise TypeError(f"no validation is known of a {type(learner).__name__}")


def _check_windows(config: TrainConfig) -> None:
    """Compare the windows that a step takes with what learns from them."""
    data = config.data
    if config.task == "motion_prior":
        if data.batch_size:
            raise ValueError(
                f"data.batch_size is {data.batch_size}, but a motion prior learns from motion "
                "alone: set it to 0"
            )
        if not data.motion_batch_size:
            raise ValueError("data.motion_batch_size is 0, must be >= 1 for a motion prior")
        return
    if not data.batch_size:
        raise ValueError("data.batch_size is 0, must be >= 1 for a generator")
    if config.is_adversarial and not data.motion_batch_size:
        raise ValueError(
            "data.motion_batch_size is 0, but the discriminator compares with captured motion: set "
            "it to 1 or more, or losses.adversarial to 0"
        )


def _trained_prior(config: TrainConfig) -> MotionPrior | None:
    if not config.losses.motion_prior:
        return None
    if not config.motion_prior:
        raise ValueError(
            f"losses.motion_prior is {config.losses.motion_prior}, but no prior is named: set "
            "motion_prior=open for the packaged one, or train one with `python -m vibe_ray.train "
            "--recipe motion_prior` and set motion_prior=runs/motion_prior"
        )
    try:
        path = find_checkpoint(config.motion_prior, packaged_name="motion_prior")
        with storage.local_copy(path) as directory:
            return load_prior(directory)
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"motion_prior is {config.motion_prior!r}, which is no trained motion prior: {error}"
        ) from None
