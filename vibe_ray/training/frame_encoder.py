"""The learner of the open frame encoder, and of the frame baseline that comes with it.

Encoder and per-frame regressor learn together from single synthetic frames, by VIBE's supervised
terms. Then the encoder is frozen, as SPIN's is in the paper; encoder and regressor together are the
frame baseline that VIBE has to beat. Frames are captured anew for every step by
`data/synthetic/frames.py`: no batch comes twice. Files of a checkpoint, beside those that every
checkpoint has (`snapshots.py`):

    encoder.safetensors         the frame encoder
    generator.safetensors       the frame baseline: a generator without a temporal encoder

Both are moving averages where the config asks for them (`optim.average_decay`); what is trained is
then in `trainer.pt`.

Shapes: B frames, as windows of T = 1 frame, J = 24, K = 49.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vibe_ray.body.joints import BodyJoints
from vibe_ray.body.model import load_body
from vibe_ray.body.params import SmplParams
from vibe_ray.config import TrainConfig
from vibe_ray.data.batches import Detections, StepBatch
from vibe_ray.data.synthetic.frames import FrameSource, frame_plan, held_out_frames
from vibe_ray.evaluation.metrics import center_on_hips, mpjpe_mm, pa_mpjpe_mm
from vibe_ray.features.keypoint_encoder import KeypointEncoder, inputs_of
from vibe_ray.losses.supervised import SUPERVISED, supervised_shares
from vibe_ray.models.generator import Generator
from vibe_ray.runs.log import SCORE
from vibe_ray.runs.snapshots import (
    ENCODER_FILE,
    GENERATOR_FILE,
    TRAINER_FILE,
    Snapshot,
    copied,
    load_weights,
)
from vibe_ray.training.initial import load_frame_baseline, set_mean_pose
from vibe_ray.training.learner import Progress, check_settings, check_weights
from vibe_ray.training.meter import check_terms
from vibe_ray.training.optimizers import Descent, start_average, update_average
from vibe_ray.training.precision import set_float32_products
from vibe_ray.training.ranks import counts_over_ranks, descend_sum, own_share, sum_over_ranks


class FrameNetwork(nn.Module):
    """From what a detector saw of a frame to a body: frame encoder and frame baseline in one."""

    def __init__(self, encoder: KeypointEncoder, generator: Generator) -> None:
        super().__init__()
        self.encoder = encoder
        self.generator = generator

    def forward(self, seen: Detections) -> SmplParams:
        """Estimate SMPL parameters (B, T, ...) of what was detected (B, T, ...)."""
        return self.generator(self.encoder(inputs_of(seen)))


@dataclass(kw_only=True)
class FrameEncoderState(Progress):
    """Both networks with optimizer, schedule and counters of one rank; a `learner.Learner`."""

    network: FrameNetwork
    keypoints: BodyJoints
    evaluation: BodyJoints
    """The 14 joints by which errors are measured."""
    descent: Descent
    average: FrameNetwork | None = None
    """Moving average of the network, where the config asks for one."""
    started_from: str = ""
    """Id of the encoder from whose weights, and whose baseline's, training started."""
    synced: nn.Module = field(init=False)

    def __post_init__(self) -> None:
        self.synced = self.network

    @classmethod
    def create(
        cls, config: TrainConfig, device: torch.device, rank: int = 0, *, is_resumed: bool = False
    ) -> "FrameEncoderState":
        """Build everything from the config and its seed, the same on every rank.

        Args:
            config: Of the run.
            device: To which everything is moved.
            rank: Of this process.
            is_resumed: Whether a checkpoint will be loaded: then neither the motion, at whose mean
                pose the baseline's estimate starts, nor initial weights are read for it.

        Raises:
            FileNotFoundError: The body, the motion or the initial weights are missing.
            ValueError: Settings that this training knows nothing of, or that do not go together.
        """
        _check_settings(config)
        set_float32_products(config.precision)
        torch.manual_seed(config.seed)
        encoder = KeypointEncoder(config.frame_encoder)
        generator = Generator(config.generator)
        started_from = ""
        if not is_resumed and config.initial_frame_encoder != "scratch":
            started_from = load_frame_baseline(encoder, generator, config.initial_frame_encoder)
        elif not is_resumed:
            plan = frame_plan(config.data, config.frames, config.body, config.seed)
            assert isinstance(plan.captured, FrameSource)
            set_mean_pose(generator.regressor, plan.captured.pool())
        if config.generator.regressor.start == "one_layer":
            generator.regressor.fix_behind_fc1()
        network = FrameNetwork(encoder, generator).to(device)
        optim, body = config.optim, load_body(config.body)
        parts = [
            (encoder.parameters(), 1.0),
            (generator.parameters(), optim.regressor_lr_share),
        ]
        return cls(
            config=config,
            device=device,
            rank=rank,
            network=network,
            keypoints=BodyJoints.keypoints(body).to(device),
            evaluation=BodyJoints.evaluation(body).to(device),
            descent=Descent(parts, optim.frame_encoder_lr, config),
            average=start_average(network, optim.average_decay),
            started_from=started_from,
        )

    @property
    def best_network(self) -> FrameNetwork:
        """What is validated and exported: the average, where there is one."""
        return self.network if self.average is None else self.average

    def parallelize(self, wrap: Callable[[nn.Module], nn.Module]) -> None:
        """Wrap the networks, as one, for synchronized backward passes."""
        self.synced = wrap(self.network)

    def update(self, batch: StepBatch) -> dict[str, Tensor]:
        """Update both networks once and return every loss term, detached and unweighted.

        Each returned value is this rank's share of the mean over all ranks' frames, and
        `train/generator/total` the weighted sum that was descended.
        """
        assert batch.detections is not None, "a frame encoder learns from captured frames"
        losses = SUPERVISED[self.config.losses.norm]
        counts = counts_over_ranks(losses, batch)
        self.network.zero_grad()
        with self.products():
            params: SmplParams = self.synced(batch.detections)
        kp_3d = self.keypoints(params.betas, params.rotmat)
        shares = supervised_shares(losses, counts, params, kp_3d, batch.pose)
        weights = vars(self.config.losses)
        total = descend_sum(weights[loss.weight] * shares[loss.name] for loss in losses)
        # The regressor's factors multiply when its loop is descended folded: without a bound of the
        # gradient, `optim.gradient_clip`, one bad batch sends them off for good.
        self.descent.step(self.network, self.step)
        self.step += 1
        update_average(self.average, self.network, self.config.optim.average_decay, self.step)
        shares["generator/total"] = total
        return {f"train/{name}": share.detach() for name, share in shares.items()}

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """Return the frame baseline's errors on captured frames of held-out motion.

        MPJPE (mid-hip at the origin) and PA-MPJPE, of the frames that show anybody; each rank makes
        all frames and estimates its share of them.
        """
        config = self.config
        every = held_out_frames(config.data, config.frames, config.body, config.seed)
        own = every.part(own_share()).to(self.device)
        image_size = own.image_size[:, None]
        params = self.best_network(Detections(own.detected, own.detected_conf, own.box, image_size))
        found = self.evaluation(params.betas, params.rotmat)
        true = self.evaluation(own.betas[:, None], own.rotmat)
        errors = joint_errors(found, true)  # (2, own frames, 1)
        table = errors.new_zeros(2, *every.has_box.shape)  # every frame in its place, on any rank
        table[:, own_share()] = errors
        means = sum_over_ranks(table)[:, every.has_box.to(self.device)].mean(dim=1).tolist()
        return dict(zip(("mpjpe_mm", "pa_mpjpe_mm"), means, strict=True))

    def check_finite(self) -> None:
        """Make sure that nothing has diverged.

        Raises:
            FloatingPointError: Names the loss term and its step, or the network.
        """
        check_terms(self.meter)
        networks = {"frame encoder": self.network.encoder, "regressor": self.network.generator}
        check_weights(networks, self.step)

    def schedule(self, metrics: Mapping[str, float]) -> None:
        """Let the learning rates follow validation, where the schedule does."""
        self.descent.end_epoch(metrics[SCORE])

    def rates(self) -> dict[str, float]:
        """Return the learning rates by network."""
        return dict(zip(("frame_encoder", "regressor"), self.descent.rates, strict=True))

    def snapshot(self, manifest: dict[str, Any]) -> Snapshot:
        """Copy all that a checkpoint holds; every rank calls it."""
        best = self.best_network
        networks = {
            ENCODER_FILE: best.encoder.state_dict(),
            GENERATOR_FILE: best.generator.state_dict(),
        }
        trainer = {
            **self.progress(),
            "optimizer": self.descent.optimizer.state_dict(),
            "schedule": self.descent.schedule_state(),
            "started_from": self.started_from,
        }
        if self.average is not None:
            trainer["network"] = self.network.state_dict()
        return Snapshot(
            config=self.config,
            networks=copied(networks),
            trainer=copied(trainer),
            manifest={"started_from": self.started_from, **manifest},
        )

    def load(self, directory: Path) -> None:
        """Continue from a checkpoint of the same config, with any number of ranks."""
        best = self.best_network
        best.encoder.load_state_dict(load_weights(directory, ENCODER_FILE))
        best.generator.load_state_dict(load_weights(directory, GENERATOR_FILE))
        trainer = torch.load(directory / TRAINER_FILE, weights_only=True, map_location="cpu")
        if self.average is not None:
            self.network.load_state_dict(trainer["network"])
        self.started_from = trainer["started_from"]
        self.load_progress(trainer)
        self.descent.load(trainer["optimizer"], trainer["schedule"])


