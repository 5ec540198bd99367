"""How much memory does a worker need, and does it grow?"""

import gc
import resource
from pathlib import Path

import torch

from tests.benchmarks.measuring import Goal, Options, Report, Row
from tests.benchmarks.setting import config_with, new_state, step_batch
from vibe_ray.training.meter import accumulate
from vibe_ray.training.step import adversarial_step

WARM_UP, STEPS = 5, 50
MIB = 2**20


def memory(folder: Path, options: Options) -> Report:
    """Resident size of a process that trains; run in a process of its own."""
    report = Report(title=f"Memory of one worker, `released` sizes, over {STEPS} steps")
    config = config_with(folder)
    before = _resident()
    state, batch = new_state(config, options.device), step_batch(config, options.device)
    sizes = []
    for _ in range(WARM_UP + STEPS):
        accumulate(state.meter, adversarial_step(state, batch), state.step - 1)
        sizes.append(_device(options) if options.is_cuda else _resident())
    gc.collect()
    growth = max(sizes[-10:]) - max(sizes[WARM_UP : WARM_UP + 10])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    numbers = sum(p.numel() for p in [*state.generator.parameters()]) + sum(
        p.numel() for p in state.discriminator.parameters()
    )
    least = 4 * 4 * numbers / MIB  # weights, gradients, two moments
    rows = [
        ("resident at most", peak / MIB, f"{before / MIB:.0f} MiB of it before training began"),
        ("weights, gradients and moments alone", least, f"{numbers / 1e6:.1f} M numbers, 4 times"),
    ]
    report.rows = [Row(name=n, unit="MiB", values=[v], note=note) for n, v, note in rows]
    growing = f"largest of the last ten steps less largest of the first ten, after {WARM_UP}"
    grown = Row(name="growth", unit="MiB", values=[growth / MIB], goal=Goal(most=16), note=growing)
    report.rows.append(grown)
    return report


def _resident() -> float:
    """Bytes of this process in memory now."""
    fields = Path("/proc/self/statm").read_text().split()
    return int(fields[1]) * resource.getpagesize()


def _device(options: Options) -> float:
    return torch.cuda.memory_allocated(options.device)
