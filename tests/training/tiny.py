"""Runs that take a second: small networks, random batches, data sets of noise."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.data.noise import F
from vibe_ray.body.joints import BodyJoints
from vibe_ray.body.model import load_body
from vibe_ray.config import TrainConfig
from vibe_ray.data.batches import Detections, MotionBatch, PoseBatch, StepBatch
from vibe_ray.features.keypoint_encoder import NUM_INPUTS
from vibe_ray.recipes import frame_encoder, motion_prior, smoke
from vibe_ray.settings import override
from vibe_ray.training.frame_encoder import FrameEncoderState
from vibe_ray.training.launch import Launch, RunResult
from vibe_ray.training.prior import PriorState
from vibe_ray.training.state import TrainState

State = TrainState | PriorState | FrameEncoderState
T = 5
NO_DROPOUT = {"generator.regressor.dropout": 0.0, "discriminator.attention_dropout": 0.0}
DROPOUT = {"generator.regressor.dropout": 0.5, "discriminator.attention_dropout": 0.2}


def launch(folder: Path, **changes: Any) -> Launch:
    """A run named `run` below a folder, in this process."""
    return Launch(**{"name": "run", "storage": str(folder), "workers": 0, **changes})


def rows(result: RunResult) -> list[dict[str, float]]:
    """A run's metrics, but those of the machine."""
    return [
        {name: value for name, value in row.items() if not name.startswith("system/")}
        for row in result.metrics
    ]


@contextmanager
def power_failing(kind: type[State], step: int) -> Iterator[None]:
    """Cut a run off: within, the step after so many fails, and with it the block."""
    update = kind.update

    def failing(state: State, batch: StepBatch) -> object:
        if state.step == step:
            raise InterruptedError("the power failed")
        return update(state, batch)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kind, "update", failing)
        with pytest.raises(InterruptedError):
            yield


def tiny(**changes: Any) -> TrainConfig:
    """The smoke recipe with networks of a few units; names of settings carry `__` for dots."""
    known = {
        "initial_regressor": "scratch",
        "device": "cpu",
        "epochs": 2,
        "steps_per_epoch": 3,
        "data.window_length": T,
        "data.batch_size": 6,
        "data.motion_batch_size": 5,
        "generator.feature_dim": F,
        "generator.temporal_encoder.gru.hidden_dim": 8,
        "generator.regressor.hidden_dim": 12,
        "discriminator.hidden_dim": 8,
        "validation.max_sequences": 2,
    }
    return override(smoke(), known | {name.replace("__", "."): v for name, v in changes.items()})


def tiny_prior(**changes: Any) -> TrainConfig:
    """The motion prior's recipe with networks of a few units; names as for `tiny`."""
    known = {
        "device": "cpu",
        "epochs": 2,
        "steps_per_epoch": 3,
        "data.window_length": T,
        "data.motion_batch_size": 5,
        "prior.hidden_dim": 6,
        "prior.latent_dim": 4,
    }
    changes = {name.replace("__", "."): value for name, value in changes.items()}
    return override(motion_prior(), known | changes)


def tiny_frames(**changes: Any) -> TrainConfig:
    """The frame encoder's recipe with networks of a few units; names as for `tiny`."""
    known = {
        "device": "cpu",
        "epochs": 2,
        "steps_per_epoch": 3,
        "frame_encoder.feature_dim": 12,
        "frame_encoder.hidden_dim": 8,
        "frame_encoder.num_blocks": 1,
        "generator.feature_dim": 12,
        "generator.regressor.hidden_dim": 8,
        "frames.batch_size": 7,
        "frames.validation_frames": 11,
        "optim.warmup_steps": 2,
    }
    changes = {name.replace("__", "."): value for name, value in changes.items()}
    return override(frame_encoder(), known | changes)


def tiny_frames_state(config: TrainConfig, rank: int = 0) -> FrameEncoderState:
    return FrameEncoderState.create(config, torch.device("cpu"), rank)


def tiny_prior_state(config: TrainConfig, rank: int = 0) -> PriorState:
    return PriorState.create(config, torch.device("cpu"), rank)


