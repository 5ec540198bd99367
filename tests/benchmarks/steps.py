"""One training step, ours against the plain one: time, share of the machine's peak, and parts.

Timed with dropout on, as trained; compared beforehand with dropout off, on the same weights.
"""

import math
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tests.benchmarks.measuring import (
    Goal,
    Options,
    Report,
    Row,
    Work,
    over,
    relative,
    take_turns,
    time_rows,
    worst,
)
from tests.benchmarks.peaks import MatmulPeak, count_flops
from tests.benchmarks.plain_rotations import rotmat_to_axis_angle as plain_axis_angle
from tests.benchmarks.plain_step import Body as PlainBody
from tests.benchmarks.plain_step import PlainTrainer, project, supervised
from tests.benchmarks.setting import NO_DROPOUT, config_with, new_state, step_batch
from vibe_ray.body.params import SmplParams
from vibe_ray.config import TrainConfig
from vibe_ray.data.batches import StepBatch
from vibe_ray.geometry.cameras import project_weak_perspective
from vibe_ray.losses.supervised import SUPERVISED, Estimate
from vibe_ray.settings import override
from vibe_ray.training.state import TrainState
from vibe_ray.training.step import adversarial_step

PLAIN = "plain fp32"
OURS, OURS_BF16, SEPARATE = "ours fp32", "ours bf16", "ours fp32, separate passes of D"
GOALS = {OURS: Goal(least=2.2, shown="2.6"), OURS_BF16: Goal(least=3.5, shown="4.4")}
SHARES = {
    OURS: Goal(least=65, shown="74"),
    OURS_BF16: Goal(least=50, shown="63"),
}
BOUNDS = {"fp32": (1e-6, 1e-5), "bf16": (1e-3, 1e-2)}
"""Largest relative errors of the losses and of the gradients, by precision."""


def variants(options: Options) -> dict[str, dict[str, Any]]:
    """Settings of each way in which our step is measured."""
    settings: dict[str, dict[str, Any]] = {
        OURS: {},
        OURS_BF16: {"precision": "bf16"},
        SEPARATE: {"optim.one_pass": False},
    }
    if options.is_cuda:
        settings["ours tf32"] = {"precision": "tf32"}
        settings["ours tf32, compiled"] = {"precision": "tf32", "compile": True}
        settings["ours bf16, compiled"] = {"precision": "bf16", "compile": True}
    return settings


def train_step(folder: Path, options: Options) -> Report:
    """A whole update of both networks, and its share of the matrix product's peak."""
    report = Report(title="Training step, G + D: 32 windows of 16 frames, `released` sizes")
    config = config_with(folder)
    settings = variants(options)
    for name, changes in settings.items():
        check_parity(report, name, override(config, changes | NO_DROPOUT), options)
    batch = step_batch(config, options.device)
    states = {n: new_state(override(config, c), options.device) for n, c in settings.items()}
    plain = plain_twin(states[OURS], options)
    works: dict[str, Work] = {PLAIN: lambda: plain.step(batch)}
    works |= {name: _step(state, batch) for name, state in states.items()}
    flops = {name: count_flops(work) for name, work in works.items()}
    peaks = {
        "fp32": MatmulPeak(torch.float32, options),
        "bf16": MatmulPeak(torch.bfloat16, options),
    }
    rates: dict[str, list[float]] = {name: [] for name in peaks}

    def measure(name: str) -> Work:
        return lambda: rates[name].append(peaks[name].measure())

    times = take_turns(works | {f"peak {name}": measure(name) for name in peaks}, options)
    steps = {name: times[name] for name in works}
    report.rows += time_rows(steps, PLAIN, options, GOALS)
    for name, found in rates.items():
        kept = [rate / 1e9 for rate in found[1:]]  # the first was the one without a clock
        report.rows.append(Row(name=f"matrix product's peak, {name}", unit="GFLOP/s", values=kept))
    if not options.is_cuda and max(rates["bf16"]) < max(rates["fp32"]):
        report.notes.append(
            "This CPU multiplies bfloat16 more slowly than float32: there is nothing to be gained "
            "from it here, and the share of its own peak alone says how well it is used."
        )
    for name, seconds in steps.items():
        kind = "bf16" if "bf16" in name else "fp32"
        needed = [flops[name] / second for second in seconds]
        share = [100 * x for x in over(needed, rates[kind][1:])]
        note = f"{flops[name] / 1e9:.1f} GFLOP counted, peak of {kind} in the same repetition"
        report.rows.append(
            Row(
                name=f"share of peak, {name}",
                unit="%",
                values=share,
                goal=SHARES.get(name),
                note=note,
            )
        )
    return report


