"""What tests of streams share: batches compared, and what stands in for Ray's iterator."""

from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import torch

from vibe_ray.data.batches import StepBatch


def tensors(batch: StepBatch) -> list[torch.Tensor]:
    seen = vars(batch.detections).values() if batch.detections is not None else ()
    return [*vars(batch.pose).values(), batch.motion.pose, *seen]


def assert_same(found: Iterator[StepBatch], expected: Iterator[StepBatch]) -> None:
    for one, other in zip(found, expected, strict=True):
        for a, b in zip(tensors(one), tensors(other), strict=True):
            assert a.dtype == b.dtype
            assert torch.equal(a, b)


class Rows:
    """Stands in for Ray's iterator."""

    def __init__(self, rows: pa.Table) -> None:
        self.rows = rows

    def iter_batches(self, **_: Any) -> Iterator[pa.Table]:
        for index in range(len(self.rows)):
            yield self.rows.slice(index, 1)