def joint_errors(found: Tensor, true: Tensor) -> Tensor:
    """Return MPJPE (mid-hip at the origin) and PA-MPJPE (2, ...) of every frame, millimeters.

    Args:
        found: Evaluation joints (..., 14, 3), meters.
        true: Likewise.
    """
    found, true = center_on_hips(found), center_on_hips(true)
    return torch.stack([mpjpe_mm(found, true), pa_mpjpe_mm(found, true)])


def _check_settings(config: TrainConfig) -> None:
    """Refuse settings that this training would not follow.

    It descends the regressor's folded loop, which has no dropout; no frame comes twice, so there is
    nothing to overfit but the motion.
    """
    generator = config.generator
    given = {
        "generator.regressor.dropout": generator.regressor.dropout > 0,
        "generator.temporal_encoder.kind": generator.temporal_encoder.kind != "none",
        "generator.keypoint_dim": generator.keypoint_dim > 0,
        "generator.feedback": generator.feedback,
        "generator.one_shape": generator.one_shape,
        "generator.learns_features": generator.learns_features,
        "optim.frame_encoder_lr_share": config.optim.frame_encoder_lr_share != 1,
        "losses.adversarial": config.is_adversarial,
        "losses.motion_prior": config.losses.motion_prior > 0,
        "initial_regressor": config.initial_regressor != "scratch",
    }
    check_settings(config, "a frame encoder", given)
    width = config.frame_encoder.feature_dim
    if width != generator.feature_dim:
        raise ValueError(
            f"frame_encoder.feature_dim is {width} and generator.feature_dim "
            f"{generator.feature_dim}: set both to one width"
        )
