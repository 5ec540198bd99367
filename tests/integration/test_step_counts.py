"""What does a step ask of the device? Counted, not timed, so it holds on any machine.

A **launch** is an operator that does something: not a view of memory and not its allocation. The
networks' widths do not change how many there are, so they are narrow here; all else is `released`.
Each layer of a GRU is one operator, as it is where cuDNN runs it.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from tests.training.tiny import tiny_state
from vibe_ray.config import TrainConfig
from vibe_ray.data.batches import MotionBatch, PoseBatch, StepBatch
from vibe_ray.recipes import released
from vibe_ray.settings import override
from vibe_ray.training.meter import accumulate
from vibe_ray.training.step import adversarial_step

MOST_LAUNCHES = 800
NARROW = {
    "generator.feature_dim": 48,
    "generator.temporal_encoder.gru.hidden_dim": 32,
    "generator.regressor.hidden_dim": 64,
    "discriminator.hidden_dim": 32,
}
TCMR = {
    "generator__temporal_encoder__kind": "tcmr",
    "generator__temporal_encoder__tcmr__hidden_dim": 32,
}
TRANSFORMER = {
    "generator__temporal_encoder__transformer__hidden_dim": 32,
    "generator__temporal_encoder__kind": "transformer",
}
DISCRIMINATOR = {
    "discriminator__spectral_norm": True,
    "discriminator__pose": "rot6d",
    "discriminator__root_motion": True,
}
ALLOCATIONS = ("empty", "new_empty", "empty_like", "empty_strided", "new_empty_strided")
NO_WORK = (
    *("_unsafe_view", "_reshape_alias", "lift_fresh", "detach", "alias"),
    *("_record_function_enter_new", "_record_function_exit"),
)
"""Operators that are not marked as views though they move nothing."""
WAITS = (
    *("_local_scalar_dense", "item", "is_nonzero", "nonzero", "equal", "allclose"),
    *("masked_select", "_unique2", "unique_dim", "unique_consecutive", "bincount"),
)
"""Operators whose outcome the host must see before it can go on."""


class Counts(TorchDispatchMode):
    """Counts the operators below it by name."""

    def __init__(self) -> None:
        super().__init__()
        self.launches: Counter[str] = Counter()
        self.waits: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        if name in WAITS or (name.startswith(("index", "repeat_interleave")) and _is_masked(args)):
            self.waits[name] += 1
        if not func.is_view and name not in ALLOCATIONS and name not in NO_WORK:
            self.launches[name] += 1
        return func(*args, **(kwargs or {}))


def _is_masked(args: Any) -> bool:
    """Whether an index is a mask, whose kept items must be counted first."""
    indices = args[1] if len(args) > 1 and isinstance(args[1], list | tuple) else ()
    return any(isinstance(i, Tensor) and i.dtype in (torch.bool, torch.uint8) for i in indices)


def config_with(**changes: Any) -> TrainConfig:
    return override(released(), NARROW | {k.replace("__", "."): v for k, v in changes.items()})


def fresh_batch(config: TrainConfig) -> StepBatch:
    """A batch as the stream brings it: half-precision features."""
    B, T = config.data.batch_size, config.data.window_length
    pose = PoseBatch(
        features=torch.randn(B, T, config.generator.feature_dim).half(),
        kp_2d=torch.randn(B, T, 49, 2),
        kp_2d_conf=torch.rand(B, T, 49),
        kp_3d=torch.randn(B, T, 49, 3),
        has_kp_3d=(torch.rand(B, T) < 0.5).to(torch.uint8),
        pose=0.4 * torch.randn(B, T, 72),
        betas=torch.randn(B, T, 10),
        has_smpl=(torch.rand(B, T) < 0.5).to(torch.uint8),
    )
    return StepBatch(pose, MotionBatch(0.4 * torch.randn(config.data.motion_batch_size, T, 72)))


@contextmanager
def counted(config: TrainConfig) -> Iterator[Counts]:
    """Count the operators of a run's third step, with all that the loop does around it."""
    state, batch = tiny_state(config), fresh_batch(config)
    for _ in range(2):  # optimizers and meters make their state at first
        accumulate(state.meter, adversarial_step(state, batch.to(state.device)), state.step - 1)
    with Counts() as counts:
        accumulate(state.meter, adversarial_step(state, batch.to(state.device)), state.step - 1)
        yield counts


def test_counts_know_a_launch_and_a_wait() -> None:
    x = torch.ones(4)
    with Counts() as counts:
        y = (x * 2).view(2, 2)
        float(y.sum())
        x[x > 0]
    assert sorted(counts.launches) == ["_local_scalar_dense", "gt", "index", "mul", "sum"]
    assert counts.waits == {"_local_scalar_dense": 1, "index": 1}


def test_a_step_launches_few_operators() -> None:
    with counted(config_with()) as counts:
        pass
    assert counts.launches.total() <= MOST_LAUNCHES, counts.launches.most_common()


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"optim__one_pass": False},
        {"optim__gradient_clip": 1.0},
        {"optim__accumulate": 2},
        {"optim__average_decay": 0.99},
        {"precision": "bf16"},
        {"losses__adversarial": 0.0},
        {"generator__temporal_encoder__gru__bidirectional": True},
        TCMR,
        TRANSFORMER,
        DISCRIMINATOR,
    ],
    ids=lambda changes: next(iter(changes), "released"),
)
def test_the_host_never_waits_for_a_step(changes: dict[str, Any]) -> None:
    with counted(config_with(**changes)) as counts:
        pass
    assert not counts.waits


@pytest.mark.parametrize(
    "changes",
    [{}, TCMR, TRANSFORMER, DISCRIMINATOR],
    ids=["released", "tcmr", "transformer", "discriminator"],
)
def test_what_is_compiled_has_no_graph_breaks(
    changes: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    compile_as_asked = nn.Module.compile
    graphs = []

    def run_as_it_is(graph: Any, _: Any) -> Any:
        graphs.append(graph)
        return graph

    def in_one_graph(module: nn.Module, **asked: Any) -> None:
        # A break in it is an error then.
        compile_as_asked(module, **asked | {"fullgraph": True, "backend": run_as_it_is})

    monkeypatch.setattr(nn.Module, "compile", in_one_graph)
    torch.compiler.reset()
    config = config_with(compile=True, **changes)
    state = tiny_state(config)
    adversarial_step(state, fresh_batch(config).to(state.device))
    assert len(graphs) >= 3
