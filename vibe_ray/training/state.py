"""Networks, optimizers, schedules and counters of a run that trains the generator."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.lr_scheduler import ReduceLROnPlateau

from vibe_ray.body.joints import BodyJoints
from vibe_ray.body.model import BodyArrays, load_body
from vibe_ray.config import TrainConfig
from vibe_ray.models.generator import Generator
from vibe_ray.models.motion_discriminator import MotionDiscriminator
from vibe_ray.models.motion_prior import MotionPrior
from vibe_ray.runs.log import SCORE
from vibe_ray.runs.snapshots import (
    DISCRIMINATOR_FILE,
    GENERATOR_FILE,
    TRAINER_FILE,
    Snapshot,
    copied,
    load_regressor,
    load_weights,
    plain,
)
from vibe_ray.training.learner import check_weights, load_progress, save_progress
from vibe_ray.training.meter import Meter, check_terms
from vibe_ray.training.optimizers import (
    descend,
    discriminator_adam,
    generator_adam,
    start_average,
    update_average,
)
from vibe_ray.training.precision import products, set_float32_products


@dataclass
class TrainState:
    """Networks, optimizers, schedules and counters of one rank; a `learner.Learner`.

    Raw and DDP-wrapped networks stand side by side: saving, evaluating and a discriminator that is
    only asked for its opinion use the raw ones, what is learned goes through the wrapped ones.
    """

    config: TrainConfig
    device: torch.device
    rank: int
    body: BodyArrays
    generator: Generator
    discriminator: MotionDiscriminator
    keypoints: BodyJoints
    generator_optimizer: torch.optim.Optimizer
    discriminator_optimizer: torch.optim.Optimizer
    schedulers: list[ReduceLROnPlateau]
    average: Generator | None = None
    """Moving average of the generator, where the config asks for one."""
    prior: MotionPrior | None = None
    """What tells the generator which motions are likely, where the config names one."""
    synced_generator: nn.Module = field(init=False)
    synced_discriminator: nn.Module = field(init=False)
    step: int = 0
    meter: Meter = field(default_factory=dict)
    """Sums of this rank's metrics in the epoch so far; empty when an epoch has been reported."""
    history: list[dict[str, float]] = field(default_factory=list)
    """Metrics of every finished epoch. Part of the state, so that a run's log is a function of its
    checkpoint, whenever which process was killed."""

    def __post_init__(self) -> None:
        self.synced_generator = self.generator
        self.synced_discriminator = self.discriminator

    @classmethod
    def create(
        cls,
        config: TrainConfig,
        device: torch.device,
        rank: int = 0,
        prior: MotionPrior | None = None,
        *,
        is_resumed: bool = False,
    ) -> "TrainState":
        """Build everything from the config and its seed, the same on every rank.

        Args:
            config: Of the run.
            device: To which everything is moved.
            rank: Of this process.
            prior: Trained, and from now on frozen; needed where `losses.motion_prior` weighs it.
            is_resumed: Whether a checkpoint will be loaded: the initial regressor's, which may be
                gone by now, is not.

        Raises:
            FileNotFoundError: The body or the initial regressor's checkpoint is missing.
            ValueError: The initial regressor does not fit the configured one.
        """
        torch.manual_seed(config.seed)
        body = load_body(config.body)
        generator = Generator(config.generator)
        discriminator = MotionDiscriminator(config.discriminator)
        if config.initial_regressor != "scratch" and not is_resumed:
            load_regressor(generator, config.initial_regressor)
        generator, discriminator = generator.to(device), discriminator.to(device)
        keypoints = BodyJoints.keypoints(body).to(device)
        set_float32_products(config.precision)
        optim = config.optim
        average = start_average(generator) if optim.average_decay else None
        if config.compile:
            for network in (generator, discriminator, keypoints):
                network.compile(dynamic=False)
        optimizers = generator_adam(generator, optim), discriminator_adam(discriminator, optim)
        return cls(
            config=config,
            device=device,
            rank=rank,
            body=body,
            generator=generator,
            discriminator=discriminator,
            keypoints=keypoints,
            generator_optimizer=optimizers[0],
            discriminator_optimizer=optimizers[1],
            schedulers=[
                ReduceLROnPlateau(o, factor=optim.lr_factor, patience=optim.lr_patience)
                for o in optimizers
            ],
            average=average,
            # In training mode, without which cuDNN gives no gradient of a GRU's inputs.
            prior=None if prior is None else prior.to(device).requires_grad_(False).train(),
        )

    def parallelize(self, wrap: Callable[[nn.Module], nn.Module]) -> None:
        """Wrap the networks for synchronized backward passes, e.g. by Ray's `prepare_model`."""
        self.synced_generator = wrap(self.generator)
        if self.config.is_adversarial:
            self.synced_discriminator = wrap(self.discriminator)

    @property
    def epoch(self) -> int:
        """Finished epochs."""
        return self.step // self.config.steps_per_epoch

    @property
    def discriminator_learns(self) -> bool:
        """Whether this step updates the discriminator."""
        every = self.config.optim.discriminator_every
        return self.config.is_adversarial and self.step % every == 0

    @property
    def best_generator(self) -> Generator:
        """What is validated and used for inference: the average, where there is one."""
        return self.generator if self.average is None else self.average

    def dropout_seed(self) -> int:
        """Seed of this rank's random numbers at this step."""
        return ((self.config.seed * 1_000_003 + self.rank) * 1_000_003 + self.step) % 2**63

    def products(self) -> AbstractContextManager[object]:
        """Return the context in which the networks are called."""
        return products(self.config.precision, self.device)

    def zero_grad(self) -> None:
        """Forget both networks' gradients."""
        self.generator.zero_grad()
        self.discriminator.zero_grad()

    @contextmanager
    def sharing_gradients(self, share: bool) -> Iterator[None]:
        """Let backward passes share their gradients with the other ranks, or keep them for now."""
        with ExitStack() as stack:
            for network in (self.synced_generator, self.synced_discriminator):
                if isinstance(network, DistributedDataParallel) and not share:
                    stack.enter_context(network.no_sync())
            yield

    def update(self) -> None:
        """End a step: descend the networks that have learned."""
        optim = self.config.optim
        descend(self.generator, self.generator_optimizer, optim)
        if self.discriminator_learns:
            descend(self.discriminator, self.discriminator_optimizer, optim)
        self.step += 1
        if self.average is not None:
            update_average(self.average, self.generator, optim.average_decay, self.step)

    def check_finite(self) -> None:
        """Make sure that nothing has diverged; waits for the device, so not at every step.

        Raises:
            FloatingPointError: Names the loss term and its step, or the network. All ranks raise.
        """
        check_terms(self.meter)
        check_weights({"G": self.generator, "D": self.discriminator}, self.step)

    def schedule(self, metrics: Mapping[str, float]) -> None:
        """Let both learning rates follow an epoch's validation."""
        for scheduler in self.schedulers:
            scheduler.step(metrics[SCORE])

    def rates(self) -> dict[str, float]:
        """Return the learning rates by network."""
        return {
            "generator": self.generator_optimizer.param_groups[0]["lr"],
            "discriminator": self.discriminator_optimizer.param_groups[0]["lr"],
        }

    def snapshot(self, manifest: dict[str, Any]) -> Snapshot:
        """Copy all that a checkpoint holds, which training then changes no more.

        Every rank calls it; what it returns is the same on all of them.
        """
        networks = {GENERATOR_FILE: self.best_generator.state_dict()}
        if self.config.is_adversarial:
            networks[DISCRIMINATOR_FILE] = self.discriminator.state_dict()
        trainer = {
            **save_progress(self),
            "generator_optimizer": self.generator_optimizer.state_dict(),
            "discriminator_optimizer": self.discriminator_optimizer.state_dict(),
            "schedulers": [plain(scheduler.state_dict()) for scheduler in self.schedulers],
        }
        if self.average is not None:
            trainer["generator"] = self.generator.state_dict()
        return Snapshot(
            config=self.config,
            networks=copied(networks),
            trainer=copied(trainer),
            manifest=manifest,
        )

    def load(self, directory: Path) -> None:
        """Continue from a checkpoint of the same config, with any number of ranks."""
        self.best_generator.load_state_dict(load_weights(directory, GENERATOR_FILE))
        if self.config.is_adversarial:
            self.discriminator.load_state_dict(load_weights(directory, DISCRIMINATOR_FILE))
        trainer = torch.load(directory / TRAINER_FILE, weights_only=True, map_location="cpu")
        if self.average is not None:
            self.generator.load_state_dict(trainer["generator"])
        load_progress(self, trainer)
        self.generator_optimizer.load_state_dict(trainer["generator_optimizer"])
        self.discriminator_optimizer.load_state_dict(trainer["discriminator_optimizer"])
        for scheduler, values in zip(self.schedulers, trainer["schedulers"], strict=True):
            scheduler.load_state_dict(values)
