"""What two processes do together, for tests to look at afterwards; here so that both can import it.

A test module cannot be imported by a spawned process under its own name.
"""

from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from tests.training.tiny import (
    DROPOUT,
    NO_DROPOUT,
    gradients_of,
    in_precision,
    random_batch,
    share_of,
    tiny,
    tiny_frames,
    tiny_frames_state,
    tiny_prior,
    tiny_prior_state,
    tiny_state,
    to_precision,
    weights_of,
)
from vibe_ray.config import TrainConfig
from vibe_ray.data.batches import local_step_batches
from vibe_ray.training.frame_encoder import FrameEncoderState
from vibe_ray.training.meter import accumulate, reduce_means
from vibe_ray.training.prior import PriorState
from vibe_ray.training.step import adversarial_step
from vibe_ray.training.tasks import make_step_plan

Outcome = dict[str, Any]

NUM_RANKS = 2
PARITY_STEPS = 4
"""Enough for the discriminator to be updated twice where it is so every other step, and for both of
Adam's averages to have a past."""
FRAME_STEPS = 6
"""The whole of the tiny frame encoder's run, along its cosine."""
SHAPES = {"even": (6, 4, 8), "uneven": (5, 4, 7), "no 2D": (0, 5, 3), "no 3D": (5, 0, 3)}
"""2D, 3D and motion windows of a global batch."""


VARIANTS: dict[str, dict[str, Any]] = {
    "separate passes": {"optim.one_pass": False},
    "D every other step": {"optim.discriminator_every": 2},
    "micro-batches": {"optim.accumulate": 2},
    "clipped": {"optim.gradient_clip": 0.5, "optim.average_decay": 0.9},
    "tcmr": {"generator.temporal_encoder.kind": "tcmr"},
    "transformer": {
        "generator.temporal_encoder.kind": "transformer",
        "generator.temporal_encoder.transformer.dropout": 0.0,
    },
    "6D and root": {"discriminator.pose": "rot6d", "discriminator.root_motion": True},
    "bounded D": {"discriminator.spectral_norm": True},
    "bounded D, separate passes": {"discriminator.spectral_norm": True, "optim.one_pass": False},
}
"""Settings under which two workers must compute what one would, too; at the uneven shape."""
PRIORS: dict[str, dict[str, Any]] = {
    "two priors": {},
    "one prior, clipped": {"prior.sequential": False, "optim.gradient_clip": 0.1},
}
"""Settings under which two workers must train the motion prior that one would."""


PARITY = [*SHAPES, *VARIANTS]


def parity_case(name: str) -> tuple[TrainConfig, tuple[int, int, int]]:
    """Config and shape of a name in `PARITY`."""
    config = tiny(**NO_DROPOUT, **VARIANTS.get(name, {}))
    return config, SHAPES.get(name, SHAPES["uneven"])


def run_steps(
    config: TrainConfig,
    shape: tuple[int, int, int],
    num_steps: int,
    rank: int,
    num_ranks: int,
    dtype: torch.dtype = torch.float64,
) -> dict[str, Any]:
    """Train on this rank's shares and return weights, every step's metrics and their means.

    In float64, since Adam makes a whole step of any gradient: one that is zero but for rounding
    goes another way on another processor, or dealt to another number of ranks.
    """
    state = tiny_state(config, rank)
    to_precision(state, dtype)
    if num_ranks > 1:
        state.parallelize(DistributedDataParallel)
    history: list[dict[str, Tensor]] = []
    for step in range(num_steps):
        batch = share_of(random_batch(*shape, seed=step), rank, num_ranks)
        history.append(adversarial_step(state, in_precision(batch, dtype)))
        accumulate(state.meter, history[-1], step)
    return {"weights": weights_of(state), "history": history, "means": reduce_means(state.meter)}


