from collections.abc import Iterator
from typing import Literal

import pytest
import torch

from vibe_ray.models import packed_linear

Packing = Literal["as here", "missing", "refused"]


@pytest.fixture(params=["as here", "missing", "refused"])
def packing(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Packing]:
    """Products as this machine has them, by a PyTorch without the operators, and on a processor
    without the instructions for them.
    """
    if request.param == "missing":
        monkeypatch.setattr(packed_linear, "_pack", lambda *_: torch.ops.mkldnn._no_such_operator)
    elif request.param == "refused":
        monkeypatch.setattr(packed_linear, "_pack", refuse)
    packed_linear.can_pack.cache_clear()
    yield request.param
    packed_linear.can_pack.cache_clear()


def refuse(weight: torch.Tensor, rows: int) -> torch.Tensor:
    raise RuntimeError("bf16 path needs the cpu support avx_ne_convert or avx512bw")
