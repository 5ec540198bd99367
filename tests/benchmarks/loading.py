"""How many windows a second does one core bring to the step?

A window is 16 frames of half-precision features with all their labels, 131 kB once in float32, and
comes with a window of captured motion for the discriminator.
"""

from dataclasses import fields
from pathlib import Path

import torch
from torch import Tensor

from tests.benchmarks.measuring import Goal, Options, Report, Row, Work, take_turns
from tests.benchmarks.setting import config_with, write_shards
from vibe_ray.data import reading
from vibe_ray.data.batches import PoseBatch, local_step_batches
from vibe_ray.data.mixing import StepPlan, make_plan
from vibe_ray.data.reading import ClipCache, num_row_bytes, read_shares
from vibe_ray.distributed.streams import ITEM_BYTES, MAX_ITEM_STEPS

NUM_STEPS = 24
ALL_CLIPS = 2**31
"""Bytes that hold every clip: the tier for data sets that fit."""
CONSUMED = 32
"""Windows per second that a step of one second takes; ours takes longer on one core."""


def loader(folder: Path, options: Options) -> Report:
    """Windows per second of one core, from shards and from memory."""
    report = Report(title="Loader: windows per second of one core, features in half precision")
    write_shards(folder / "data")
    config = config_with(folder)
    plan = make_plan(config.data, config.seed)
    num_windows = NUM_STEPS * config.data.batch_size
    device = torch.device(options.device)

    def shards() -> None:
        reading.CACHE = ClipCache(reading.CACHE_BYTES)
        read_plan(plan)

    def consumed() -> None:
        for batch in local_step_batches(plan, 0, NUM_STEPS):
            batch.to(device)

    times = take_turns({"streamed from shards, each clip read once": shards}, options)
    reading.CACHE = ClipCache(ALL_CLIPS)
    cached: dict[str, Work] = {
        "from the cache of clips": lambda: read_plan(plan),
        "from the cache of clips, to tensors in float32": consumed,
    }
    resident, order = _resident(plan, device), torch.randperm(num_windows).to(device)
    in_turn = order.split(config.data.batch_size)
    cached["from tensors on the device, by index, in float32"] = lambda: [
        {name: x.index_select(0, chosen).float() for name, x in resident.items()}
        for chosen in in_turn
    ]
    times |= take_turns(cached, options)
    reading.CACHE = ClipCache(reading.CACHE_BYTES)
    goals = {
        "streamed from shards, each clip read once": Goal(least=5 * CONSUMED),
        "from the cache of clips": Goal(least=20_000),
    }
    for name, seconds in times.items():
        rates = [num_windows / second for second in seconds]
        report.rows.append(Row(name=name, unit="windows/s", values=rates, goal=goals.get(name)))
    report.notes.append(
        f"The first goal is five times what a step of a second takes, {5 * CONSUMED:.0f} windows/s."
    )
    return report


def _resident(plan: StepPlan, device: torch.device) -> dict[str, Tensor]:
    """Load every window as it is stored: what a data set that fits the device could be."""
    batches = list(local_step_batches(plan, 0, NUM_STEPS))
    names = [item.name for item in fields(PoseBatch)]
    pose = {n: torch.cat([getattr(batch.pose, n) for batch in batches]) for n in names}
    motion = torch.cat([batch.motion.pose for batch in batches])
    return {name: x.to(device) for name, x in {**pose, "motion": motion}.items()}


def read_plan(plan: StepPlan) -> int:
    """Read the first steps as the stream does, some of them per table; return how many windows."""
    step_items = max(1, min(MAX_ITEM_STEPS, ITEM_BYTES // num_row_bytes(plan, 1)))
    num_windows = 0
    for first in range(0, NUM_STEPS, step_items):
        steps = range(first, min(first + step_items, NUM_STEPS))
        rows = read_shares(plan, [plan.share(step, 0, 1) for step in steps])
        num_windows += sum(rows["num_windows"].to_pylist())
    return num_windows