def tiny_state(config: TrainConfig, rank: int = 0) -> TrainState:
    return TrainState.create(config, torch.device("cpu"), rank)


def random_batch(num_2d: int, num_3d: int, num_motion: int, seed: int = 0) -> StepBatch:
    """2D windows first; of the 3D ones some frames lack 3D truth, and others SMPL truth."""
    made = torch.Generator().manual_seed(seed)

    def normal(*shape: int, scale: float = 1.0) -> Tensor:
        return scale * torch.randn(shape, generator=made)

    B = num_2d + num_3d
    is_3d = (torch.arange(B) >= num_2d)[:, None]
    return StepBatch(
        PoseBatch(
            features=normal(B, T, F),
            kp_2d=normal(B, T, 49, 2, scale=0.5),
            kp_2d_conf=torch.rand(B, T, 49, generator=made).sub(0.3).clamp(min=0),
            kp_3d=normal(B, T, 49, 3, scale=0.5),
            has_kp_3d=(is_3d & (torch.rand(B, T, generator=made) < 0.8)).float(),
            pose=normal(B, T, 72, scale=0.4),
            betas=normal(B, T, 10),
            has_smpl=(is_3d & (torch.rand(B, T, generator=made) < 0.6)).float(),
        ),
        MotionBatch(normal(num_motion, T, 72, scale=0.4)),
    )


def with_keypoints(batch: StepBatch, seed: int = 0) -> StepBatch:
    """The same, with key-points beside the features."""
    made = torch.Generator().manual_seed(seed)
    pose = batch.pose
    seen = torch.rand(*pose.features.shape[:2], NUM_INPUTS, generator=made)
    return replace(batch, pose=replace(pose, features=torch.cat([pose.features, seen], dim=-1)))


def in_precision(batch: StepBatch, dtype: torch.dtype) -> StepBatch:
    pose = PoseBatch(**{name: value.to(dtype) for name, value in vars(batch.pose).items()})
    seen = batch.detections
    if seen is not None:
        seen = Detections(**{name: value.to(dtype) for name, value in vars(seen).items()})
    return StepBatch(pose, MotionBatch(batch.motion.pose.to(dtype)), seen)


def to_precision(state: State, dtype: torch.dtype) -> None:
    """Have a state compute in a precision from now on, before its optimizers have moved."""
    modules = list(networks_of(state).values())
    if isinstance(state, FrameEncoderState):
        state.keypoints = BodyJoints.keypoints(load_body(state.config.body), dtype)
        modules += [state.best_network]
    elif isinstance(state, PriorState):
        modules += [state.joints]
    else:
        modules += [state.keypoints, state.best_generator]
        modules += [state.prior] if state.prior is not None else []
    for module in modules:
        module.to(dtype)


def share_of(batch: StepBatch, rank: int, num_ranks: int) -> StepBatch:
    """Deal a batch's windows in turn, as `StepPlan.share` does."""
    pose = {name: value[rank::num_ranks] for name, value in vars(batch.pose).items()}
    return StepBatch(PoseBatch(**pose), MotionBatch(batch.motion.pose[rank::num_ranks]))


def networks_of(state: State) -> dict[str, nn.Module]:
    """What learns."""
    if isinstance(state, FrameEncoderState):
        return {"frame": state.network}
    if isinstance(state, PriorState):
        return dict(state.networks)
    return {"generator": state.generator, "discriminator": state.discriminator}


def weights_of(state: State) -> dict[str, Tensor]:
    """All weights of all networks, copied."""
    return {
        f"{network}.{name}": value.detach().clone()
        for network, module in networks_of(state).items()
        for name, value in module.state_dict().items()
    }


def gradients_of(state: State) -> dict[str, Tensor]:
    """What the last step descended, by network and name."""
    return {
        f"{network}.{name}": value.grad.clone()
        for network, module in networks_of(state).items()
        for name, value in module.named_parameters()
        if value.grad is not None
    }


def largest_difference(a: dict[str, Tensor], b: dict[str, Tensor]) -> float:
    assert a.keys() == b.keys()
    return max(float((a[name] - b[name]).abs().max()) for name in a)
