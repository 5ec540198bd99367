"""Every frame is estimated once, and in one pass for less memory than it takes as a whole."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from tests.evaluation.toy_sequences import MakeSequence, Noise
from vibe_ray.body.model import BodyArrays
from vibe_ray.body.params import SmplParams
from vibe_ray.evaluation import passes
from vibe_ray.evaluation.evaluator import Evaluator, evaluate
from vibe_ray.evaluation.passes import predict_pieces, predict_sequence
from vibe_ray.evaluation.protocols import PROTOCOLS
from vibe_ray.models.generator import FoldedGenerator, Generator, GeneratorConfig
from vibe_ray.models.gru_encoder import GruEncoderConfig
from vibe_ray.models.smpl_regressor import SmplRegressorConfig
from vibe_ray.models.tcmr_encoder import TcmrEncoderConfig
from vibe_ray.models.temporal_encoder import TemporalEncoderConfig
from vibe_ray.models.transformer_encoder import TransformerEncoderConfig

T = 8
F = 85
SMALL_GRU = {"hidden_dim": 8}
ENCODERS: dict[str, dict[str, Any]] = {
    "gru": {"gru": GruEncoderConfig(**SMALL_GRU)},
    "averaged": {"gru": GruEncoderConfig(residual_frames=5, **SMALL_GRU)},
    "plain": {"gru": GruEncoderConfig(residual=False, **SMALL_GRU)},
    "both ways": {"gru": GruEncoderConfig(bidirectional=True, **SMALL_GRU)},
    "tcmr": {"tcmr": TcmrEncoderConfig(hidden_dim=8, attention_dim=4)},
    "transformer": {"transformer": TransformerEncoderConfig(hidden_dim=16, reach=3)},
    "sees all": {"transformer": TransformerEncoderConfig(hidden_dim=16, reach=0)},
    "none": {},
}
LEAN = ("gru", "averaged", "plain", "transformer", "none")
"""Encoders that hold no more of a long sequence than of a short one."""


def network(name: str, dtype: torch.dtype = torch.float64) -> FoldedGenerator:
    """An untrained generator whose every part has a say."""
    torch.manual_seed(0)
    kind: Any = next(iter(ENCODERS[name]), "none")
    generator = Generator(
        GeneratorConfig(
            feature_dim=F,
            temporal_encoder=TemporalEncoderConfig(kind=kind, **ENCODERS[name]),
            regressor=SmplRegressorConfig(hidden_dim=16),
        )
    )
    for weight in generator.parameters():
        if weight.ndim == 2:
            torch.nn.init.normal_(weight, std=len(weight) ** -0.5)
    return generator.to(dtype).folded()


class Whole:
    """A network without its way to go in pieces."""

    def __init__(self, inner: FoldedGenerator) -> None:
        self._inner = inner

    def __call__(self, features: Tensor) -> SmplParams:
        params: SmplParams = self._inner(features.to(next(self._inner.parameters()).dtype))
        return params


@pytest.mark.parametrize("num_frames", [1, 5, 8, 9, 16, 23])
def test_each_frame_is_predicted_once(num_frames: int, network: Noise) -> None:
    features = torch.rand(num_frames, 85)
    params = predict_sequence(network, features, T, batch_windows=2)
    torch.testing.assert_close(params.betas, features[:, 72:82])
    torch.testing.assert_close(params.cam, features[:, 82:])
    assert sum(shape[0] for shape in network.shapes) == max(1, -(-num_frames // T))
    assert all(shape[0] <= 2 and shape[1] == min(T, num_frames) for shape in network.shapes)


def test_the_last_window_ends_with_the_sequence_and_only_its_end_is_new() -> None:
    def positions(features: Tensor) -> SmplParams:  # answers with the place within the window
        place = torch.arange(features.shape[1]).float().expand(features.shape[:2])
        return SmplParams(
            place[..., None, None, None].expand(-1, -1, 24, 3, 3),
            place[..., None].expand(-1, -1, 10),
            features,
        )

    params = predict_sequence(positions, torch.arange(11.0)[:, None].expand(-1, 3), 4)
    assert params.betas[:, 0].tolist() == [0, 1, 2, 3, 0, 1, 2, 3, 1, 2, 3]
    assert params.cam[:, 0].tolist() == list(range(11))


def test_features_of_any_float_type_reach_the_network_as_float32(network: Noise) -> None:
    params = predict_sequence(network, torch.rand(9, 85).half(), T)
    assert params.betas.dtype == torch.float32


@pytest.mark.parametrize("name", ENCODERS)
@pytest.mark.parametrize(("num_frames", "piece"), [(41, 7), (42, 7), (50, 49), (8, 1)])
def test_one_pass_in_pieces_is_one_pass(
    name: str, num_frames: int, piece: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(passes, "PIECE_FRAMES", piece)
    features = torch.randn(num_frames, F, dtype=torch.float64)
    inner = network(name)
    found = list(predict_pieces(inner, features, num_frames))
    assert [len(part.betas) for part in found] == [len(part) for part in features.split(piece)]
    expected = inner(features[None])
    for key, value in vars(expected).items():
        joined = torch.cat([getattr(part, key) for part in found])
        torch.testing.assert_close(joined, value[0], rtol=0, atol=1e-12)


@pytest.mark.parametrize("protocol", ["open", "sequence"])
@pytest.mark.parametrize("truth", ["smpl", "kp_3d"])
def test_an_evaluation_in_small_pieces_says_what_one_piece_says(
    protocol: str,
    truth: str,
    body: BodyArrays,
    make_sequence: MakeSequence,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In float32, whose sums differ in their last digits with the number of rows."""
    sequence = make_sequence(61)
    sequence.valid[[3, 16, 17, 40]] = False
    if truth == "kp_3d":
        sequence.has_smpl[:] = False
    inner = network("gru", torch.float32)
    expected = evaluate(Whole(inner), [sequence], body, PROTOCOLS[protocol], T)
    monkeypatch.setattr(passes, "PIECE_FRAMES", 7)
    monkeypatch.setattr(passes, "BATCH_WINDOWS", 2)
    found = evaluate(inner, [sequence], body, PROTOCOLS[protocol], T)
    assert found.num_frames == expected.num_frames == 57
    assert found.metrics == pytest.approx(expected.metrics, rel=1e-5)


class Largest(TorchDispatchMode):
    """Remembers how many numbers the largest new tensor had."""

    def __init__(self) -> None:
        super().__init__()
        self.numel = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        if not func.is_view:
            for tensor in made if isinstance(made, tuple | list) else [made]:
                if isinstance(tensor, Tensor) and tensor.is_floating_point():
                    self.numel = max(self.numel, tensor.numel())
        return made


@pytest.mark.parametrize(
    ("name", "protocol"),
    [*((name, "sequence") for name in LEAN), ("gru", "open"), ("gru", "vibe_compat")],
)
def test_a_longer_sequence_takes_no_larger_tensors(
    name: str,
    protocol: str,
    body: BodyArrays,
    make_sequence: MakeSequence,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Counted below all operators, so whatever is made of floating-point numbers is seen."""
    monkeypatch.setattr(passes, "PIECE_FRAMES", 16)
    inner, largest = network(name, torch.float32), []
    for num_frames in (64, 512):
        sequence = make_sequence(num_frames)
        with Largest() as made:
            evaluator = Evaluator(body, PROTOCOLS[protocol], T, batch_windows=2)
            evaluator.add(inner, sequence)
        largest.append(made.numel)
    assert largest[1] <= largest[0]
