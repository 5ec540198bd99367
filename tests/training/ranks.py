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
    random_batch,
    share_of,
    tiny,
    tiny_prior,
    tiny_prior_state,
    tiny_state,
    weights_of,
)
from vibe_ray.config import TrainConfig
from vibe_ray.training.meter import accumulate, reduce_means
from vibe_ray.training.prior import prior_step
from vibe_ray.training.step import adversarial_step
from vibe_ray.training.tasks import validate

Outcome = dict[str, Any]

NUM_RANKS = 2
PARITY_STEPS = 10
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


def parity_config(**changes: Any) -> TrainConfig:
    return tiny(**NO_DROPOUT, **changes)


def run_steps(
    config: TrainConfig, shape: tuple[int, int, int], num_steps: int, rank: int, num_ranks: int
) -> dict[str, Any]:
    """Train on this rank's shares and return weights, every step's metrics and their means."""
    state = tiny_state(config, rank)
    if num_ranks > 1:
        state.parallelize(DistributedDataParallel)
    history: list[dict[str, Tensor]] = []
    for step in range(num_steps):
        batch = share_of(random_batch(*shape, seed=step), rank, num_ranks)
        history.append(adversarial_step(state, batch))
        accumulate(state.meter, history[-1], step)
    return {"weights": weights_of(state), "history": history, "means": reduce_means(state.meter)}


def run_prior(config: TrainConfig, num_steps: int, rank: int, num_ranks: int) -> dict[str, Any]:
    """Train motion priors on this rank's shares; validate, and return weights, metrics, noise."""
    state = tiny_prior_state(config, rank)
    if num_ranks > 1:
        state.parallelize(DistributedDataParallel)
    history, noise = [], []
    for step in range(num_steps):
        noise.append(state.noise())
        batch = random_batch(0, 0, config.data.motion_batch_size, seed=step)
        history.append(prior_step(state, share_of(batch, rank, num_ranks)))
    return {
        "weights": weights_of(state),
        "history": history,
        "noise": noise,
        "validation": validate(state),
    }


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
    parity = parity_config()
    outcome: Outcome = {
        name: run_steps(parity, shape, PARITY_STEPS, rank, NUM_RANKS)
        for name, shape in SHAPES.items()
    }
    for name, changes in VARIANTS.items():
        config = parity_config(**changes)
        outcome[name] = run_steps(config, SHAPES["uneven"], PARITY_STEPS, rank, NUM_RANKS)
    outcome["replicas"] = run_steps(tiny(**DROPOUT), SHAPES["uneven"], 30, rank, NUM_RANKS)
    outcome["nan"] = nan_on_the_last_rank(rank)
    outcome["validation"] = validate(tiny_state(tiny(data__root=data), rank))
    for name, changes in PRIORS.items():
        config = tiny_prior(data__root=motion, **changes)
        outcome[name] = run_prior(config, PARITY_STEPS, rank, NUM_RANKS)
    torch.save(outcome, folder / f"rank_{rank}.pt")
    dist.destroy_process_group()