def _step(state: TrainState, batch: StepBatch) -> Work:
    return lambda: adversarial_step(state, batch)


def plain_twin(state: TrainState, options: Options) -> PlainTrainer:
    """A plain trainer with the weights of a state."""
    plain = PlainTrainer(state.config, state.body, options.device)
    plain.load(state.generator.state_dict(), state.discriminator.state_dict())
    return plain


def check_parity(report: Report, name: str, config: TrainConfig, options: Options) -> None:
    """Take one step both ways and compare every loss and every tensor's gradient.

    Raises:
        ArithmeticError: They differ.
    """
    kind = "bf16" if "bf16" in name else "fp32"
    if "tf32" in name:
        kind = "bf16"  # rounds its products' inputs, too
    loss_bound, gradient_bound = BOUNDS[kind]
    state, batch = new_state(config, options.device), step_batch(config, options.device)
    plain = plain_twin(state, options)
    found, expected = adversarial_step(state, batch), plain.step(batch)
    errors = (loss_error(key, float(found[key]), want) for key, want in expected.items())
    report.require(f"{name}: losses, largest relative error", worst(errors), loss_bound)
    for network in ("generator", "discriminator"):
        ours = _gradients(getattr(state, network))
        theirs = _gradients(getattr(plain, network))
        largest = worst(relative(ours[key], theirs[key]) for key in ours)
        whole = relative(_joined(ours), _joined({key: theirs[key] for key in ours}))
        bound = gradient_bound if kind == "fp32" else float("inf")
        report.require(f"{name}: gradients of the {network}, worst tensor", largest, bound)
        report.require(f"{name}: gradient of the {network} as a whole", whole, gradient_bound)


def loss_error(name: str, found: float, expected: float) -> float:
    """Relative error of a loss; of D's, twice the error of the scores' distance from their target.

    That is the relative error where the distance is 1. Where it is nearly 0, the loss, its square,
    consists of what rounding leaves: a score of 0.01 that is off by 1e-5, a hundredth of what
    bfloat16 keeps of 1, has a loss that is off by 2e-3 of itself.
    """
    if name.startswith("train/discriminator/"):
        return 2 * abs(math.sqrt(found) - math.sqrt(expected))
    return abs(found - expected) / abs(expected)


def _gradients(network: nn.Module) -> dict[str, Tensor]:
    return {name: p.grad for name, p in network.named_parameters() if p.grad is not None}


def _joined(tensors: dict[str, Tensor]) -> Tensor:
    return torch.cat([tensor.flatten() for tensor in tensors.values()])


Parts = dict[str, Work]


