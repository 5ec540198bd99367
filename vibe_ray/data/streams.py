"""The training stream on Ray Data: a plan in, one rank's share of each step out.

A row of the dataset is one rank's share of one step. An **item** is a few consecutive steps of one
rank, read by one task into one block; items alternate between the ranks, so that Ray's splitter,
which in order-preserving mode gives each next block to the rank with the fewest rows, deals every
rank its own. What arrives is checked against that, since the splitter promises it nowhere.
"""

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import pyarrow as pa
import ray.data

from vibe_ray.data.batches import ROW_SCHEMA, StepBatch, decode_row, encode_row
from vibe_ray.data.mixing import StepPlan
from vibe_ray.data.reading import read_share

ITEM_STEPS = 4
"""Steps per item: amortizes a task's overhead, keeps blocks at some megabytes."""
READER_CPUS = 0.25
PREFETCH = 2


def step_dataset(
    plan: StepPlan, start_step: int, num_steps: int, num_workers: int
) -> ray.data.Dataset:
    """Return the dataset of all shares of the steps from `start_step` on."""
    num_items = -(-num_steps // ITEM_STEPS) * num_workers
    plan_ref = ray.put(plan)

    def read(items: pa.Table) -> Iterator[pa.Table]:
        loaded = _load(plan_ref)
        for item in items["id"].to_pylist():
            chunk, rank = divmod(item, num_workers)
            first = start_step + chunk * ITEM_STEPS
            last = min(first + ITEM_STEPS, start_step + num_steps)
            rows = [_row(loaded, step, rank, num_workers) for step in range(first, last)]
            yield pa.Table.from_pylist(rows, schema=ROW_SCHEMA)

    return ray.data.range(num_items, override_num_blocks=num_items).map_batches(
        read,
        batch_size=None,
        batch_format="pyarrow",
        num_cpus=READER_CPUS,
        concurrency=plan.readers,
    )


def step_batches(stream: ray.data.DataIterator, start_step: int, rank: int) -> Iterator[StepBatch]:
    """Yield this rank's batches from its split of `step_dataset`.

    Raises:
        RuntimeError: A row of another rank or step arrived.
    """
    rows = stream.iter_batches(batch_size=1, batch_format="pyarrow", prefetch_batches=PREFETCH)
    for step, table in enumerate(rows, start_step):
        row = {name: table[name][0] for name in table.column_names}
        found = (row["step"].as_py(), row["rank"].as_py())
        if found != (step, rank):
            raise RuntimeError(f"the stream brought step and rank {found}, expected {(step, rank)}")
        yield decode_row(row)


def local_step_batches(
    plan: StepPlan, start_step: int, num_steps: int, rank: int = 0, num_workers: int = 1
) -> Iterator[StepBatch]:
    """Yield the same batches without Ray."""
    for step in range(start_step, start_step + num_steps):
        table = pa.Table.from_pylist([_row(plan, step, rank, num_workers)], schema=ROW_SCHEMA)
        yield decode_row({name: table[name][0] for name in table.column_names})


@lru_cache(maxsize=2)
def _load(plan_ref: ray.ObjectRef) -> StepPlan:
    """Fetch the plan once per reading process; its caches of the order then serve all its tasks."""
    plan: StepPlan = ray.get(plan_ref)
    return plan


def _row(plan: StepPlan, step: int, rank: int, num_workers: int) -> dict[str, Any]:
    return encode_row(step, rank, *read_share(plan, plan.share(step, rank, num_workers)))
