"""Our GRU against PyTorch's own, in every precision."""

import pytest
import torch
from torch import Tensor, nn

from tests.models.conftest import Packing
from vibe_ray.models.gru import GRU, gru_layer
from vibe_ray.models.whole_gru import whole_gru

SHAPES = [(1, 1), (1, 7), (3, 1), (5, 6)]
"""Windows and frames."""


def build(dtype: torch.dtype, *, num_layers: int = 2, bidirectional: bool = False) -> nn.GRU:
    torch.manual_seed(0)
    network = nn.GRU(11, 8, num_layers, batch_first=True, bidirectional=bidirectional)
    return network.to(dtype)


def ours_of(network: nn.GRU) -> GRU:
    """Our twin that shares a network's weights."""
    sizes = network.input_size, network.hidden_size, network.num_layers, network.bidirectional
    twin = GRU(*sizes)
    for name, weight in network.named_parameters():
        setattr(twin, name, weight)
    return twin


def random_inputs(B: int, T: int, dtype: torch.dtype, width: int = 11) -> Tensor:
    made = torch.Generator().manual_seed(1)
    return torch.randn(B, T, width, generator=made).to(dtype).requires_grad_()


def gradients(states: Tensor, network: nn.GRU, inputs: Tensor) -> list[Tensor]:
    made = torch.Generator().manual_seed(2)
    scale = torch.randn(states.shape, generator=made)
    wanted = [inputs, *network.parameters()]
    return list(torch.autograd.grad((states.float() * scale).sum(), wanted))


def relative(found: Tensor, expected: Tensor) -> float:
    return float(((found - expected).norm() / expected.norm()).detach())


@pytest.mark.parametrize(("num_layers", "bidirectional"), [(1, True), (2, False), (3, True)])
@pytest.mark.parametrize(("B", "T"), SHAPES)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["f64", "f32"])
def test_agrees_with_pytorchs(
    dtype: torch.dtype, B: int, T: int, num_layers: int, bidirectional: bool
) -> None:
    of_values, of_gradients = (1e-12, 1e-12) if dtype == torch.float64 else (1e-6, 1e-5)
    network = build(dtype, num_layers=num_layers, bidirectional=bidirectional)
    inputs = random_inputs(B, T, dtype)
    expected, found = network(inputs)[0], ours_of(network)(inputs)
    assert found.dtype == expected.dtype
    torch.testing.assert_close(found, expected, rtol=0, atol=of_values)
    want = gradients(expected, network, inputs)
    for got, of in zip(gradients(found, network, inputs), want, strict=True):
        # In a window of one frame no state is fed back: its weights' gradient is zero.
        assert torch.equal(got, of) or relative(got, of) < of_gradients


def test_agrees_at_widths_that_are_packed(packing: Packing) -> None:
    """And with plain products in their place."""
    torch.manual_seed(0)
    network = nn.GRU(69, 512, 1, batch_first=True)
    inputs = random_inputs(8, 16, torch.float32, width=69)
    expected, found = network(inputs)[0], ours_of(network)(inputs)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)
    want = gradients(expected, network, inputs)
    for got, of in zip(gradients(found, network, inputs), want, strict=True):
        assert relative(got, of) < 1e-5


@pytest.mark.parametrize("bidirectional", [False, True], ids=["forward", "both"])
def test_half_precision_products_keep_the_state_in_float32(
    packing: Packing, bidirectional: bool
) -> None:
    network = build(torch.float32, bidirectional=bidirectional)
    inputs = random_inputs(5, 6, torch.float32)
    expected = network(inputs)[0]
    with torch.autocast("cpu", torch.bfloat16):
        found = ours_of(network)(inputs)
    assert found.dtype == torch.float32
    assert 0 < relative(found, expected) < 5e-3
    want = gradients(expected, network, inputs)
    for got, of in zip(gradients(found, network, inputs), want, strict=True):
        assert got.dtype == torch.float32
        assert relative(got, of) < 1e-2


