"""The GRU of a device, cuDNN's on a GPU, which `torch.compile` leaves whole.

It would take it apart into frames. To say so imports the compiler, which is as large as the rest of
PyTorch, so `gru.py` imports this file only where inputs lie on such a device.

Shapes: B windows, T frames, I inputs, H hidden units.
"""

import torch
from torch import Tensor, nn

from vibe_ray.models.gru import WEIGHTS


@torch.compiler.disable  # type: ignore[untyped-decorator]
def whole_gru(gru: nn.RNNBase, inputs: Tensor, last: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Run all layers over some frames.

    Args:
        gru: Whose weights are taken.
        inputs: (B, T, I).
        last: The states before the first frame (layers, B, H), by direction; zero without.

    Returns:
        The last layer's states (B, T, H), or (B, T, 2H), and every layer's last one.
    """
    directions = 2 if gru.bidirectional else 1
    shape = directions * gru.num_layers, len(inputs), gru.hidden_size
    state = inputs.new_zeros(shape) if last is None else last.type_as(inputs)
    # By name, as weights that are computed from others stand in no list.
    ways = ("", "_reverse")[:directions]
    layers = [f"l{layer}{way}" for layer in range(gru.num_layers) for way in ways]
    weights = [getattr(gru, f"{kind}_{layer}") for layer in layers for kind in WEIGHTS]
    how = True, gru.num_layers, 0.0, gru.training, gru.bidirectional, True
    states, ends = torch.gru(inputs, state, weights, *how)
    return states.type_as(weights[0]), ends
