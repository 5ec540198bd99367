"""The learner of the motion prior, and reading a trained one again.

A sequential prior is trained beside one that sees single frames and has as many weights, on the
same windows: what a prior gains by seeing motion is then one run's answer. Files of a checkpoint,
beside those that every checkpoint has (`snapshots.py`):

    prior.safetensors           the motion prior
    frame.safetensors           the one of single frames, for comparison

Shapes: B windows, T frames, J body joints (23).
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vibe_ray.body.joints import BodyJoints
from vibe_ray.body.model import load_body
from vibe_ray.body.params import pose_to_rotmat
from vibe_ray.body.skeletons import NUM_BETAS
from vibe_ray.config import TrainConfig
from vibe_ray.data.batches import StepBatch
from vibe_ray.data.sequences import read_motion_sequences
from vibe_ray.data.synthetic.draws import mixed_seed
from vibe_ray.losses.prior import PRIOR, Kept, Motion
from vibe_ray.models.motion_prior import MotionPrior, Reconstruction, frame_wise
from vibe_ray.runs.checkpoints import find_checkpoint
from vibe_ray.runs.integrity import opened
from vibe_ray.runs.log import PRIOR_SCORE
from vibe_ray.runs.snapshots import (
    PRIOR_FILE,
    TRAINER_FILE,
    Snapshot,
    copied,
    load_config,
    load_weights,
)
from vibe_ray.storage import join
from vibe_ray.training.learner import Progress, check_settings, check_weights
from vibe_ray.training.meter import check_terms
from vibe_ray.training.optimizers import Descent
from vibe_ray.training.precision import set_float32_products
from vibe_ray.training.ranks import (
    counts_over_ranks,
    descend_sum,
    own_share,
    rank_and_world_size,
    sum_over_ranks,
)

MM_PER_METER = 1000.0
WINDOWS, FRAME = "prior", "frame"
"""The prior itself, and the one of single frames."""
SCORES = {WINDOWS: PRIOR_SCORE, FRAME: "val/frame/reconstruction_mm"}
"""What each network's learning rate follows."""


