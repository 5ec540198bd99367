"""How the frame encoder learns: one update, and the state that it changes.

Encoder and per-frame regressor learn together from single synthetic frames, by VIBE's supervised
terms. Frames are made as they are needed: no batch comes twice, and each is a pure function of
(seed, step).

Shapes: B frames of a batch, F features, S = 157 estimated numbers, K = 49.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vibe_ray.body.joints import BodyJoints
from vibe_ray.body.model import BodyArrays
from vibe_ray.data.batches import PoseBatch
from vibe_ray.data.schema import MotionSequence
from vibe_ray.data.synthetic.captures import CaptureConfig, CapturedClips, capture
from vibe_ray.data.synthetic.detector import DETECTED
from vibe_ray.data.synthetic.frames import NOT_AUGMENTED, AugmentConfig, FramePool
from vibe_ray.evaluation.metrics import center_on_hips, mpjpe_mm, pa_mpjpe_mm
from vibe_ray.features.keypoint_encoder import (
    KeypointEncoder,
    KeypointEncoderConfig,
    encoder_inputs,
)
from vibe_ray.geometry.cameras import project_weak_perspective
from vibe_ray.geometry.rotations import rotmat_to_rot6d
from vibe_ray.losses.supervised import supervised_terms
from vibe_ray.losses.weights import LossWeights
from vibe_ray.models.generator import Generator, GeneratorConfig
from vibe_ray.models.smpl_regressor import SmplRegressor, SmplRegressorConfig
from vibe_ray.models.temporal_encoder import TemporalEncoderConfig
from vibe_ray.training.frame_identity import changes, identity_of

STATE_FILE = "state.pt"
FPS = 25.0


@dataclass(frozen=True, kw_only=True)
class FrameEncoderConfig:
    """Everything that decides what the training computes."""

    seed: int = 0
    num_steps: int = 14_000
    batch_size: int = 256
    lr: float = 5e-4
    regressor_lr_share: float = 0.2
    """The regressor's rate over the encoder's."""
    max_grad_norm: float = 10.0
    warmup_steps: int = 500
    final_lr_share: float = 0.01
    """The rate falls along a cosine to this share."""
    encoder: KeypointEncoderConfig = field(default_factory=KeypointEncoderConfig)
    regressor: SmplRegressorConfig = field(default_factory=lambda: SmplRegressorConfig(dropout=0.0))
    """Without dropout: no frame comes twice, so there is nothing to overfit but the motion."""
    losses: LossWeights = field(
        default_factory=lambda: LossWeights(
            kp_2d=60.0, kp_3d=300.0, pose=60.0, betas=0.06, adversarial=0.0
        )
    )
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    capture: CaptureConfig = field(default_factory=CaptureConfig)
    validate_every: int = 1000
    validation_frames: int = 4096
    checkpoint_s: float = 120.0
    """Seconds between checkpoints; they change no result."""

    def __post_init__(self) -> None:
        for name in ("num_steps", "batch_size", "validate_every", "validation_frames"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}, must be at least 1")
        if self.regressor.dropout != 0:
            raise ValueError(
                f"regressor.dropout is {self.regressor.dropout}: the frame encoder is trained "
                "through the folded regressor, which has none; set it to 0"
            )

    @property
    def generator(self) -> GeneratorConfig:
        """The frame baseline: no temporal encoder, the regressor on each frame's feature."""
        return GeneratorConfig(
            feature_dim=self.encoder.feature_dim,
            temporal_encoder=TemporalEncoderConfig(kind="none"),
            regressor=self.regressor,
        )

    @property
    def settings(self) -> dict[str, Any]:
        """The settings that change a number, sections as mappings."""
        return {name: value for name, value in asdict(self).items() if name != "checkpoint_s"}

    def lr_at(self, step: int) -> float:
        """Learning rate of a step: linear warm-up, then a cosine."""
        if step < self.warmup_steps:
            return self.lr * (step + 1) / self.warmup_steps
        done = (step - self.warmup_steps) / max(1, self.num_steps - self.warmup_steps)
        return self.lr * (
            self.final_lr_share
            + (1 - self.final_lr_share) * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))
        )


