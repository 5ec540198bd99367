"""In what precision are the networks' matrix products taken, and which is fastest here?

Only they: weights, gradients, the optimizers' moments, bodies and losses are float32 always. So a
loss and its gradients hardly change (`tests/training/test_precision.py`), and three seeds saw no
change of accuracy (`docs/results/open_world.md`); how fast each is depends on the processor.
"""

import logging
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Literal

import torch
from torch import Tensor

from vibe_ray.models.gru import GRU

logger = logging.getLogger(__name__)

Precision = Literal["fp32", "tf32", "bf16"]
Wish = Precision | Literal["auto"]
"""What a config may ask for; "auto" is settled before anything is computed."""

MAX_ERROR: Mapping[Precision, float] = {"fp32": 1e-4, "tf32": 1e-2, "bf16": 4e-2}
"""Relative error of a trial's gradients, beyond which a device computes something else than it
should: several times what rounding to 23, 10 and 7 bits may bring."""
WORTH_ROUNDING = 0.9
"""Share of fp32's time below which coarser products are taken."""
ROUNDS = 3
HOPELESS = 3.0
"""Times fp32's time: what takes so long at first is not tried again."""
TRIAL_WINDOWS, TRIAL_FRAMES = 16, 4


def products(precision: Wish, device: torch.device) -> AbstractContextManager[object]:
    """Return the context in which a network is to be called.

    Raises:
        ValueError: "auto": `fastest` says first what that is.
    """
    if precision == "auto":
        raise ValueError("precision is still 'auto': what is fastest has not been measured yet")
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16")


def set_float32_products(precision: Wish) -> None:
    """Say for this process how NVIDIA GPUs multiply float32; PyTorch's GRU rounds it by default."""
    kind = "tf32" if precision == "tf32" else "ieee"
    torch.backends.cuda.matmul.fp32_precision = kind
    torch.backends.cudnn.rnn.fp32_precision = kind  # type: ignore[attr-defined]
    torch.backends.cudnn.conv.fp32_precision = kind  # type: ignore[attr-defined]


def fastest(device: torch.device) -> Precision:
    """Find the precision that trains fastest on a device, in some seconds.

    VIBE's largest part, a GRU layer, runs forward and backward in each, in turns. What is wrong
    there is left out, and fp32 stays where little is won.
    """
    run = _trial(device)
    candidates: list[Precision] = (
        ["fp32", "tf32", "bf16"] if device.type == "cuda" else ["fp32", "bf16"]
    )

    def timed(name: Precision) -> tuple[float, Tensor]:
        begun = time.perf_counter()
        gradients = run(name)
        return time.perf_counter() - begun, gradients

    first = {name: timed(name) for name in candidates}
    errors = {name: _relative_error(found, first["fp32"][1]) for name, (_, found) in first.items()}
    times = {name: [seconds] for name, (seconds, _) in first.items()}
    kept = [name for name in candidates if times[name][0] < HOPELESS * times["fp32"][0]]
    for _ in range(ROUNDS):
        for name in kept:
            times[name].append(timed(name)[0])
    seconds = {name: min(found) for name, found in times.items()}
    listed = ", ".join(f"{name} {1e3 * value:.0f} ms" for name, value in seconds.items())
    logger.info("a GRU layer, there and back, on the %s: %s", device.type, listed)
    return choose(seconds, errors)


def choose(seconds: Mapping[Precision, float], errors: Mapping[Precision, float]) -> Precision:
    """Choose by a trial's time and relative error in each precision, fp32 among them."""
    right = [name for name in seconds if errors[name] <= MAX_ERROR[name]]
    best: Precision = min(right, key=lambda name: seconds[name], default="fp32")
    return best if seconds[best] < WORTH_ROUNDING * seconds["fp32"] else "fp32"


def _trial(device: torch.device) -> Callable[[Precision], Tensor]:
    """Return a function that runs the layer in a precision and returns its weights' gradients."""
    generator = torch.Generator().manual_seed(0)
    layer = GRU(2048, 1024, 1)
    with torch.no_grad():
        for weights in layer.parameters():
            weights.uniform_(-1 / 32, 1 / 32, generator=generator)  # as they are initialized
    layer.to(device)
    x = torch.randn(TRIAL_WINDOWS, TRIAL_FRAMES, 2048, generator=generator).to(device)

    def run(precision: Precision) -> Tensor:
        set_float32_products(precision)
        with products(precision, device):
            states = layer(x)
        found = torch.autograd.grad(states.float().square().sum(), list(layer.parameters()))
        return torch.cat([gradient.flatten() for gradient in found]).cpu()  # waits for the device

    return run


def _relative_error(found: Tensor, exact: Tensor) -> float:
    error = (found.double() - exact.double()).norm() / exact.double().norm()
    return float(error.nan_to_num(float("inf"), float("inf")))