def step_parts(folder: Path, options: Options) -> Report:
    """Where a step's time goes: each part alone, forward and backward."""
    report = Report(title="Training step by part, each alone, forward and backward")
    config = config_with(folder)
    batch = step_batch(config, options.device)
    state = new_state(config, options.device)
    alone = new_state(override(config, {"losses.adversarial": 0.0}), options.device)
    plain, plain_alone = plain_twin(state, options), plain_twin(alone, options)
    works = {f"plain, {name}": work for name, work in _plain_parts(plain, batch).items()}
    works |= {f"ours, {name}": work for name, work in _our_parts(state, batch).items()}
    works["plain, whole step"] = lambda: plain.step(batch)
    works["ours, whole step"] = _step(state, batch)
    works["plain, without D"] = lambda: plain_alone.step(batch)
    works["ours, without D"] = _step(alone, batch)
    times = take_turns(works, options)
    for side in ("plain", "ours"):
        parts = ("whole step", "without D", "Adam of D")
        whole, without, adam = (statistics.median(times[f"{side}, {part}"]) for part in parts)
        times[f"{side}, discriminator"] = [whole - without - adam]
        del times[f"{side}, without D"]
    for name in [name.removeprefix("plain, ") for name in times if name.startswith("plain")]:
        ours, reference = times[f"ours, {name}"], times[f"plain, {name}"]
        for side, values in (("plain", reference), ("ours", ours)):
            ratios = over(reference, ours) if side == "ours" else []
            values = [1e3 * second for second in values]
            row = Row(name=f"{name}, {side}", unit=options.time_unit, values=values, ratios=ratios)
            report.rows.append(row)
    report.notes.append(
        "The discriminator's time is the median of a whole step less that of one without it, less "
        "that of its Adam."
    )
    return report


def _our_parts(state: TrainState, batch: StepBatch) -> Parts:
    generator = state.generator
    encoded = generator.encoder(batch.pose.features).detach()
    params = generator.regressor(encoded).map(lambda x: x.detach())
    kp_3d = state.keypoints(params.betas, params.rotmat).detach()

    def losses() -> None:
        leaves = params.map(_leaf)
        joints = _leaf(kp_3d)
        kp_2d = project_weak_perspective(joints, leaves.cam)
        counts = {loss.name: loss.count(batch) for loss in SUPERVISED["squared"]}
        found = Estimate(leaves, joints, kp_2d)
        shares = [loss.share(counts, found, batch.pose) for loss in SUPERVISED["squared"]]
        torch.stack(shares).sum().backward()

    def regressor() -> None:
        out: SmplParams = generator.regressor(_leaf(encoded))
        _backward([out.rotmat, out.betas, out.cam])

    return {
        "temporal encoder": lambda: _backward([generator.encoder(batch.pose.features)]),
        "regressor": regressor,
        "body joints": lambda: _backward(
            [state.keypoints(_leaf(params.betas), _leaf(params.rotmat))]
        ),
        "rotations, projection and losses": losses,
        "Adam of G": _adam(state.descents["generator"].optimizer),
        "Adam of D": _adam(state.descents["discriminator"].optimizer),
    }


def _plain_parts(plain: PlainTrainer, batch: StepBatch) -> Parts:
    generator = plain.generator
    encoded = generator.encoder(batch.pose.features).detach().flatten(0, 1)
    rotmat, betas, cam = (x.detach() for x in generator.regressor(encoded))
    verts, kp_3d = (x.detach() for x in generator.mesh(betas, rotmat))

    def losses() -> None:
        turns, shape, camera, joints = (_leaf(x) for x in (rotmat, betas, cam, kp_3d))
        pose = plain_axis_angle(turns.reshape(-1, 3, 3)).reshape(-1, 72)
        kp_2d = project(joints, camera)
        body = PlainBody(turns, shape, camera, pose, verts, joints, kp_2d)
        torch.stack(list(supervised(body, batch).values())).sum().backward()

    return {
        "temporal encoder": lambda: _backward([generator.encoder(batch.pose.features)]),
        "regressor": lambda: _backward(list(generator.regressor(_leaf(encoded)))),
        "body joints": lambda: _backward([generator.mesh(_leaf(betas), _leaf(rotmat))[1]]),
        "rotations, projection and losses": losses,
        "Adam of G": _adam(plain.generator_optimizer),
        "Adam of D": _adam(plain.discriminator_optimizer),
    }


def _leaf(x: Tensor) -> Tensor:
    return x.detach().clone().requires_grad_()


def _backward(outputs: list[Tensor]) -> None:
    torch.autograd.backward(outputs, [torch.ones_like(x) for x in outputs])


def _adam(optimizer: torch.optim.Optimizer) -> Callable[[], object]:
    """An update by gradients of zero: those that a step has left may be gone by now."""
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            parameter.grad = torch.zeros_like(parameter)
    return optimizer.step
