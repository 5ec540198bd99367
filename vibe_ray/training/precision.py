"""In what precision are the networks' matrix products taken?

Only they: weights, gradients, the optimizers' moments, bodies and losses are float32 always.
"""

from contextlib import AbstractContextManager
from typing import Literal

import torch

Precision = Literal["fp32", "tf32", "bf16"]


def products(precision: Precision, device: torch.device) -> AbstractContextManager[object]:
    """Return the context in which a network is to be called."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16")


def set_float32_products(precision: Precision) -> None:
    """Say for this process how NVIDIA GPUs multiply float32; PyTorch's GRU rounds it by default."""
    kind = "tf32" if precision == "tf32" else "ieee"
    torch.backends.cuda.matmul.fp32_precision = kind
    torch.backends.cudnn.rnn.fp32_precision = kind  # type: ignore[attr-defined]
    torch.backends.cudnn.conv.fp32_precision = kind  # type: ignore[attr-defined]
