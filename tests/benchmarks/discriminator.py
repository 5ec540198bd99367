"""`python -m tests.benchmarks.discriminator`: what does a motion discriminator see, and ask for?

A generator's answers stand still, and a discriminator learns to tell them from captured motion for
as long as it likes: then it is at its best. On motion that it has not learned from: does it win, by
what, and does its gradient lead to the truth?

Shapes: B windows, T frames, J = 24.
"""

import argparse
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from torch import Tensor

from vibe_ray.body.joints import BodyJoints
from vibe_ray.body.params import SmplParams, pose_to_rotmat
from vibe_ray.body.skeletons import WHOLEBODY_23
from vibe_ray.data.reading import source_clip
from vibe_ray.data.synthetic.frames import ARMS, LEGS
from vibe_ray.data.synthetic.windows import WindowSource, window_plan
from vibe_ray.evaluation.metrics import accel_error_mm_per_frame2, pa_mpjpe_mm
from vibe_ray.features.keypoint_encoder import KeypointEncoder, encoder_inputs
from vibe_ray.geometry.rotations import axis_angle_to_rotmat, rotmat_to_axis_angle
from vibe_ray.inference import Predictor
from vibe_ray.losses.adversarial import from_one, from_zero
from vibe_ray.models.motion_discriminator import MotionDiscriminator
from vibe_ray.recipes import open_world_hours
from vibe_ray.settings import override
from vibe_ray.training.initial import windows_encoder

Row = dict[str, Any]

DISCRIMINATORS: dict[str, dict[str, Any]] = {
    "the recipe's (axis-angle)": {},
    "6D, root motion": {"discriminator.pose": "rot6d", "discriminator.root_motion": True},
    "6D, root motion, spectral norm": {
        "discriminator.pose": "rot6d",
        "discriminator.root_motion": True,
        "discriminator.spectral_norm": True,
    },
}
MIDDLE = 8
"""Frame of a window of 16."""
HELD_OUT_STEPS = 6
"""Of 64 windows each, on which a discriminator is examined."""
STEPS_RAD = (0.02, 0.05)
"""Root mean square of the turn of a joint by which a window is moved along a gradient."""
AS_RECORDED = {
    "windows.mix_arms": 0.0,
    "windows.mix_legs": 0.0,
    "windows.augment.joint_offset_rad": 0.0,
    "windows.augment.speed": (1.0, 1.0),
    "windows.augment.mirror": 0.0,
}


@dataclass(frozen=True)
class Answers:
    """What a generator made of captured windows (B, T, J, 3, 3), and the truth."""

    found: SmplParams
    true: Tensor
    betas: Tensor
    """(B, T, 10), true."""


class World:
    """Windows of the training motion as the generator learns from them, or of held-out motion."""

    def __init__(self, data: str, split: str, checkpoint: str, changes: Row) -> None:
        names = {"data.root": data, "data.motion": (split,), "windows.motion": (split,)}
        self.config = override(open_world_hours(), {**names, **changes})
        self._encoder = windows_encoder(self.config)
        self.predictor = Predictor.from_checkpoint(checkpoint)
        config = self.config
        self._plan = window_plan(
            config.data, config.windows, config.body, self._encoder.id, config.seed
        )

    def captured(self, step: int) -> Tensor:
        """Return a step's captured motion (B, T, J, 3, 3)."""
        source, length = self._plan.motion, self._plan.window_length
        clips = [
            source_clip(source, window)["pose"][window.start : window.start + length]
            for window in source.windows(step)
        ]
        return torch.stack([pose_to_rotmat(torch.tensor(pose).float()) for pose in clips])

    @torch.no_grad()
    def generated(self, step: int) -> Answers:
        """Return what the generator makes of a step's captured windows."""
        assert isinstance(self._plan.captured, WindowSource)
        assert isinstance(self._encoder, KeypointEncoder)
        columns = {k: torch.from_numpy(v) for k, v in self._plan.captured.arrays(step).items()}
        seen = (columns[name] for name in ("detected", "detected_conf", "box", "image_size"))
        features = self._encoder(encoder_inputs(WHOLEBODY_23, *seen))
        found = self.predictor.generator(features)
        return Answers(found, pose_to_rotmat(columns["pose"]), columns["betas"])


def trained(world: World, changes: Row, steps: int) -> MotionDiscriminator:
    """Train a discriminator for some steps against answers that do not change."""
    config = override(world.config, changes)
    torch.manual_seed(config.seed)
    network = MotionDiscriminator(config.discriminator)
    rate, decay = config.optim.discriminator_lr, config.optim.discriminator_weight_decay
    optimizer = torch.optim.Adam(network.parameters(), rate, weight_decay=decay)
    for step in range(steps):
        real, fake = world.captured(step), world.generated(step).found.rotmat
        scores = network(network.view.of_rotmat(torch.cat([real, fake]))).split(len(real))
        loss = from_one(scores[0]) / len(real) + from_zero(scores[1]) / len(fake)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return network.eval()


def _with_limbs_of_others(rotmat: Tensor) -> Tensor:
    mixed = rotmat.clone()
    for shift, limbs in enumerate((LEGS, ARMS), start=1):
        mixed[:, :, limbs] = rotmat.roll(shift, dims=0)[:, :, limbs]
    return mixed