def test_gradients_are_the_slopes_of_the_states() -> None:
    network = build(torch.float64, num_layers=1)
    inputs = random_inputs(2, 4, torch.float64)
    names = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
    weights = [getattr(network, name) for name in names]
    for reverse in (False, True):

        def states(x: Tensor, *given: Tensor, reverse: bool = reverse) -> Tensor:
            return gru_layer(x.transpose(0, 1).contiguous(), *given, reverse)[0]

        assert torch.autograd.gradcheck(states, (inputs, *weights))


@pytest.mark.parametrize("reverse", [False, True])
def test_the_operator_keeps_the_rules_of_operators(reverse: bool) -> None:
    network = build(torch.float32, num_layers=1)
    x = random_inputs(6, 5, torch.float32).detach().requires_grad_()
    torch.library.opcheck(gru_layer, (x, *(p.detach() for p in network.parameters()), reverse))


@pytest.mark.parametrize("own", [False, True], ids=["ours", "the device's"])
def test_a_sequence_may_come_in_pieces(own: bool) -> None:
    network = build(torch.float64, num_layers=3)
    inputs = random_inputs(2, 23, torch.float64)
    twin, last, found = ours_of(network), None, []
    for piece in inputs.split([1, 9, 12, 1], dim=1):
        states, last = whole_gru(twin, piece, last) if own else twin.go_on(piece, last)
        found.append(states)
    expected = network(inputs)
    torch.testing.assert_close((torch.cat(found, dim=1), last), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("length", [1, 7, 23, 40])
def test_both_ways_may_be_gone_in_pieces(length: int) -> None:
    network = build(torch.float64, num_layers=3, bidirectional=True)
    inputs = random_inputs(1, 23, torch.float64)
    found = ours_of(network).both_ways(inputs[0].detach(), length)
    torch.testing.assert_close(found, network(inputs)[0][0], rtol=0, atol=1e-12)


def test_what_goes_on_from_a_state_has_no_wrong_gradients() -> None:
    weights = [p.detach() for p in build(torch.float32, num_layers=1).parameters()]
    x = random_inputs(2, 4, torch.float32).transpose(0, 1).contiguous()
    with pytest.raises(NotImplementedError, match="no gradients"):
        gru_layer(x, *weights, False, torch.zeros(2, 8))


def test_inputs_that_need_no_gradient_cost_none() -> None:
    network = build(torch.float32)
    inputs = random_inputs(5, 6, torch.float32).detach()
    ours_of(network)(inputs).sum().backward()
    found = [p.grad.clone() for p in network.parameters() if p.grad is not None]
    network.zero_grad()
    network(inputs)[0].sum().backward()
    for got, parameter in zip(found, network.parameters(), strict=True):
        assert relative(got, parameter.grad) < 1e-5


def test_runs_again_give_the_same_bits() -> None:
    network = build(torch.float32, bidirectional=True)
    inputs = random_inputs(5, 6, torch.float32)
    twin = ours_of(network)
    twice = [twin(inputs) for _ in range(2)]
    assert torch.equal(*twice)
    of_first, of_second = (gradients(states, network, inputs) for states in twice)
    assert all(torch.equal(a, b) for a, b in zip(of_first, of_second, strict=True))


def test_a_seed_draws_the_weights_that_pytorchs_would_have() -> None:
    expected = build(torch.float32, bidirectional=True).state_dict()
    torch.manual_seed(0)
    found = GRU(11, 8, 2, bidirectional=True).state_dict()
    assert list(found) == list(expected)
    assert all(torch.equal(found[name], expected[name]) for name in expected)


@pytest.mark.parametrize("needs_inputs", [False, True])
def test_compiles_into_one_graph(needs_inputs: bool) -> None:
    network = ours_of(build(torch.float32, bidirectional=True))
    inputs = random_inputs(5, 6, torch.float32).detach().requires_grad_(needs_inputs)
    compiled = torch.compile(network, backend="aot_eager", fullgraph=True)
    want = torch.autograd.grad(network(inputs).sum(), list(network.parameters()))
    got = torch.autograd.grad(compiled(inputs).sum(), list(network.parameters()))
    assert all(torch.equal(a, b) for a, b in zip(got, want, strict=True))
