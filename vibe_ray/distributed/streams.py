"""The training stream on Ray Data: a plan in, one rank's share of each step out.

A row of the dataset is one rank's share of one step. An **item** is a few consecutive steps of one
rank, read by one task into one block; items alternate between the ranks, so that Ray's splitter,
which in order-preserving mode gives each next block to the rank with the fewest rows, deals every
rank its own. What arrives is checked against that, since the splitter promises it nowhere.

Readers import this module, so it leaves torch to `batches.py` and that to the consumers.
"""

from collections.abc import Iterator
from functools import lru_cache
from typing import TYPE_CHECKING

import pyarrow as pa
import ray
import ray.data

from vibe_ray.data.mixing import StepPlan
from vibe_ray.data.reading import num_row_bytes, read_shares
from vibe_ray.data.rows import value
from vibe_ray.distributed.pacing import let_scheduler_pause

if TYPE_CHECKING:
    from vibe_ray.data.batches import StepBatch

ITEM_BYTES = 32 * 2**20
"""Size of a block, about. Ray takes a millisecond or two per block before the first batch comes,
and cuts blocks of over 128 MB, which would end the dealing; a single row it cannot cut.
"""
MAX_ITEM_STEPS = 32
READER_CPUS = 0.25
PREFETCH = 2


class StepStream:
    """The rows of any steps of a plan, for so many workers; the plan is stored once for all."""

    def __init__(self, plan: StepPlan, num_workers: int) -> None:
        """Store the plan; reads nothing yet.

        Args:
            plan: Which windows come when.
            num_workers: Who share the steps.

        Raises:
            ValueError: They are more than a step has windows.
        """
        item_steps = ITEM_BYTES // num_row_bytes(plan, num_workers)
        self.item_steps = max(1, min(MAX_ITEM_STEPS, item_steps))
        self._num_workers = num_workers
        self._readers = plan.readers
        self._plan_ref = ray.put(plan)

    def dataset(self, start_step: int, num_steps: int) -> ray.data.Dataset:
        """Return the dataset of all shares of the steps from `start_step` on, of one at least.

        Its splits must be made with `ExecutionOptions(preserve_order=True)` and `equal=True`.
        """
        plan_ref, num_workers, item_steps = self._plan_ref, self._num_workers, self.item_steps
        num_items = -(-num_steps // item_steps) * num_workers

        def read(items: pa.Table) -> Iterator[pa.Table]:
            plan = _load(plan_ref)
            for item in items["item"].to_pylist():
                chunk, rank = divmod(item, num_workers)
                first = start_step + chunk * item_steps
                steps = range(first, min(first + item_steps, start_step + num_steps))
                yield read_shares(plan, [plan.share(step, rank, num_workers) for step in steps])

        let_scheduler_pause()
        items = [{"item": item} for item in range(num_items)]
        return ray.data.from_items(items, override_num_blocks=num_items).map_batches(
            read,
            batch_size=None,
            batch_format="pyarrow",
            num_cpus=READER_CPUS,
            concurrency=self._readers,
        )


def step_batches(
    stream: ray.data.DataIterator, start_step: int, rank: int
) -> "Iterator[StepBatch]":
    """Yield this rank's batches from its split of `StepStream.dataset`.

    Raises:
        RuntimeError: A row of another rank or step arrived.
    """
    from vibe_ray.data.batches import decode_row

    rows = stream.iter_batches(batch_size=1, batch_format="pyarrow", prefetch_batches=PREFETCH)
    for step, row in enumerate(rows, start_step):
        found = (value(row, "step"), value(row, "rank"))
        if found != (step, rank):
            raise RuntimeError(f"the stream brought step and rank {found}, expected {(step, rank)}")
        yield decode_row(row)


@lru_cache(maxsize=2)
def _load(plan_ref: ray.ObjectRef[StepPlan]) -> StepPlan:
    """Fetch the plan once per reading process; its caches of the order then serve all its tasks."""
    return ray.get(plan_ref)