CHANGES: dict[str, Callable[[Tensor], Tensor]] = {
    "as it is": lambda rotmat: rotmat,
    "its frames in another order": lambda rotmat: rotmat[:, torch.randperm(rotmat.shape[1])],
    "its middle frame held still": lambda rotmat: rotmat[:, MIDDLE : MIDDLE + 1].expand_as(rotmat),
    "jitter of 0.03 rad": lambda rotmat: (
        rotmat @ axis_angle_to_rotmat(0.03 * torch.randn(*rotmat.shape[:-2], 3))
    ),
    "other poses' arms and legs": _with_limbs_of_others,
}
"""Of captured motion, to see what its score hangs on."""


def examined(network: MotionDiscriminator, world: World) -> Row:
    """Say what a discriminator makes of windows that it has not learned from."""
    real = torch.cat([world.captured(step) for step in range(HELD_OUT_STEPS)])
    answers = [world.generated(step) for step in range(HELD_OUT_STEPS)]
    fake, true = (
        torch.cat(x) for x in zip(*((a.found.rotmat, a.true) for a in answers), strict=True)
    )
    with torch.no_grad():
        score = {name: network(network.view.of_rotmat(f(real))) for name, f in CHANGES.items()}
        score_fake = network(network.view.of_rotmat(fake))
    wins = (score["as it is"][:, None] > score_fake[None]).double().mean()
    towards = -gradient(network, fake)[:, :, 1:]
    wanted = rotmat_to_axis_angle(fake.mT @ true)[:, :, 1:]
    return {
        "wins_percent": 100 * wins.item(),
        "generated": score_fake.mean().item(),
        "captured": {name: values.mean().item() for name, values in score.items()},
        "cosine_to_truth": _cosine(towards, wanted),
        **moved(answers, towards, wanted, BodyJoints.evaluation(world.predictor.body)),
    }


def gradient(network: MotionDiscriminator, fake: Tensor) -> Tensor:
    """Of the generator's loss by turns of each joint (B, T, J, 3), in the joint's own axes."""
    turn = torch.zeros(*fake.shape[:-2], 3, requires_grad=True)
    score = network(network.view.of_rotmat(fake @ axis_angle_to_rotmat(turn)))
    (found,) = torch.autograd.grad(from_one(score), turn)
    return found


def moved(answers: Sequence[Answers], towards: Tensor, wanted: Tensor, body: BodyJoints) -> Row:
    """Measure answers moved as the gradient asks, at random, and towards the truth."""
    fake, true, own, betas = (
        torch.cat(parts)
        for parts in zip(
            *((a.found.rotmat, a.true, a.found.betas, a.betas) for a in answers), strict=True
        )
    )
    target = body(betas, true)

    def errors(turn: Tensor) -> tuple[float, float]:
        rotmat = torch.cat([fake[:, :, :1], fake[:, :, 1:] @ axis_angle_to_rotmat(turn)], dim=2)
        joints = body(own, rotmat)
        pa = pa_mpjpe_mm(joints, target).mean().item()
        return pa, accel_error_mm_per_frame2(joints, target).mean().item()

    ways = {
        "asked": towards,
        "random": torch.randn_like(towards[:, :1]).expand_as(towards),
        "truth": wanted,
    }
    row: Row = {"none": errors(torch.zeros_like(towards))}
    for name, way in ways.items():
        for size in STEPS_RAD:
            # Each window is moved equally far: the root mean square of its joints' turns.
            rms = way.square().sum(-1).mean(dim=(1, 2), keepdim=True).sqrt()[..., None]
            row[f"{name} {size}"] = errors(size * way / rms.clamp(min=1e-12))
    return row


def _cosine(one: Tensor, other: Tensor) -> float:
    """Mean over windows of the cosine between directions (B, T, J, 3)."""
    return torch.cosine_similarity(one.flatten(1), other.flatten(1), dim=1).mean().item()


def main(argv: Sequence[str] | None = None) -> None:
    """Train discriminators, examine each, print and write what was found."""
    parser = argparse.ArgumentParser(prog="tests.benchmarks.discriminator", description=__doc__)
    parser.add_argument("--data", required=True, help="of `prepare open --captures 0`")
    parser.add_argument("--checkpoint", default="open", help="whose generator answers")
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--rate", type=float, help="of Adam (the recipe's)")
    parser.add_argument("--json", type=Path, default=Path("runs/bench/discriminator.json"))
    args = parser.parse_args(argv)
    train = World(args.data, "motion/train", args.checkpoint, {})
    held_out = World(args.data, "motion/val", args.checkpoint, AS_RECORDED)
    rate = {} if args.rate is None else {"optim.discriminator_lr": args.rate}
    rows: dict[str, Row] = {}
    for name, changes in DISCRIMINATORS.items():
        network = trained(train, {**changes, **rate}, args.steps)
        rows[name] = examined(network, held_out)
        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.write_text(json.dumps(rows, indent=1))
        Console().print(name, rows[name])


if __name__ == "__main__":
    main()
