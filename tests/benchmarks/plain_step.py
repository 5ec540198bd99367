"""VIBE's training step and inference as its released code computes them, in plain PyTorch.

This is what ours is measured against: the same numbers, without any of our ideas. Full meshes by
smplx's own skinning, joints read off them; `nn.GRU`; features and estimate concatenated in each of
the regressor's iterations; matrix to axis-angle and back in the pose loss; boolean masks; three
passes of the discriminator, whose weights get gradients from the generator's loss only to lose
them; one Adam update per tensor; losses fetched for the log at every step.

Written from a description of what the released code computes, none of it copied. Names of the
weights are VIBE's, as ours are, so that state dicts fit.

Shapes: B windows, T frames, N = B T, F features, H hidden units, V vertices.
"""

from dataclasses import dataclass

import torch
from smplx.lbs import lbs
from torch import Tensor, nn
from torch.nn import functional as F

from tests.benchmarks.plain_rotations import (
    axis_angle_to_rotmat,
    rot6d_to_rotmat,
    rotmat_to_axis_angle,
)
from vibe_ray.body.model import BodyArrays
from vibe_ray.body.skeletons import KEYPOINTS_FROM_54, SMPL_PARENTS
from vibe_ray.config import TrainConfig
from vibe_ray.data.batches import StepBatch
from vibe_ray.models.smpl_regressor import mean_estimate

COMMON, HIPS = slice(25, 39), (2, 3)
"""The 14 joints of VIBE's 49 that the 3D loss compares, and the hips among them."""


@dataclass(frozen=True)
class Body:
    """What the network says of each frame."""

    rotmat: Tensor
    """(N, 24, 3, 3)."""
    betas: Tensor
    """(N, 10)."""
    cam: Tensor
    """(N, 3)."""
    pose: Tensor
    """Axis-angle (N, 72)."""
    verts: Tensor
    """(N, V, 3)."""
    kp_3d: Tensor
    """(N, 49, 3)."""
    kp_2d: Tensor
    """(N, 49, 2)."""


class Encoder(nn.Module):
    def __init__(self, features: int, hidden: int, layers: int) -> None:
        super().__init__()
        self.gru = nn.GRU(features, hidden, layers)
        self.linear = nn.Linear(hidden, features)

    def forward(self, x: Tensor) -> Tensor:  # (B, T, F)
        x = x.permute(1, 0, 2)
        y, _ = self.gru(x)
        T, B, H = y.shape
        y = self.linear(F.relu(y).reshape(-1, H)).view(T, B, -1)
        return (y + x).permute(1, 0, 2)


