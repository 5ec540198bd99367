from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor

from tests.training.tiny import random_batch
from vibe_ray.losses.masked import Loss, masked_distance, masked_squared_error, num_known
from vibe_ray.losses.prior import PRIOR, PriorWeights
from vibe_ray.losses.supervised import SUPERVISED
from vibe_ray.losses.weights import LossWeights
from vibe_ray.training.step import UNSUPERVISED


def test_a_share_is_a_parts_sum_over_all_parts_count() -> None:
    loss = Loss("player/errors", "errors", lambda x: x.sum(), lambda batch: num_known(batch))
    x, counts = torch.tensor([1.0, 2.0, 4.0]), {"player/errors": torch.tensor(3.0)}
    shares = [loss.share(counts, part) for part in x.split([1, 2])]
    assert shares == [torch.tensor(1 / 3), torch.tensor(2.0)]


@pytest.mark.parametrize(
    ("losses", "weights"),
    [
        *(((*losses, *UNSUPERVISED), LossWeights()) for losses in SUPERVISED.values()),
        (PRIOR, PriorWeights()),
    ],
)
def test_every_loss_has_a_weight_and_a_count(losses: tuple[Loss, ...], weights: object) -> None:
    assert {loss.weight for loss in losses} == set(vars(weights)) - {"norm"}
    assert len({loss.name for loss in losses}) == len(losses)
    batch = random_batch(2, 3, 4)
    for loss in losses:
        assert loss.count(batch).shape == ()
        assert loss.count(batch).is_floating_point()


@pytest.mark.parametrize("dims", [(1,), (3,), (4, 3, 3)])
@pytest.mark.parametrize("dtype", [torch.bool, torch.float32, torch.float64])
def test_agrees_with_cutting_out(dims: tuple[int, ...], dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    a, b = torch.randn(2, 5, 7, *dims, dtype=torch.float64)
    mask = torch.rand(5, 7) < 0.4
    total, count = masked_squared_error(a, b, mask.to(dtype)), num_known(mask.to(dtype))
    expected = ((a[mask] - b[mask]) ** 2).mean()
    torch.testing.assert_close(total / count, expected, rtol=0, atol=1e-12)
    assert count == mask.sum()
    assert total.shape == count.shape == ()


@pytest.mark.parametrize(("dims", "num_dims"), [((3,), 1), ((4, 3), 1), ((4, 3, 3), 2)])
def test_distances_agree_with_norms_of_what_is_cut_out(
    dims: tuple[int, ...], num_dims: int
) -> None:
    torch.manual_seed(0)
    a, b = torch.randn(2, 5, 7, *dims, dtype=torch.float64)
    mask = torch.rand(5, 7) < 0.4
    total = masked_distance(a, b, mask, num_dims)
    apart = torch.linalg.vector_norm((a - b)[mask], dim=tuple(range(-num_dims, 0)))
    per_item = apart.flatten(1).mean(dim=-1) if apart.ndim > 1 else apart
    torch.testing.assert_close(total, per_item.sum(), rtol=1e-5, atol=0)  # softened by 1e-3


def test_equal_joints_have_a_distance_without_a_gradient() -> None:
    a = torch.randn(4, 5, 3, requires_grad=True)
    total = masked_distance(a, a.detach(), torch.tensor([1.0, 1.0, 0.0, 1.0]), 1)
    total.backward()
    assert total.item() == pytest.approx(3e-3)
    assert a.grad is not None
    assert torch.equal(a.grad, torch.zeros(4, 5, 3))


def test_parts_add_up_to_the_whole() -> None:
    a, b = torch.randn(2, 6, 3, 4, dtype=torch.float64)
    mask = torch.rand(6, 3) < 0.5
    whole = masked_squared_error(a, b, mask)
    parts = [masked_squared_error(a[s], b[s], mask[s]) for s in (slice(1), slice(1, 6))]
    torch.testing.assert_close(parts[0] + parts[1], whole, rtol=0, atol=1e-12)


@pytest.mark.parametrize("measure", [masked_squared_error, partial(masked_distance, num_dims=1)])
def test_what_is_masked_may_be_nan(measure: Callable[..., Tensor]) -> None:
    a = torch.randn(4, 3, requires_grad=True)
    b = torch.randn(4, 3)
    b[1:] = float("nan")
    mask = torch.tensor([1.0, 0.0, 0.0, 0.0])
    total = measure(a, b, mask)
    total.backward()
    assert torch.isfinite(total)
    assert a.grad is not None
    assert torch.equal(a.grad[1:], torch.zeros(3, 3))
    assert (a.grad[0] != 0).all()
