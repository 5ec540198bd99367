"""Dropout whose masks cost little on a CPU.

PyTorch draws a float for every unit there, which took a twentieth of a training step. Sixteen
random bits decide as well: a share of p is dropped to within 1 / 131072.
"""

import torch
from torch import Tensor, nn

LEVELS = 2**16


class Dropout(nn.Dropout):
    """`nn.Dropout` with other draws on the CPU: four decisions from one random number."""

    def forward(self, inputs: Tensor) -> Tensor:
        """Drop units of `inputs` (...) at random, in training only."""
        dropped = round(self.p * LEVELS)  # of so many equally likely levels
        is_plain = not self.training or self.p == 0 or dropped == LEVELS
        if is_plain or inputs.device.type != "cpu" or torch.compiler.is_compiling():
            return super().forward(inputs)
        numbers = torch.empty((inputs.numel() + 3) // 4, dtype=torch.int64).random_(-(2**63), None)
        levels = numbers.view(torch.int16)[: inputs.numel()].view(inputs.shape)
        kept = levels >= dropped - LEVELS // 2
        return inputs * kept.to(inputs.dtype).mul_(1 / (1 - self.p))