@dataclass(kw_only=True)
class PriorState(Progress):
    """The priors with their optimizers, schedules and counters of one rank; a `learner.Learner`."""

    joints: BodyJoints
    networks: dict[str, MotionPrior]
    """The prior, and, where it is sequential, the one of single frames."""
    descents: dict[str, Descent]
    """Each one's optimizer and its schedule."""
    synced: dict[str, nn.Module] = field(init=False)

    def __post_init__(self) -> None:
        self.synced = dict(self.networks)

    @classmethod
    def create(
        cls, config: TrainConfig, device: torch.device, rank: int = 0, *, is_resumed: bool = False
    ) -> "PriorState":
        """Build everything from the config and its seed, the same on every rank.

        Args:
            config: Of the run.
            device: To which everything is moved.
            rank: Of this process.
            is_resumed: Of no meaning here: nothing is read that a checkpoint would replace.

        Raises:
            FileNotFoundError: The body is missing.
            ValueError: A setting that a motion prior's training knows nothing of.
        """
        _check_settings(config)
        set_float32_products(config.precision)
        kinds = {WINDOWS: config.prior}
        if config.prior.sequential:
            kinds[FRAME] = frame_wise(config.prior)
        torch.manual_seed(config.seed)
        networks = {name: MotionPrior(kind).to(device) for name, kind in kinds.items()}
        return cls(
            config=config,
            device=device,
            rank=rank,
            joints=BodyJoints.skeleton(load_body(config.body)).to(device),
            networks=networks,
            descents={
                name: Descent([(network.parameters(), 1.0)], config.optim.prior_lr, config)
                for name, network in networks.items()
            },
        )

    def parallelize(self, wrap: Callable[[nn.Module], nn.Module]) -> None:
        """Wrap the networks for synchronized backward passes."""
        self.synced = {name: wrap(network) for name, network in self.networks.items()}

    def update(self, batch: StepBatch) -> dict[str, Tensor]:
        """Update the priors once and return every loss term, detached, unweighted, on the device.

        Each returned value is this rank's share of the mean over all ranks' frames, and
        `train/prior/total` the weighted sum that was descended; those of single frames begin with
        `train/frame/`.
        """
        body = pose_to_rotmat(batch.motion.pose)[..., 1:, :, :]  # (B, T, J, 3, 3), without the root
        noise, motion = self.noise(), Motion(body, self.skeleton(body))
        counts, weights = counts_over_ranks(PRIOR, batch), vars(self.config.prior_losses)
        metrics: dict[str, Tensor] = {}
        for name, network in self.networks.items():
            network.zero_grad()
            with self.products():
                found: Reconstruction = self.synced[name](body, noise)
            posterior = found.posterior
            kept = Kept(found.rotmat, self.skeleton(found.rotmat), posterior.mean, posterior.std)
            shares = {loss.name: loss.share(counts, kept, motion) for loss in PRIOR}
            shares["total"] = descend_sum(weights[x.weight] * shares[x.name] for x in PRIOR)
            self.descents[name].step(network, self.step)
            metrics |= {f"train/{name}/{term}": share.detach() for term, share in shares.items()}
        self.step += 1
        return metrics

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """Measure what is lost of held-out motion, each rank on its share of the sequences.

        Windows of the config's length, one after the other; what is left at a sequence's end is not
        seen. Decoded is the posterior's mean. `reconstruction_mm` is the mean distance of SMPL's 24
        joints, the pelvis included, on a body of mean shape; `latent` the mean square of the
        latent's numbers, one if they were standard normal.

        Raises:
            ValueError: No held-out sequence is as long as a window.
        """
        data = self.config.data
        sums = {name: torch.zeros(3, dtype=torch.float64) for name in self.networks}
        for body in _held_out_windows(join(data.root, data.validation), data.window_length):
            body = body.to(self.device)
            target = self.skeleton(body)
            for name, network in self.networks.items():
                found: Reconstruction = network(body)
                distance = (self.skeleton(found.rotmat) - target).norm(dim=-1).mean(dim=(1, 2))
                latent = found.posterior.mean.square().mean(dim=(1, 2))
                row = torch.stack([distance * MM_PER_METER, latent, torch.ones_like(latent)])
                sums[name] += row.sum(dim=1).cpu().double()
        # NCCL reduces no tensor of another device.
        table = sum_over_ranks(torch.stack(list(sums.values())).to(self.device))
        if not table[0, 2]:
            raise ValueError(
                f"no sequence of {join(data.root, data.validation)} has {data.window_length} "
                "frames: set data.window_length lower"
            )
        means = (table[:, :2] / table[:, 2:]).tolist()
        return {
            metric if name == WINDOWS else f"{name}/{metric}": value
            for name, row in zip(sums, means, strict=True)
            for metric, value in zip(("reconstruction_mm", "latent"), row, strict=True)
        }

    def noise(self) -> Tensor:
        """Return this rank's share of the step's standard normal numbers (B, T, L).

        Drawn for all windows of the step and dealt as those are: N workers draw what one would.
        """
        made = torch.Generator().manual_seed(mixed_seed(self.config.seed, self.step))
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
        for name, descent in self.descents.items():
            descent.end_epoch(metrics[SCORES[name]])

    def rates(self) -> dict[str, float]:
        """Return the learning rates by network."""
        return {name: descent.rates[0] for name, descent in self.descents.items()}

    def snapshot(self, manifest: dict[str, Any]) -> Snapshot:
        """Copy all that a checkpoint holds; every rank calls it."""
        networks = {_file(name): network.state_dict() for name, network in self.networks.items()}
        trainer = {
            **self.progress(),
            "optimizers": {name: d.optimizer.state_dict() for name, d in self.descents.items()},
            "schedulers": {name: d.schedule_state() for name, d in self.descents.items()},
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
        self.load_progress(trainer)
        for name, network in self.networks.items():
            network.load_state_dict(load_weights(directory, _file(name)))
            self.descents[name].load(trainer["optimizers"][name], trainer["schedulers"][name])


def load_prior(directory: Path) -> MotionPrior:
    """Rebuild the motion prior of a checkpoint directory, in eval mode on the CPU.

    Raises:
        FileNotFoundError: It is none of a motion prior.
    """
    prior = MotionPrior(load_config(directory).prior)
    prior.load_state_dict(load_weights(directory, PRIOR_FILE))
    return prior.eval()


def find_prior(source: str) -> MotionPrior:
    """Load a trained motion prior, which learns no more.

    Args:
        source: A run's folder, a checkpoint, or `open`, the packaged one.

    Raises:
        FileNotFoundError: There is none.
    """
    try:
        with opened(find_checkpoint(source, packaged_name="motion_prior")) as directory:
            return load_prior(directory).requires_grad_(False)
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"motion_prior is {source!r}, which is no trained motion prior: {error}"
        ) from None


def _file(name: str) -> str:
    return f"{name}.safetensors"


def _check_settings(config: TrainConfig) -> None:
    given = {"optim.average_decay": config.optim.average_decay > 0}
    check_settings(config, "a motion prior", given)
    data = config.data
    if data.batch_size:
        raise ValueError(
            f"data.batch_size is {data.batch_size}, but a motion prior learns from motion "
            "alone: set it to 0"
        )
    if not data.motion_batch_size:
        raise ValueError("data.motion_batch_size is 0, must be >= 1 for a motion prior")


def _held_out_windows(path: str, length: int) -> Iterator[Tensor]:
    """Yield this rank's sequences, each as windows (B, T, J, 3, 3)."""
    for sequence in read_motion_sequences(path, own_share()):
        num_windows = len(sequence.pose) // length
        if num_windows:
            pose = torch.from_numpy(sequence.pose[: num_windows * length].copy())
            yield pose_to_rotmat(pose.view(num_windows, length, -1))[..., 1:, :, :]
