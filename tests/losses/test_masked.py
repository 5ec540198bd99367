import pytest
import torch

from vibe_ray.losses.masked import masked_squared_error


@pytest.mark.parametrize("dims", [(1,), (3,), (4, 3, 3)])
@pytest.mark.parametrize("dtype", [torch.bool, torch.float32, torch.float64])
def test_agrees_with_cutting_out(dims: tuple[int, ...], dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    a, b = torch.randn(2, 5, 7, *dims, dtype=torch.float64)
    mask = torch.rand(5, 7) < 0.4
    term = masked_squared_error(a, b, mask.to(dtype))
    expected = ((a[mask] - b[mask]) ** 2).mean()
    torch.testing.assert_close(term.total / term.count, expected, rtol=0, atol=1e-12)
    assert term.count == mask.sum()
    assert term.total.shape == term.count.shape == ()


def test_parts_add_up_to_the_whole() -> None:
    a, b = torch.randn(2, 6, 3, 4, dtype=torch.float64)
    mask = torch.rand(6, 3) < 0.5
    whole = masked_squared_error(a, b, mask)
    parts = [masked_squared_error(a[s], b[s], mask[s]) for s in (slice(1), slice(1, 6))]
    torch.testing.assert_close(parts[0].total + parts[1].total, whole.total, rtol=0, atol=1e-12)
    assert parts[0].count + parts[1].count == whole.count


def test_what_is_masked_may_be_nan() -> None:
    a = torch.randn(4, 3, requires_grad=True)
    b = torch.randn(4, 3)
    b[1:] = float("nan")
    mask = torch.tensor([1.0, 0.0, 0.0, 0.0])
    term = masked_squared_error(a, b, mask)
    term.total.backward()
    assert torch.isfinite(term.total)
    assert a.grad is not None
    assert torch.equal(a.grad[1:], torch.zeros(3, 3))
    assert (a.grad[0] != 0).all()
