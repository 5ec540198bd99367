"""A device's own GRU: PyTorch's, and a compiler passes it by."""

import torch
from torch import Tensor, nn

from vibe_ray.models.gru import GRU
from vibe_ray.models.whole_gru import whole_gru


class Around(nn.Module):
    """As an encoder has it: something before, something behind."""

    def __init__(self, gru: nn.RNNBase) -> None:
        super().__init__()
        self.gru = gru

    def forward(self, inputs: Tensor) -> Tensor:
        return whole_gru(self.gru, inputs * 2)[0].sin()


def test_it_is_given_the_weights_in_its_order() -> None:
    torch.manual_seed(0)
    network = nn.GRU(11, 8, 3, batch_first=True, bidirectional=True).double()
    ours = GRU(11, 8, 3, bidirectional=True).double()
    ours.load_state_dict(network.state_dict())
    inputs = torch.randn(5, 6, 11, dtype=torch.float64)
    torch.testing.assert_close(whole_gru(ours, inputs), network(inputs), rtol=0, atol=1e-12)


def test_a_device_that_is_no_cpu_runs_it() -> None:
    with torch.device("meta"):
        states = GRU(5, 4, 2, bidirectional=True)(torch.randn(3, 7, 5))
    assert states.shape == (3, 7, 8)
    assert states.device.type == "meta"


def test_a_compiler_leaves_it_whole() -> None:
    network = Around(GRU(5, 4, 1))
    inputs = torch.randn(3, 7, 5)
    torch.compiler.reset()
    explained = torch._dynamo.explain(network)(inputs)
    assert explained.graph_count == 2  # before and behind
    assert "whole_gru" in str(explained.break_reasons[0].reason)
    compiled = torch.compile(network, backend="aot_eager")
    assert torch.equal(compiled(inputs), network(inputs))


def test_a_compiler_leaves_it_whole_in_a_gru_of_a_device_that_is_no_cpu() -> None:
    """The device without memory stands for all others: they go the same way."""

    class Calling(Around):
        def forward(self, inputs: Tensor) -> Tensor:
            return self.gru(inputs * 2).sin()

    with torch.device("meta"):
        network, inputs = Calling(GRU(5, 4, 2, bidirectional=True)), torch.randn(3, 7, 5)
    torch.compiler.reset()
    explained = torch._dynamo.explain(network)(inputs)
    assert any("whole_gru" in str(broken.reason) for broken in explained.break_reasons)
    called = [str(node.target) for graph in explained.graphs for node in graph.graph.nodes]
    assert "sin" in called
    assert not any("gru" in name for name in called)  # neither taken apart nor in a graph
    compiled = torch.compile(network, backend="aot_eager")
    assert compiled(inputs).shape == (3, 7, 8)
