from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from tests.models import naive_vibe
from vibe_ray.models.generator import Generator, GeneratorConfig
from vibe_ray.models.gru_encoder import GruEncoderConfig
from vibe_ray.models.motion_discriminator import MotionDiscriminator, MotionDiscriminatorConfig
from vibe_ray.models.smpl_regressor import SmplRegressorConfig
from vibe_ray.models.temporal_encoder import TemporalEncoderConfig

SMALL = GeneratorConfig(
    feature_dim=12,
    temporal_encoder=TemporalEncoderConfig(gru=GruEncoderConfig(hidden_dim=8)),
    regressor=SmplRegressorConfig(hidden_dim=16),
)


def build(dtype: torch.dtype) -> Generator:
    torch.manual_seed(0)
    generator = Generator(SMALL).to(dtype)
    regressor = generator.regressor
    for head in (regressor.decpose, regressor.decshape, regressor.deccam):
        torch.nn.init.normal_(head.weight, std=0.05)
    return generator.eval()


def weighted(parts: Sequence[Tensor], scales: Sequence[Tensor]) -> Tensor:
    return torch.stack([(p * s).sum() for p, s in zip(parts, scales, strict=True)]).sum()


@pytest.mark.parametrize(("dtype", "bound"), [(torch.float32, 1e-6), (torch.float64, 1e-14)])
def test_agrees_with_the_naive_network(dtype: torch.dtype, bound: float) -> None:
    """As a whole: what is left of one number by cancellation is up to the order of sums."""
    generator = build(dtype)
    features = torch.randn(3, 4, 12, dtype=dtype)
    params = generator(features)
    weights = {name: value.double() for name, value in generator.state_dict().items()}
    encoded = naive_vibe.encoder(
        features.double(),
        naive_vibe.sub_weights(weights, "encoder."),
        num_layers=2,
        bidirectional=False,
        linear=True,
        residual=True,
    )
    rotmat, betas, cam = naive_vibe.regressor(
        encoded.flatten(0, 1), naive_vibe.sub_weights(weights, "regressor."), 3
    )
    for got, want in ((params.rotmat, rotmat), (params.betas, betas), (params.cam, cam)):
        expected = want.unflatten(0, (3, 4))
        assert (got.double() - expected).norm() < bound * expected.norm()


def test_gradients_agree_with_the_naive_network() -> None:
    generator = build(torch.float64)
    features = torch.randn(2, 3, 12, dtype=torch.float64, requires_grad=True)
    inputs = [features, *generator.parameters()]
    weights = dict(generator.named_parameters()) | dict(generator.named_buffers())
    encoded = naive_vibe.encoder(
        features,
        naive_vibe.sub_weights(weights, "encoder."),
        num_layers=2,
        bidirectional=False,
        linear=True,
        residual=True,
    )
    naive = naive_vibe.regressor(
        encoded.flatten(0, 1), naive_vibe.sub_weights(weights, "regressor."), 3
    )
    params = generator(features)
    ours = [part.flatten(0, 1) for part in (params.rotmat, params.betas, params.cam)]
    scales = [torch.randn_like(part) for part in naive]
    got = torch.autograd.grad(weighted(ours, scales), inputs)
    want = torch.autograd.grad(weighted(naive, scales), inputs)
    for a, b in zip(got, want, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-10)


def test_folded_answers_as_eval_mode_and_is_a_snapshot() -> None:
    generator = build(torch.float64)
    features = torch.randn(2, 5, 12, dtype=torch.float64)
    folded = generator.folded()
    before = generator(features)
    assert not any(p.requires_grad for p in folded.parameters())
    for got, want in zip(vars(folded(features)).values(), vars(before).values(), strict=True):
        torch.testing.assert_close(got, want, rtol=0, atol=1e-12)
    with torch.no_grad():
        for parameter in generator.parameters():
            parameter.add_(0.1)
    torch.testing.assert_close(folded(features).rotmat, before.rotmat, rtol=0, atol=1e-12)


def test_without_an_encoder_frames_do_not_know_each_other() -> None:
    config = GeneratorConfig(
        feature_dim=12,
        temporal_encoder=TemporalEncoderConfig(kind="none"),
        regressor=SmplRegressorConfig(hidden_dim=16),
    )
    generator = Generator(config).eval()
    features = torch.randn(2, 5, 12)
    order = torch.tensor([3, 0, 4, 1, 2])
    ours, permuted = generator(features), generator(features[:, order])
    torch.testing.assert_close(permuted.rotmat, ours.rotmat[:, order], rtol=0, atol=1e-6)
    assert all(name.startswith("regressor.") for name in generator.state_dict())


@pytest.mark.parametrize(("B", "T"), [(1, 1), (1, 4), (3, 1), (2, 300)])
def test_any_number_of_windows_and_frames(B: int, T: int) -> None:
    for network in (build(torch.float32), build(torch.float32).folded()):
        params = network(torch.randn(B, T, 12))
        assert params.rotmat.shape == (B, T, 24, 3, 3)
        assert params.betas.shape == (B, T, 10)
        assert params.cam.shape == (B, T, 3)


@pytest.mark.parametrize("shape", [(2, 5, 2048), (5, 12), (1, 2, 5, 12)])
def test_features_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    generator = build(torch.float32)
    for network in (generator, generator.folded()):
        with pytest.raises(ValueError, match=r"features have shape .*expected .*frames, 12\)"):
            network(torch.zeros(shape))


def test_rebuilding_needs_no_mean_parameters_file(tmp_path: Path) -> None:
    path = tmp_path / "mean.npz"
    np.savez(path, pose=np.full(144, 0.5), shape=np.ones(10), cam=np.ones(3))
    config = GeneratorConfig(
        feature_dim=12,
        temporal_encoder=TemporalEncoderConfig(gru=GruEncoderConfig(hidden_dim=8)),
        regressor=SmplRegressorConfig(hidden_dim=16, mean_params=str(path)),
    )
    weights = Generator(config).state_dict()
    path.unlink()
    rebuilt = Generator.from_weights(config, weights)
    assert torch.equal(rebuilt.regressor.init_pose, torch.full((1, 144), 0.5))
    with pytest.raises(RuntimeError, match=r"encoder\.linear\.weight"):
        Generator.from_weights(SMALL, {k: v for k, v in weights.items() if "linear" not in k})


def test_parameters_are_as_many_as_the_released_network_has() -> None:
    with torch.device("meta"):
        generator = Generator(GeneratorConfig())
    assert sum(p.numel() for p in generator.parameters()) == 21_309_597


class NoHostReads(TorchDispatchMode):
    """Fails where a GPU would have to answer before the next kernel can be asked for."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = str(func)
        assert "_local_scalar_dense" not in name, "a tensor's value was read"
        assert "nonzero" not in name, "a shape depends on values"
        is_index = name.startswith("aten.index")
        assert not (is_index and any(t.dtype == torch.bool for t in tensors(args[1])))
        return func(*args, **(kwargs or {}))


def tensors(values: Any) -> list[Tensor]:
    return [v for v in values if isinstance(v, Tensor)] if isinstance(values, list) else []


def test_a_training_pass_reads_nothing_back() -> None:
    generator = build(torch.float32).train()
    discriminator = MotionDiscriminator(MotionDiscriminatorConfig(hidden_dim=8))
    features = torch.randn(2, 3, 12)
    with NoHostReads():
        params = generator(features)
        score = discriminator(params.pose[..., 3:])
        (score.square().sum() + params.betas.sum() + params.cam.sum()).backward()