def first_gradients(
    config: TrainConfig,
    shape: tuple[int, int, int],
    dtype: torch.dtype,
    rank: int = 0,
    num_ranks: int = 1,
) -> dict[str, Tensor]:
    """Take one step on this rank's share and return the gradients that were descended."""
    state = tiny_state(config, rank)
    to_precision(state, dtype)
    if num_ranks > 1:
        state.parallelize(DistributedDataParallel)
    adversarial_step(state, in_precision(share_of(random_batch(*shape), rank, num_ranks), dtype))
    return gradients_of(state)


def run_prior(config: TrainConfig, num_steps: int, rank: int, num_ranks: int) -> dict[str, Any]:
    """Train motion priors on this rank's shares; validate, and return weights, metrics, noise."""
    state = tiny_prior_state(config, rank)
    to_precision(state, torch.float64)
    if num_ranks > 1:
        state.parallelize(DistributedDataParallel)
    history, noise = [], []
    for step in range(num_steps):
        noise.append(state.noise())
        batch = random_batch(0, 0, config.data.motion_batch_size, seed=step)
        batch = in_precision(share_of(batch, rank, num_ranks), torch.float64)
        history.append(state.update(batch))
    return ended(state, history=history, noise=noise)


def run_frames(motion: str, rank: int, num_ranks: int) -> dict[str, Any]:
    """Train a frame encoder on this rank's shares; validate, return weights, gradients, metrics."""
    config = tiny_frames(data__root=motion)
    state = tiny_frames_state(config, rank)
    to_precision(state, torch.float64)
    if num_ranks > 1:
        state.parallelize(DistributedDataParallel)
    history, gradients = [], []
    for batch in local_step_batches(make_step_plan(config), 0, FRAME_STEPS, rank, num_ranks):
        history.append(state.update(in_precision(batch.to(state.device), torch.float64)))
        gradients.append(gradients_of(state))
    return ended(state, history=history, gradients=gradients)


def ended(state: PriorState | FrameEncoderState, **seen: Any) -> dict[str, Any]:
    """Add to what was seen of a training the weights it ends with, and validate in float32."""
    weights = weights_of(state)
    to_precision(state, torch.float32)
    return {"weights": weights, **seen, "validation": state.validate()}


def nan_on_the_last_rank(rank: int) -> str:
    meter: dict[str, Tensor] = {}
    for step in range(3):
        bad = rank == NUM_RANKS - 1 and step == 1
        value = torch.tensor(float("nan") if bad else 1.0)
        accumulate(meter, {"a": torch.tensor(1.0), "b": value}, 40 + step)
    try:
        reduce_means(meter)
    except FloatingPointError as error:
        return str(error)
    return "no error"


def work(rank: int, folder: Path, data: str, motion: str) -> None:
    """Body of each of the processes: everything that is to be seen, since they start slowly."""
    torch.set_num_threads(1)
    store = f"file://{folder / 'rendezvous'}"
    dist.init_process_group("gloo", init_method=store, rank=rank, world_size=NUM_RANKS)
    outcome: Outcome = {}
    for name in PARITY:
        case = parity_case(name)
        outcome[name] = run_steps(*case, PARITY_STEPS, rank, NUM_RANKS)
        gradients = first_gradients(*case, torch.float32, rank, NUM_RANKS)
        outcome[name]["gradients in float32"] = gradients
    replicas = tiny(**DROPOUT), SHAPES["uneven"], 10, rank, NUM_RANKS, torch.float32
    outcome["replicas"] = run_steps(*replicas)
    outcome["nan"] = nan_on_the_last_rank(rank)
    outcome["validation"] = tiny_state(tiny(data__root=data), rank).validate()
    for name, changes in PRIORS.items():
        config = tiny_prior(data__root=motion, **changes)
        outcome[name] = run_prior(config, PARITY_STEPS, rank, NUM_RANKS)
    outcome["frames"] = run_frames(motion, rank, NUM_RANKS)
    torch.save(outcome, folder / f"rank_{rank}.pt")
    dist.destroy_process_group()
