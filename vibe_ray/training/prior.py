"""Training the motion prior: its state, one update, and reading it again.

A sequential prior is trained beside one that sees single frames and has as many weights, on the
same windows: what a prior gains by seeing motion is then one run's answer. Files of a checkpoint,
beside those that every checkpoint has (`snapshots.py`):

    prior.safetensors           the motion prior
    frame.safetensors           the one of single frames, for comparison

Shapes: B windows, T frames, J body joints (23).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import ReduceLROnPlateau

from vibe_ray.body.joints import BodyJoints
from vibe_ray.body.model import load_body
from vibe_ray.body.params import pose_to_rotmat
from vibe_ray.body.skeletons import NUM_BETAS
from vibe_ray.config import TrainConfig
from vibe_ray.data.batches import StepBatch
from vibe_ray.losses.masked import MaskedTerm
from vibe_ray.losses.prior import joints_term, kl_term, rotation_term
from vibe_ray.models.motion_prior import MotionPrior, Reconstruction, frame_wise
from vibe_ray.runs.log import PRIOR_SCORE
from vibe_ray.runs.snapshots import (
    PRIOR_FILE,
    TRAINER_FILE,
    Snapshot,
    copied,
    load_config,
    load_weights,
    plain,
)
from vibe_ray.training.learner import check_weights, load_progress, save_progress
from vibe_ray.training.meter import Meter, check_terms, rank_and_world_size
from vibe_ray.training.optimizers import descend
from vibe_ray.training.precision import products, set_float32_products

PRIOR, FRAME = "prior", "frame"
SCORES = {PRIOR: PRIOR_SCORE, FRAME: "val/frame/reconstruction_mm"}
"""What each network's learning rate follows."""


