import warnings

import numpy as np
import pyarrow as pa
import pytest
import torch

from vibe_ray.data.batches import StepBatch, decode_row
from vibe_ray.data.mixing import DataConfig, make_plan
from vibe_ray.data.reading import MOTION_COLUMN, WINDOW_ARRAYS, read_shares
from vibe_ray.data.rows import binary


@pytest.fixture
def rows(shards: str) -> pa.Table:
    """Three steps' shares of the second of two workers: 5 pose windows and 3 of motion each."""
    plan = make_plan(DataConfig(root=shards, batch_size=10, motion_batch_size=7), seed=1)
    return read_shares(plan, [plan.share(step, 1, 2) for step in range(3)])


def tensors(batch: StepBatch) -> dict[str, torch.Tensor]:
    return {**vars(batch.pose), MOTION_COLUMN: batch.motion.pose}


def test_a_batch_holds_the_rows_numbers(rows: pa.Table) -> None:
    row = rows.slice(1, 1)
    batch = decode_row(row)
    assert batch.pose.features.shape == (5, 16, 16)
    assert batch.pose.kp_3d.shape == (5, 16, 49, 3)
    assert batch.pose.has_smpl.shape == (5, 16)
    assert batch.motion.pose.shape == (3, 16, 72)
    for name, tensor in tensors(batch).items():
        content = row.to_pylist()[0][name]
        expected = np.frombuffer(content, tensor.numpy().dtype)
        np.testing.assert_array_equal(tensor.numpy().ravel(), expected)


def test_features_stay_where_they_are_and_the_rest_is_our_own(rows: pa.Table) -> None:
    row = rows.slice(2, 1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        batch = decode_row(row)
    for name in WINDOW_ARRAYS:
        place = binary(row, name, "|u1").__array_interface__["data"][0]
        assert (getattr(batch.pose, name).data_ptr() == place) == (name == "features")


def test_features_outlive_the_row(rows: pa.Table) -> None:
    batch = decode_row(pa.ipc.open_stream(_serialized(rows)).read_all().slice(0, 1))
    expected = decode_row(rows.slice(0, 1))
    filler = [bytes([7]) * 2**20 for _ in range(50)]
    assert torch.equal(batch.pose.features, expected.pose.features)
    del filler


def test_moving_a_batch_gives_float32_that_may_be_written(rows: pa.Table) -> None:
    batch = decode_row(rows.slice(0, 1))
    assert batch.pose.features.dtype == torch.float16
    moved = batch.to(torch.device("cpu"))
    for name, tensor in tensors(moved).items():
        assert tensor.dtype == torch.float32
        assert torch.equal(tensor, tensors(batch)[name].float())
    moved.pose.features.zero_()
    assert batch.pose.features.any()


def _serialized(table: pa.Table) -> pa.Buffer:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()


def test_a_batch_may_be_of_motion_alone(shards: str) -> None:
    both, alone = (
        make_plan(DataConfig(root=shards, batch_size=size, motion_batch_size=7), seed=1)
        for size in (10, 0)
    )
    batch = decode_row(read_shares(alone, [alone.share(2, 1, 2)])).to(torch.device("cpu"))
    expected = decode_row(read_shares(both, [both.share(2, 1, 2)]))
    assert torch.equal(batch.motion.pose, expected.motion.pose)
    assert batch.pose.features.shape == (0, 16, 0)
    assert batch.pose.kp_3d.shape == (0, 16, 49, 3)
    assert batch.pose.has_smpl.shape == (0, 16)