class FrameEncoderTraining:
    """The state of a run: networks, optimizer, step."""

    def __init__(
        self,
        config: FrameEncoderConfig,
        body: BodyArrays,
        train: Sequence[MotionSequence],
        validation: Sequence[MotionSequence],
    ) -> None:
        torch.manual_seed(config.seed)
        self.config = config
        self.step = 0
        self.pool = FramePool(train, FPS)
        self.keypoints = BodyJoints.keypoints(body)
        self.evaluation = BodyJoints.evaluation(body)
        self.encoder = KeypointEncoder(config.encoder)
        self.generator = Generator(config.generator)
        set_mean_pose(self.generator.regressor, self.pool)
        self.parameters = [*self.encoder.parameters(), *self.generator.parameters()]
        groups = [
            {"params": list(self.encoder.parameters()), "share": 1.0},
            {"params": list(self.generator.parameters()), "share": config.regressor_lr_share},
        ]
        self.optimizer = torch.optim.Adam(groups, lr=config.lr, fused=True)
        self.validation = self._held_out(validation)
        self.identity = identity_of(config.settings, {"training": train, "validation": validation})
        """What decides the numbers of this training, by name."""
        self.rows: list[dict[str, float]] = []
        """The log so far."""
        self._sums: dict[str, Tensor] = {}
        self._num_summed = 0

    def update(self) -> dict[str, Tensor]:
        """Synthesize one batch and descend on it; returns the unweighted loss terms, detached."""
        config = self.config
        generator = _generator(config.seed, self.step)
        clips = self._frames(self.pool, config.augment, config.batch_size, generator)
        params = self.generator.regressor(encode_frames(self.encoder, clips))
        kp_3d = self.keypoints(params.betas, params.rotmat)
        kp_2d = project_weak_perspective(kp_3d, params.cam)
        terms = {
            name: term.total / term.count.clamp(min=1)
            for name, term in supervised_terms(params, kp_3d, kp_2d, _targets(clips)).items()
        }
        total = torch.stack([getattr(config.losses, k) * v for k, v in terms.items()]).sum()
        for group in self.optimizer.param_groups:
            group["lr"] = group["share"] * config.lr_at(self.step)
        self.optimizer.zero_grad(set_to_none=True)
        total.backward()
        # Descended through the folded loop, the regressor's three factors multiply: without a
        # bound one bad batch sends them off for good.
        nn.utils.clip_grad_norm_(self.parameters, config.max_grad_norm)
        self.optimizer.step()
        self.step += 1
        found = {**terms, "total": total}
        for name, value in found.items():
            self._sums[name] = self._sums.get(name, 0.0) + value.detach().double()
        self._num_summed += 1
        return {name: value.detach() for name, value in found.items()}

    def validate(self) -> dict[str, float]:
        """Return the frame baseline's errors on the validation clips' frames."""
        return self._errors(self.validation)

    def end_row(self) -> dict[str, float]:
        """Add a row to the log: means of the loss terms since the last one, validation errors."""
        means = {name: float(value) / self._num_summed for name, value in self._sums.items()}
        row = {
            "step": self.step,
            "lr": self.config.lr_at(self.step - 1),
            **{f"train/{name}": value for name, value in means.items()},
            **{f"val/{name}": value for name, value in self.validate().items()},
        }
        self.rows.append(row)
        self._sums, self._num_summed = {}, 0
        return row

    def evaluate(self, motion: Sequence[MotionSequence]) -> dict[str, float]:
        """Return the frame baseline's errors on frames of other clips, captured alike."""
        return self._errors(self._held_out(motion))

    def save(self, directory: Path) -> None:
        """Write the state such that a kill at any moment leaves the old or the new one."""
        state = {
            "identity": self.identity,
            "step": self.step,
            "rows": self.rows,
            "sums": self._sums,
            "num_summed": self._num_summed,
            "encoder": self.encoder.state_dict(),
            "generator": self.generator.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }
        temporary = directory / f".{STATE_FILE}.tmp"
        torch.save(state, temporary)
        temporary.replace(directory / STATE_FILE)

    def resume(self, directory: Path) -> bool:
        """Continue from `save`; returns whether there was anything.

        Raises:
            ValueError: It is the state of a training with other settings or motion.
        """
        path = directory / STATE_FILE
        if not path.is_file():
            return False
        state = torch.load(path, weights_only=True)
        if changed := changes(state.get("identity", {}), self.identity):
            raise ValueError(
                f"{path} holds another training: {'; '.join(changed)}; give another --out, or "
                "continue it with what it was started with"
            )
        self.encoder.load_state_dict(state["encoder"])
        self.generator.load_state_dict(state["generator"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step, self.rows = state["step"], state["rows"]
        self._sums, self._num_summed = state["sums"], state["num_summed"]
        return True

    def _frames(
        self, pool: FramePool, augment: AugmentConfig, num: int, generator: torch.Generator
    ) -> CapturedClips:
        """Capture `num` clips of one frame each."""
        rotmat = pool.draw(num, augment, generator)[:, None]
        trans = torch.zeros(num, 1, 3)
        return capture(rotmat, trans, FPS, self.keypoints, self.config.capture, generator)

    def _held_out(self, motion: Sequence[MotionSequence]) -> CapturedClips:
        """Capture frames of clips as they are, always the same."""
        num, generator = self.config.validation_frames, _generator(self.config.seed, -1)
        return self._frames(FramePool(motion, FPS), NOT_AUGMENTED, num, generator)

    @torch.no_grad()
    def _errors(self, clips: CapturedClips) -> dict[str, float]:
        params = self.generator.regressor(encode_frames(self.encoder, clips))
        found = self.evaluation(params.betas, params.rotmat)
        true = self.evaluation(clips.betas[:, None], clips.rotmat)
        return joint_errors(found, true, clips.has_box)


def set_mean_pose(regressor: SmplRegressor, pool: FramePool) -> None:
    """Start the iteration at the motion's mean pose, upright and facing the camera."""
    mean = pool.rotmat.mean(dim=0)  # (J, 3, 3)
    mean[0] = torch.diag(torch.tensor([1.0, -1.0, -1.0]))  # half a turn about x: y is down
    regressor.init_pose.copy_(rotmat_to_rot6d(mean).flatten())


def joint_errors(found: Tensor, true: Tensor, valid: Tensor) -> dict[str, float]:
    """Return MPJPE (mid-hip at the origin) and PA-MPJPE over valid frames, millimeters.

    Args:
        found: Evaluation joints (..., 14, 3), metres.
        true: Likewise.
        valid: (...).
    """
    found, true = center_on_hips(found)[valid], center_on_hips(true)[valid]
    return {
        "mpjpe_mm": float(mpjpe_mm(found, true).mean()),
        "pa_mpjpe_mm": float(pa_mpjpe_mm(found, true).mean()),
    }


def _generator(seed: int, step: int) -> torch.Generator:
    return torch.Generator().manual_seed((seed * 1_000_003 + step + 1) % 2**63)


def encode_frames(encoder: KeypointEncoder, clips: CapturedClips) -> Tensor:
    """Return the features (C, N, F) of captured clips, with gradients."""
    inputs = encoder_inputs(
        DETECTED, clips.detected, clips.detected_conf, clips.box, clips.image_size[:, None]
    )
    features: Tensor = encoder(inputs)
    return features


def _targets(clips: CapturedClips) -> PoseBatch:
    frames = clips.has_box
    return PoseBatch(
        features=torch.empty(*frames.shape, 0),
        kp_2d=clips.kp_2d,
        kp_2d_conf=clips.kp_2d_conf[..., None].expand(clips.kp_2d.shape[:-1]),
        kp_3d=clips.kp_3d,
        has_kp_3d=frames,
        pose=clips.pose,
        betas=clips.betas[:, None].expand(*frames.shape, -1),
        has_smpl=frames,
    )
