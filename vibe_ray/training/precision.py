"""In what precision are the networks' matrix products taken, and which is fastest here?

Only they: weights, gradients, the optimizers' moments, bodies and losses are float32 always. So a
loss and its gradients hardly change (`tests/training/test_precision.py`), and three seeds saw no
change of accuracy (`docs/results/open_world.md`); how fast each is depends on the processor.
"""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
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
HOPELESS = 2.0
"""Times fp32's time: what takes so long on a small layer is not tried on a large one. A processor
without bf16 takes ten times as long on the large one."""
GLANCE_WIDTH, TRIAL_WIDTH = 512, 2048
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

    VIBE's largest part, a GRU layer, runs forward and backward in each, in turns; what is hopeless
    on a narrower one is left out. So is what is wrong, and fp32 stays where little is won.
    """
    candidates: list[Precision] = (
        ["fp32", "tf32", "bf16"] if device.type == "cuda" else ["fp32", "bf16"]
    )
    glanced, _ = _measured(candidates, GLANCE_WIDTH, device)
    worth = [name for name in candidates if glanced[name] < HOPELESS * glanced["fp32"]]
    seconds, errors = _measured(worth, TRIAL_WIDTH, device)
    listed = ", ".join(f"{name} {1e3 * value:.0f} ms" for name, value in seconds.items())
    logger.info("a GRU layer, there and back, on the %s: %s", device.type, listed)
    return choose(seconds, errors)


def _measured(
    names: Sequence[Precision], width: int, device: torch.device
) -> tuple[dict[Precision, float], dict[Precision, float]]:
    """Return the shortest time in each precision, and the gradients' error relative to fp32's."""
    run = _trial(width, device)
    gradients = {name: run(name) for name in names}  # the first call of each prepares its kernels
    seconds = dict.fromkeys(names, float("inf"))
    for _ in range(ROUNDS):
        for name in names:
            begun = time.perf_counter()
            run(name)
            seconds[name] = min(seconds[name], time.perf_counter() - begun)
    return seconds, {name: _relative_error(gradients[name], gradients["fp32"]) for name in names}


def choose(seconds: Mapping[Precision, float], errors: Mapping[Precision, float]) -> Precision:
    """Choose by a trial's time and relative error in each precision, fp32 among them."""
    right = [name for name in seconds if errors[name] <= MAX_ERROR[name]]
    best: Precision = min(right, key=lambda name: seconds[name], default="fp32")
    return best if seconds[best] < WORTH_ROUNDING * seconds["fp32"] else "fp32"


def _trial(width: int, device: torch.device) -> Callable[[Precision], Tensor]:
    """Return a function that runs the layer in a precision and returns its weights' gradients."""
    generator = torch.Generator().manual_seed(0)
    layer = GRU(width, width // 2, 1)
    bound = (width // 2) ** -0.5
    with torch.no_grad():
        for weights in layer.parameters():
            weights.uniform_(-bound, bound, generator=generator)  # as they are initialized
    layer.to(device)
    x = torch.randn(TRIAL_WINDOWS, TRIAL_FRAMES, width, generator=generator).to(device)

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
