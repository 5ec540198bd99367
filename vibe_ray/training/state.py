"""The learner of VIBE: the generator, and the discriminator that it is trained against.

What is here is what a run carries from step to step; what a step does stands in `step.py`.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from vibe_ray import storage
from vibe_ray.body.joints import BodyJoints
from vibe_ray.body.model import BodyArrays, load_body
from vibe_ray.config import TrainConfig
from vibe_ray.data.batches import StepBatch
from vibe_ray.data.sequences import stored_pose_sequences
from vibe_ray.data.synthetic.draws import mixed_seed
from vibe_ray.evaluation.evaluator import Evaluator
from vibe_ray.evaluation.protocols import PROTOCOLS
from vibe_ray.features.keypoint_encoder import KeypointEncoder, inputs_of
from vibe_ray.features.with_keypoints import WithKeypoints
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
    load_weights,
)
from vibe_ray.training.initial import named_prior, start_generator, windows_encoder
from vibe_ray.training.learner import Progress, check_weights
from vibe_ray.training.meter import check_terms
from vibe_ray.training.optimizers import Descent, start_average, update_average
from vibe_ray.training.precision import set_float32_products
from vibe_ray.training.ranks import own_share
from vibe_ray.training.step import adversarial_step


@dataclass(kw_only=True)
class TrainState(Progress):
    """Networks, optimizers, schedules and counters of one rank; a `learner.Learner`.

    Raw and DDP-wrapped networks stand side by side: saving, evaluating and a discriminator that is
    only asked for its opinion use the raw ones, what is learned goes through the wrapped ones.
    """

    body: BodyArrays
    generator: Generator
    discriminator: MotionDiscriminator
    keypoints: BodyJoints
    descents: dict[str, Descent]
    """Optimizers and their schedules, of `generator` and `discriminator`."""
    average: Generator | None = None
    """Moving average of the generator, where the config asks for one."""
    prior: MotionPrior | None = None
    """What tells the generator which motions are likely, where the config names one."""
    frame_encoder: KeypointEncoder | WithKeypoints | None = None
    """What makes the features of windows that are captured as it learns; frozen."""
    synced_generator: nn.Module = field(init=False)
    synced_discriminator: nn.Module = field(init=False)

    def __post_init__(self) -> None:
        self.synced_generator = self.generator
        self.synced_discriminator = self.discriminator

    @classmethod
    def create(
        cls,
        config: TrainConfig,
        device: torch.device,
        rank: int = 0,
        *,
        is_resumed: bool = False,
    ) -> "TrainState":
        """Build everything from the config and its seed, the same on every rank.

        Args:
            config: Of the run.
            device: To which everything is moved.
            rank: Of this process.
            is_resumed: Whether a checkpoint will be loaded: initial weights, which may be gone by
                now, are not.

        Raises:
            FileNotFoundError: The body, initial weights, the motion prior's or the frame encoder is
                missing.
            ValueError: Initial weights do not fit, or settings that do not go together.
        """
        _check_windows(config)
        prior = named_prior(config)
        torch.manual_seed(config.seed)
        body = load_body(config.body)
        generator = Generator(config.generator, body)
        discriminator = MotionDiscriminator(config.discriminator)
        if not is_resumed:
            start_generator(generator, config)
        generator, discriminator = generator.to(device), discriminator.to(device)
        keypoints = BodyJoints.keypoints(body).to(device)
        set_float32_products(config.precision)
        optim = config.optim
        average = start_average(generator, optim.average_decay)
        if config.compile:
            for network in (generator, discriminator, keypoints):
                network.compile(dynamic=False)
        parts = generator.rate_parts(optim.regressor_lr_share, optim.frame_encoder_lr_share)
        whole = [(discriminator.parameters(), 1.0)]
        return cls(
            config=config,
            device=device,
            rank=rank,
            body=body,
            generator=generator,
            discriminator=discriminator,
            keypoints=keypoints,
            descents={
                "generator": Descent(
                    parts, optim.generator_lr, config, optim.generator_weight_decay
                ),
                "discriminator": Descent(
                    whole, optim.discriminator_lr, config, optim.discriminator_weight_decay
                ),
            },
            average=average,
            # In training mode, without which cuDNN gives no gradient of a GRU's inputs.
            prior=None if prior is None else prior.to(device).train(),
            frame_encoder=windows_encoder(config).to(device) if config.windows.motion else None,
        )

    def parallelize(self, wrap: Callable[[nn.Module], nn.Module]) -> None:
        """Wrap the networks for synchronized backward passes, e.g. by Ray's `prepare_model`."""
        self.synced_generator = wrap(self.generator)
        if self.config.is_adversarial:
            self.synced_discriminator = wrap(self.discriminator)

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
        return mixed_seed(self.config.seed, self.rank, self.step)

    def update(self, batch: StepBatch) -> dict[str, Tensor]:
        """Update both networks once and return every loss term; see `adversarial_step`."""
        return adversarial_step(self, self._with_features(batch))

    @torch.no_grad()
    def _with_features(self, batch: StepBatch) -> StepBatch:
        """Make the features of windows that were captured for this step, where there are any."""
        if batch.detections is None:
            return batch
        assert self.frame_encoder is not None, "the config says by what encoder"
        made = self.frame_encoder(inputs_of(batch.detections))
        stored = batch.pose.features[: -len(made)]
        features = torch.cat([stored, made]) if len(stored) else made
        return StepBatch(replace(batch.pose, features=features), batch.motion)

    def validate(self) -> dict[str, float]:
        """Evaluate the generator on the validation split, each rank on its share of sequences."""
        config = self.config
        protocol = PROTOCOLS[config.validation.protocol]
        evaluator = Evaluator(self.body, protocol, config.data.window_length, self.device)
        path = storage.join(config.data.root, config.data.validation)
        predict = self.best_generator.folded()
        for sequence in stored_pose_sequences(path, own_share(config.validation.max_sequences)):
            evaluator.add(predict, sequence)
        if dist.is_initialized():
            evaluator.all_reduce()
        return evaluator.result().metrics

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

    def end_step(self) -> None:
        """Descend the networks that have learned."""
        self.descents["generator"].step(self.generator, self.step)
        if self.discriminator_learns:
            self.descents["discriminator"].step(self.discriminator, self.step)
        self.step += 1
        update_average(self.average, self.generator, self.config.optim.average_decay, self.step)

    def check_finite(self) -> None:
        """Make sure that nothing has diverged; waits for the device, so not at every step.

        Raises:
            FloatingPointError: Names the loss term and its step, or the network. All ranks raise.
        """
        check_terms(self.meter)
        check_weights({"G": self.generator, "D": self.discriminator}, self.step)

    def schedule(self, metrics: Mapping[str, float]) -> None:
        """Let both learning rates follow an epoch's validation."""
        for descent in self.descents.values():
            descent.end_epoch(metrics[SCORE])

    def rates(self) -> dict[str, float]:
        """Return the learning rates by network."""
        return {name: descent.rates[0] for name, descent in self.descents.items()}

    def snapshot(self, manifest: dict[str, Any]) -> Snapshot:
        """Copy all that a checkpoint holds, which training then changes no more.

        Every rank calls it; what it returns is the same on all of them.
        """
        networks = {GENERATOR_FILE: self.best_generator.state_dict()}
        if self.config.is_adversarial:
            networks[DISCRIMINATOR_FILE] = self.discriminator.state_dict()
        trainer = {
            **self.progress(),
            **{f"{n}_optimizer": d.optimizer.state_dict() for n, d in self.descents.items()},
            "schedulers": [descent.schedule_state() for descent in self.descents.values()],
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
        self.load_progress(trainer)
        schedules = trainer["schedulers"]
        for (name, descent), schedule in zip(self.descents.items(), schedules, strict=True):
            descent.load(trainer[f"{name}_optimizer"], schedule)


def _check_windows(config: TrainConfig) -> None:
    """Compare the windows that a step takes with what learns from them."""
    data = config.data
    if not data.batch_size:
        raise ValueError("data.batch_size is 0, must be >= 1 for a generator")
    if config.is_adversarial and not data.motion_batch_size:
        raise ValueError(
            "data.motion_batch_size is 0, but the discriminator compares with captured motion: set "
            "it to 1 or more, or losses.adversarial to 0"
        )