@dataclass
class PriorState:
    """The priors with their optimizers, schedules and counters of one rank; a `learner.Learner`."""

    config: TrainConfig
    device: torch.device
    rank: int
    joints: BodyJoints
    networks: dict[str, MotionPrior]
    """The prior, and, where it is sequential, the one of single frames."""
    optimizers: dict[str, torch.optim.Optimizer]
    schedulers: dict[str, ReduceLROnPlateau]
    synced: dict[str, nn.Module] = field(init=False)
    step: int = 0
    meter: Meter = field(default_factory=dict)
    history: list[dict[str, float]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.synced = dict(self.networks)

    @classmethod
    def create(cls, config: TrainConfig, device: torch.device, rank: int = 0) -> "PriorState":
        """Build everything from the config and its seed, the same on every rank.

        Raises:
            FileNotFoundError: The body is missing.
            ValueError: A setting that a motion prior's training knows nothing of.
        """
        _check_settings(config)
        set_float32_products(config.precision)
        kinds = {PRIOR: config.prior}
        if config.prior.sequential:
            kinds[FRAME] = frame_wise(config.prior)
        torch.manual_seed(config.seed)
        networks = {name: MotionPrior(kind).to(device) for name, kind in kinds.items()}
        optim = config.optim
        optimizers: dict[str, torch.optim.Optimizer] = {
            name: torch.optim.Adam(network.parameters(), lr=optim.prior_lr, fused=True)
            for name, network in networks.items()
        }
        return cls(
            config=config,
            device=device,
            rank=rank,
            joints=BodyJoints.skeleton(load_body(config.body)).to(device),
            networks=networks,
            optimizers=optimizers,
            schedulers={
                name: ReduceLROnPlateau(o, factor=optim.lr_factor, patience=optim.lr_patience)
                for name, o in optimizers.items()
            },
        )

    @property
    def epoch(self) -> int:
        """Finished epochs."""
        return self.step // self.config.steps_per_epoch

    def parallelize(self, wrap: Callable[[nn.Module], nn.Module]) -> None:
        """Wrap the networks for synchronized backward passes."""
        self.synced = {name: wrap(network) for name, network in self.networks.items()}

    def noise(self) -> Tensor:
        """Return this rank's share of the step's standard normal numbers (B, T, L).

        Drawn for all windows of the step and dealt as those are: N workers draw what one would.
        """
        made = torch.Generator().manual_seed((self.config.seed * 1_000_003 + self.step) % 2**63)
        data = self.config.data
        size = data.motion_batch_size, data.window_length, self.config.prior.latent_dim
        rank, world_size = rank_and_world_size()
        return torch.randn(size, generator=made)[rank::world_size].to(self.device)

    def skeleton(self, body: Tensor) -> Tensor:
        """Return SMPL's 24 joints (B, T, 24, 3) of rotations (B, T, J, 3, 3), in meters.

        Of a body of mean shape whose root does not turn.
        """
        root = torch.eye(3, device=body.device).expand(*body.shape[:-3], 1, 3, 3)
        betas = body.new_zeros(*body.shape[:-3], NUM_BETAS)
        joints: Tensor = self.joints(betas, torch.cat([root, body], dim=-3))
        return joints

    def check_finite(self) -> None:
        """Make sure that nothing has diverged.

        Raises:
            FloatingPointError: Names the loss term and its step, or the network.
        """
        check_terms(self.meter)
        check_weights(self.networks, self.step)

    def schedule(self, metrics: Mapping[str, float]) -> None:
        """Let each learning rate follow its own network's validation."""
        for name, scheduler in self.schedulers.items():
            scheduler.step(metrics[SCORES[name]])

    def rates(self) -> dict[str, float]:
        """Return the learning rates by network."""
        return {name: o.param_groups[0]["lr"] for name, o in self.optimizers.items()}

    def snapshot(self, manifest: dict[str, Any]) -> Snapshot:
        """Copy all that a checkpoint holds; every rank calls it."""
        networks = {_file(name): network.state_dict() for name, network in self.networks.items()}
        trainer = {
            **save_progress(self),
            "optimizers": {name: o.state_dict() for name, o in self.optimizers.items()},
            "schedulers": {name: plain(s.state_dict()) for name, s in self.schedulers.items()},
        }
        return Snapshot(
            config=self.config,
            networks=copied(networks),
            trainer=copied(trainer),
            manifest=manifest,
        )

    def load(self, directory: Path) -> None:
        """Continue from a checkpoint of the same config, with any number of ranks."""
        trainer = torch.load(directory / TRAINER_FILE, weights_only=True, map_location="cpu")
        load_progress(self, trainer)
        for name, network in self.networks.items():
            network.load_state_dict(load_weights(directory, _file(name)))
            self.optimizers[name].load_state_dict(trainer["optimizers"][name])
            self.schedulers[name].load_state_dict(trainer["schedulers"][name])


def prior_step(state: PriorState, batch: StepBatch) -> dict[str, Tensor]:
    """Update the priors once and return every loss term, detached, unweighted, on the device.

    Each returned value is this rank's share of the mean over all ranks' frames, and
    `train/prior/total` the weighted sum that was descended; those of single frames begin with
    `train/frame/`.
    """
    body = pose_to_rotmat(batch.motion.pose)[..., 1:, :, :]  # (B, T, J, 3, 3), without the root
    noise, target = state.noise(), state.skeleton(body)
    data, world_size = state.config.data, rank_and_world_size()[1]
    num_frames = data.motion_batch_size * data.window_length
    weights = vars(state.config.prior_losses)
    metrics: dict[str, Tensor] = {}
    for name, network in state.networks.items():
        network.zero_grad()
        with products(state.config.precision, state.device):
            found: Reconstruction = state.synced[name](body, noise)
        terms = _terms(found, body, state.skeleton(found.rotmat), target)
        shares = {term: value.total / num_frames for term, value in terms.items()}
        total = torch.stack([weights[term] * share for term, share in shares.items()]).sum()
        # DDP averages gradients over the ranks; the world size undoes that.
        (world_size * total).backward()
        descend(network, state.optimizers[name], state.config.optim)
        shares["total"] = total
        metrics |= {f"train/{name}/{term}": share.detach() for term, share in shares.items()}
    state.step += 1
    return metrics


def load_prior(directory: Path) -> MotionPrior:
    """Rebuild the motion prior of a checkpoint directory, in eval mode on the CPU.

    Raises:
        FileNotFoundError: It is none of a motion prior.
    """
    prior = MotionPrior(load_config(directory).prior)
    prior.load_state_dict(load_weights(directory, PRIOR_FILE))
    return prior.eval()


def _file(name: str) -> str:
    return f"{name}.safetensors"


def _terms(
    found: Reconstruction, body: Tensor, joints: Tensor, target: Tensor
) -> dict[str, MaskedTerm]:
    """Return the terms by their names in `PriorWeights`."""
    return {
        "rotation": rotation_term(found.rotmat, body),
        "joints": joints_term(joints, target),
        "kl": kl_term(found.posterior.mean, found.posterior.std),
    }


def _check_settings(config: TrainConfig) -> None:
    optim = config.optim
    given = {
        "optim.accumulate": optim.accumulate > 1,
        "optim.average_decay": optim.average_decay > 0,
        "compile": config.compile,
    }
    unknown = [name for name, is_given in given.items() if is_given]
    if unknown:
        raise ValueError(f"a motion prior is trained without {', '.join(unknown)}: leave it out")
