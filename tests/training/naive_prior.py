"""One update of the motion priors, frame by frame and joint by joint, and what they lose.

Written from VPoser's description and the GRU's equations; its networks are
`tests/models/naive_vibe.py`'s loops, its skeleton is walked bone by bone. Plain Adam.
"""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from tests.models import naive_vibe
from tests.training.naive_step import exp_map
from vibe_ray.body.model import BodyArrays
from vibe_ray.config import TrainConfig

Weights = dict[str, Tensor]
TERMS = ("rotation", "joints", "kl", "distance", "latent")
PARENTS = [-1, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 12, 13, 14, 16, 17, 18, 19, 20, 21]
"""As SMPL's own files have them."""
REST_6D = torch.tensor([1.0, 0.0, 0.0, 1.0, 0.0, 0.0])


def layers(x: Tensor, w: Weights, sequential: bool) -> Tensor:
    """(B, T, in) -> (B, T, out)."""
    if sequential:
        y = naive_vibe.gru(x, w, num_layers=1, bidirectional=True)
        return y @ w["out.weight"].T + w["out.bias"]
    for number in (0, 2, 4):
        x = x @ w[f"{number}.weight"].T + w[f"{number}.bias"]
        if number < 4:
            x = torch.where(x > 0, x, 0.01 * x)
    return x


@dataclass
class NaivePriors:
    config: TrainConfig
    arrays: BodyArrays
    weights: dict[str, Weights]
    """By the network's name."""
    optimizers: dict[str, torch.optim.Adam] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, weights in self.weights.items():
            leaves = [value.requires_grad_() for value in weights.values()]
            self.optimizers[name] = torch.optim.Adam(leaves, lr=self.config.optim.prior_lr)

    def run(self, name: str, rotmat: Tensor, noise: Tensor | None) -> tuple[Tensor, ...]:
        """Rotations (B, T, 23, 3, 3) encoded and decoded; mean and spread of the latent."""
        w = self.weights[name]
        sequential = name == "prior" and self.config.prior.sequential
        rest = REST_6D.to(rotmat.dtype)
        frames = [torch.cat([joint[:, :2].flatten() - rest for joint in f]) for f in flat(rotmat)]
        six = torch.stack(frames).unflatten(0, rotmat.shape[:2])
        numbers = layers(six, naive_vibe.sub_weights(w, "encoder."), sequential)
        num = self.config.prior.latent_dim
        mean, std = numbers[..., :num], torch.log(1 + torch.exp(numbers[..., num:])) + 1e-4
        z = mean if noise is None else mean + std * noise
        out = layers(z, naive_vibe.sub_weights(w, "decoder."), sequential)
        decoded = [
            torch.stack([naive_vibe.rot6d_to_rotmat(six + rest) for six in frame.split(6)])
            for frame in flat(out)
        ]
        return torch.stack(decoded).unflatten(0, rotmat.shape[:2]), mean, std

    def joints(self, rotmat: Tensor) -> Tensor:
        """Walk the skeleton of one frame's body (23, 3, 3) of mean shape: (24, 3)."""
        verts, picks = self.arrays.v_template, self.arrays.J_regressor
        rest = torch.from_numpy(picks.astype(float) @ verts.astype(float))
        turns, places = [torch.eye(3, dtype=rotmat.dtype)], [rest[0]]
        for joint in range(1, 24):
            parent = PARENTS[joint]
            bone = rest[joint] - rest[parent]
            places.append(places[parent] + turns[parent] @ bone)
            turns.append(turns[parent] @ rotmat[joint - 1])
        return torch.stack(places)

    def terms(self, name: str, rotmat: Tensor, noise: Tensor | None) -> dict[str, Tensor]:
        """What is lost, means over frames; `distance` in meters, `latent` its mean's square."""
        found, mean, std = self.run(name, rotmat, noise)
        sums = {key: rotmat.new_zeros(()) for key in TERMS}
        frames = list(zip(*map(flat, (found, rotmat, mean, std)), strict=True))
        for a, b, m, s in frames:
            sums["rotation"] += ((a - b) ** 2).mean()
            gaps = self.joints(a) - self.joints(b)
            sums["joints"] += sum((gap**2).sum() for gap in gaps) / 24
            sums["distance"] += sum((gap**2).sum().sqrt() for gap in gaps) / 24
            sums["kl"] += ((m**2 + s**2 - 1) / 2 - torch.log(s)).sum()
            sums["latent"] += (m**2).mean()
        return {key: total / len(frames) for key, total in sums.items()}

    def step(self, pose: Tensor, noise: Tensor) -> dict[str, float]:
        """Update all by captured poses (B, T, 72) and return the unweighted terms."""
        rotmat = body_rotations(pose)
        weights = vars(self.config.prior_losses)
        metrics = {}
        for name, optimizer in self.optimizers.items():
            terms = self.terms(name, rotmat, noise)
            total = sum(weight * terms[key] for key, weight in weights.items())
            optimizer.zero_grad()
            total.backward()
            optimizer.step()
            metrics |= {f"train/{name}/{key}": terms[key].item() for key in weights}
            metrics[f"train/{name}/total"] = total.item()
        return metrics


def body_rotations(pose: Tensor) -> Tensor:
    """Rotations (B, T, 23, 3, 3) of poses (B, T, 72), the root left out."""
    return exp_map(pose.unflatten(-1, (24, 3)))[:, :, 1:]


def flat(x: Tensor) -> list[Tensor]:
    """One tensor per frame."""
    return list(x.flatten(0, 1))