class Regressor(nn.Module):
    init_pose: Tensor
    init_shape: Tensor
    init_cam: Tensor

    def __init__(self, features: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.fc1 = nn.Linear(features + 144 + 10 + 3, hidden)
        self.drop1 = nn.Dropout(dropout)
        self.fc2 = nn.Linear(hidden, hidden)
        self.drop2 = nn.Dropout(dropout)
        self.decpose = nn.Linear(hidden, 144)
        self.decshape = nn.Linear(hidden, 10)
        self.deccam = nn.Linear(hidden, 3)
        for name, mean in zip(("pose", "shape", "cam"), mean_estimate("rest"), strict=True):
            self.register_buffer(f"init_{name}", mean)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:  # (N, F)
        N = len(x)
        pose = self.init_pose.expand(N, -1)
        shape = self.init_shape.expand(N, -1)
        cam = self.init_cam.expand(N, -1)
        for _ in range(3):
            h = self.drop1(self.fc1(torch.cat([x, pose, shape, cam], 1)))
            h = self.drop2(self.fc2(h))
            pose = self.decpose(h) + pose
            shape = self.decshape(h) + shape
            cam = self.deccam(h) + cam
        return rot6d_to_rotmat(pose).view(N, 24, 3, 3), shape, cam


class Mesh(nn.Module):
    """SMPL's skin, and 49 joints read off it."""

    def __init__(self, arrays: BodyArrays) -> None:
        super().__init__()
        assert arrays.posedirs is not None
        constants = {
            "v_template": arrays.v_template,
            "shapedirs": arrays.shapedirs,
            "posedirs": arrays.posedirs.reshape(-1, arrays.posedirs.shape[-1]).T.copy(),
            "J_regressor": arrays.J_regressor,
            "weights": arrays.weights,
            "extra": arrays.J_regressor_extra,
            "vertex_joints": arrays.vertex_joints,
        }
        for name, value in constants.items():
            self.register_buffer(name, torch.tensor(value))
        self.register_buffer("parents", torch.tensor(SMPL_PARENTS))

    def forward(self, betas: Tensor, rotmat: Tensor) -> tuple[Tensor, Tensor]:
        c = dict(self.named_buffers())
        verts, joints = lbs(
            betas,
            rotmat,
            c["v_template"],
            c["shapedirs"],
            c["posedirs"],
            c["J_regressor"],
            c["parents"],
            c["weights"],
            pose2rot=False,
        )
        picked = torch.index_select(verts, 1, c["vertex_joints"])
        extra = torch.einsum("bik,ji->bjk", verts, c["extra"])
        joints = torch.cat([joints, picked, extra], dim=1)
        return verts, joints[:, list(KEYPOINTS_FROM_54)]


class Generator(nn.Module):
    def __init__(self, config: TrainConfig, arrays: BodyArrays) -> None:
        super().__init__()
        features, encoder = config.generator.feature_dim, config.generator.temporal_encoder.gru
        regressor = config.generator.regressor
        self.encoder = Encoder(features, encoder.hidden_dim, encoder.num_layers)
        self.regressor = Regressor(features, regressor.hidden_dim, regressor.dropout)
        self.mesh = Mesh(arrays)

    def forward(self, features: Tensor) -> Body:  # (B, T, F)
        encoded = self.encoder(features)
        rotmat, betas, cam = self.regressor(encoded.reshape(-1, encoded.shape[-1]))
        verts, kp_3d = self.mesh(betas, rotmat)
        kp_2d = project(kp_3d, cam)
        pose = rotmat_to_axis_angle(rotmat.reshape(-1, 3, 3)).reshape(-1, 72)
        return Body(rotmat, betas, cam, pose, verts, kp_3d, kp_2d)


class Attention(nn.Module):
    def __init__(self, hidden: int, layers: int, dropout: float) -> None:
        super().__init__()
        modules: list[nn.Module] = []
        for layer in range(layers):
            width = hidden if layer < layers - 1 else 1
            modules += [nn.Linear(hidden, width), nn.Tanh(), nn.Dropout(dropout)]
        self.attention = nn.Sequential(*modules)

    def forward(self, frames: Tensor) -> Tensor:  # (B, T, H)
        scores = F.softmax(self.attention(frames).squeeze(-1), dim=-1)
        return torch.mul(frames, scores.unsqueeze(-1)).sum(1)


class Discriminator(nn.Module):
    def __init__(self, config: TrainConfig) -> None:
        super().__init__()
        c = config.discriminator
        self.gru = nn.GRU(69, c.hidden_dim, c.num_layers)
        self.attention = Attention(c.hidden_dim, c.attention_layers, c.attention_dropout)
        self.fc = nn.Linear(c.hidden_dim, 1)

    def forward(self, pose: Tensor) -> Tensor:  # (B, T, 69)
        y, _ = self.gru(pose.permute(1, 0, 2))
        return self.fc(self.attention(y.permute(1, 0, 2)))


class PlainTrainer:
    """Both networks, their losses and their optimizers."""

    def __init__(self, config: TrainConfig, arrays: BodyArrays, device: str = "cpu") -> None:
        self.config = config
        self.generator = Generator(config, arrays).to(device)
        self.discriminator = Discriminator(config).to(device)
        optim = config.optim
        self.generator_optimizer = torch.optim.Adam(
            self.generator.parameters(), lr=optim.generator_lr, foreach=False, fused=False
        )
        self.discriminator_optimizer = torch.optim.Adam(
            self.discriminator.parameters(),
            lr=optim.discriminator_lr,
            weight_decay=optim.discriminator_weight_decay,
            foreach=False,
            fused=False,
        )
        self.sums: dict[str, float] = {}

    def load(self, generator: dict[str, Tensor], discriminator: dict[str, Tensor]) -> None:
        """Take over the weights of our networks."""
        own = {f"mesh.{name}": buffer for name, buffer in self.generator.mesh.named_buffers()}
        self.generator.load_state_dict({**generator, **own})
        self.discriminator.load_state_dict(discriminator)

    def step(self, batch: StepBatch) -> dict[str, float]:
        """Update both networks; return the unweighted terms under the names that ours have."""
        body = self.generator(batch.pose.features)
        terms = supervised(body, batch)
        players = self.play(body, batch, terms) if self.config.is_adversarial else {}
        w = self.config.losses
        weights = {"kp_2d": w.kp_2d, "kp_3d": w.kp_3d, "pose": w.pose, "betas": w.betas}
        weights["adversarial"] = w.adversarial
        total = torch.stack([weights[name] * term for name, term in terms.items()]).sum()
        self.generator_optimizer.zero_grad()
        total.backward()
        self.generator_optimizer.step()
        if players:
            self.discriminator_optimizer.zero_grad()
            (w.adversarial * players["real"] + w.adversarial * players["fake"]).backward()
            self.discriminator_optimizer.step()
        named = {f"train/generator/{name}": term for name, term in terms.items()}
        named |= {"train/generator/total": total}
        named |= {f"train/discriminator/{name}": term for name, term in players.items()}
        return self.log(named)

    def play(self, body: Body, batch: StepBatch, terms: dict[str, Tensor]) -> dict[str, Tensor]:
        """Add the generator's adversarial term; return the two of the discriminator."""
        B, T = batch.pose.features.shape[:2]
        fake_pose = body.pose.view(B, T, 72)[:, :, 3:]
        real_pose = batch.motion.pose[:, :, 3:]
        terms["adversarial"] = ((self.discriminator(fake_pose) - 1) ** 2).sum() / B
        real = ((self.discriminator(real_pose) - 1) ** 2).sum() / len(real_pose)
        fake = (self.discriminator(fake_pose.detach()) ** 2).sum() / B
        return {"real": real, "fake": fake}

    def log(self, terms: dict[str, Tensor]) -> dict[str, float]:
        """Fetch every term for running means, for the line on the console and for the events."""
        for name, term in terms.items():
            self.sums[name] = self.sums.get(name, 0.0) + term.item()
        " | ".join(f"{name}: {term.item():.3f}" for name, term in terms.items())
        return {name: term.item() for name, term in terms.items()}


def supervised(body: Body, batch: StepBatch) -> dict[str, Tensor]:
    """Distances to what is known, unweighted."""
    pose = batch.pose
    conf = pose.kp_2d_conf.flatten(0, 1).unsqueeze(-1)
    true_2d, true_3d = pose.kp_2d.flatten(0, 1), pose.kp_3d.flatten(0, 1)
    has_3d, has_smpl = pose.has_kp_3d.flatten() > 0, pose.has_smpl.flatten() > 0
    found_rotmat = axis_angle_to_rotmat(body.pose[has_smpl].reshape(-1, 3))
    true_rotmat = axis_angle_to_rotmat(pose.pose.flatten(0, 1)[has_smpl].reshape(-1, 3))
    return {
        "kp_2d": (conf * F.mse_loss(body.kp_2d, true_2d, reduction="none")).mean(),
        "kp_3d": F.mse_loss(centered(body.kp_3d[has_3d]), centered(true_3d[has_3d])),
        "pose": F.mse_loss(found_rotmat, true_rotmat),
        "betas": F.mse_loss(body.betas[has_smpl], pose.betas.flatten(0, 1)[has_smpl]),
    }


def centered(kp_3d: Tensor) -> Tensor:
    common = kp_3d[:, COMMON]
    return common - ((common[:, HIPS[0]] + common[:, HIPS[1]]) / 2)[:, None]


def project(points: Tensor, cam: Tensor) -> Tensor:
    depth = 2 * 5000.0 / (224.0 * cam[:, 0] + 1e-9)
    shift = torch.stack([cam[:, 1], cam[:, 2], depth], dim=-1)
    rotation = torch.eye(3, device=points.device).unsqueeze(0).expand(len(points), -1, -1)
    intrinsics = torch.zeros(len(points), 3, 3, device=points.device)
    intrinsics[:, 0, 0], intrinsics[:, 1, 1], intrinsics[:, 2, 2] = 5000.0, 5000.0, 1.0
    moved = torch.einsum("bij,bkj->bki", rotation, points) + shift.unsqueeze(1)
    flat = moved / moved[:, :, -1].unsqueeze(-1)
    return torch.einsum("bij,bkj->bki", intrinsics, flat)[:, :, :-1] / 112.0
