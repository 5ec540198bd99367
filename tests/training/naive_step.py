"""One update of both networks as the paper and its released code have it, written a second time.

Three passes of the discriminator, boolean masks, means over what the masks keep, plain Adam, bodies
by their whole mesh. Networks are `tests/models/naive_vibe.py`'s loops. No dropout.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from tests.models import naive_vibe
from vibe_ray.body.mesh import BodyModel
from vibe_ray.body.model import BodyArrays
from vibe_ray.config import TrainConfig
from vibe_ray.data.batches import StepBatch

W_2D, W_3D, W_POSE, W_SHAPE, W_ADV = 300.0, 300.0, 60.0, 0.06, 0.5
COMMON, HIPS = slice(25, 39), [2, 3]
"""The 14 joints of VIBE's 49, and the hips among them."""
BUFFERS = ("init_pose", "init_shape", "init_cam")


def log_map(rotmat: Tensor) -> Tensor:
    """Axis-angle of rotations by neither nothing nor half a turn."""
    trace = rotmat.diagonal(dim1=-2, dim2=-1).sum(-1)
    angle = torch.acos((trace - 1) / 2)
    vee = torch.stack(
        [
            rotmat[..., 2, 1] - rotmat[..., 1, 2],
            rotmat[..., 0, 2] - rotmat[..., 2, 0],
            rotmat[..., 1, 0] - rotmat[..., 0, 1],
        ],
        dim=-1,
    )
    return vee * (angle / (2 * angle.sin())).unsqueeze(-1)


def exp_map(axis_angle: Tensor) -> Tensor:
    """The matrix exponential itself, of each vector's cross-product matrix."""
    x, y, z = axis_angle.unbind(-1)
    zero = torch.zeros_like(x)
    cross = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], dim=-1).unflatten(-1, (3, 3))
    return torch.linalg.matrix_exp(cross)


@dataclass
class NaiveTrainer:
    config: TrainConfig
    arrays: BodyArrays
    G: dict[str, Tensor]
    D: dict[str, Tensor]

    def __post_init__(self) -> None:
        for name, value in [*self.G.items(), *self.D.items()]:
            value.requires_grad_(not name.endswith(BUFFERS))
        optim = self.config.optim
        encoder = [v for k, v in self.G.items() if k.startswith("encoder.")]
        regressor = [v for k, v in self.G.items() if k.startswith("regressor.fc")]
        regressor += [v for k, v in self.G.items() if k.startswith("regressor.dec")]
        slow = optim.generator_lr * optim.regressor_lr_share
        self.G_optimizer = torch.optim.Adam(
            [{"params": encoder, "lr": optim.generator_lr}, {"params": regressor, "lr": slow}],
            weight_decay=optim.generator_weight_decay,
        )
        self.D_optimizer = torch.optim.Adam(
            list(self.D.values()),
            lr=optim.discriminator_lr,
            weight_decay=optim.discriminator_weight_decay,
        )
        dtype = next(iter(self.G.values())).dtype
        self.body = BodyModel(self.arrays).to(dtype)

    def discriminate(self, body_pose: Tensor) -> Tensor:
        c = self.config.discriminator
        attention_layers = c.attention_layers if c.pool == "attention" else 0
        return naive_vibe.discriminator(body_pose, self.D, c.num_layers, attention_layers)

    def step(self, batch: StepBatch) -> dict[str, float]:
        """Update both and return the unweighted terms."""
        encoder = self.config.generator.temporal_encoder.gru
        features = naive_vibe.encoder(
            batch.pose.features,
            naive_vibe.sub_weights(self.G, "encoder."),
            num_layers=encoder.num_layers,
            bidirectional=encoder.bidirectional,
            linear=True,
            residual=True,
        )
        B, frames = features.shape[:2]
        rotmat, betas, cam = naive_vibe.regressor(
            features.flatten(0, 1),
            naive_vibe.sub_weights(self.G, "regressor."),
            self.config.generator.regressor.num_iterations,
        )
        kp_3d = self.body.keypoints(self.body(betas, rotmat))
        losses = self.supervised(batch, kp_3d, rotmat, betas, cam)
        body_pose = log_map(rotmat).flatten(1)[:, 3:].unflatten(0, (B, frames))
        losses["adversarial"] = ((self.discriminate(body_pose) - 1) ** 2).sum() / B
        total = W_2D * losses["kp_2d"] + W_3D * losses["kp_3d"] + W_ADV * losses["adversarial"]
        total = total + W_POSE * losses["pose"] + W_SHAPE * losses["betas"]
        real = self.discriminate(batch.motion.pose[..., 3:])
        fake = self.discriminate(body_pose.detach())
        of_real, of_fake = ((real - 1) ** 2).mean(), (fake**2).mean()
        self.G_optimizer.zero_grad()
        total.backward()
        self.G_optimizer.step()
        self.D_optimizer.zero_grad()
        (W_ADV * of_real + W_ADV * of_fake).backward()
        self.D_optimizer.step()
        of_generator = {f"train/generator/{name}": v.item() for name, v in losses.items()}
        return {
            **of_generator,
            "train/generator/total": total.item(),
            "train/discriminator/real": of_real.item(),
            "train/discriminator/fake": of_fake.item(),
        }

    def supervised(
        self, batch: StepBatch, kp_3d: Tensor, rotmat: Tensor, betas: Tensor, cam: Tensor
    ) -> dict[str, Tensor]:
        pose = batch.pose
        conf = pose.kp_2d_conf.flatten(0, 1).unsqueeze(-1)
        error_2d = conf * (project(kp_3d, cam) - pose.kp_2d.flatten(0, 1)) ** 2
        known_3d, known_smpl = (m.flatten().bool() for m in (pose.has_kp_3d, pose.has_smpl))
        true_3d = pose.kp_3d.flatten(0, 1)[known_3d]
        error_3d = (centered(kp_3d[known_3d]) - centered(true_3d)) ** 2
        true_rotmat = exp_map(pose.pose.flatten(0, 1)[known_smpl].unflatten(1, (24, 3)))
        again = exp_map(log_map(rotmat[known_smpl]))  # as released: to axis-angle and back
        return {
            "kp_2d": error_2d.mean(),
            "kp_3d": error_3d.mean(),
            "pose": ((again - true_rotmat) ** 2).mean(),
            "betas": ((betas - pose.betas.flatten(0, 1))[known_smpl] ** 2).mean(),
        }


def centered(kp_3d: Tensor) -> Tensor:
    common = kp_3d[:, COMMON]
    return common - common[:, HIPS].mean(dim=1, keepdim=True)


def project(points: Tensor, cam: Tensor) -> Tensor:
    scale, tx, ty = cam[:, None].unbind(-1)
    depth = points[..., 2] + 2 * 5000 / (224 * scale + 1e-9)
    x, y = points[..., 0] + tx, points[..., 1] + ty
    return torch.stack([5000 * x / depth, 5000 * y / depth], dim=-1) / 112
