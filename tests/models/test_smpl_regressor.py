from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.models import naive_vibe
from vibe_ray.body.params import SmplParams
from vibe_ray.models.smpl_regressor import SmplRegressor, SmplRegressorConfig, decode


def build(num_iterations: int = 3, dropout: float = 0.5) -> SmplRegressor:
    """A float64 regressor whose heads are large enough that all iterations matter."""
    torch.manual_seed(0)
    config = SmplRegressorConfig(hidden_dim=16, num_iterations=num_iterations, dropout=dropout)
    regressor = SmplRegressor(config, feature_dim=12).double()
    for head in (regressor.decpose, regressor.decshape, regressor.deccam):
        torch.nn.init.normal_(head.weight, std=0.3)
    return regressor


def fields(params: SmplParams) -> tuple[Tensor, Tensor, Tensor]:
    return params.rotmat, params.betas, params.cam


def weighted(parts: Sequence[Tensor], scales: Sequence[Tensor]) -> Tensor:
    return torch.stack([(p * s).sum() for p, s in zip(parts, scales, strict=True)]).sum()


@pytest.mark.parametrize("num_iterations", [1, 3])
def test_agrees_with_the_plain_loop_in_value_and_gradient(num_iterations: int) -> None:
    regressor = build(num_iterations).eval()
    x = torch.randn(5, 12, dtype=torch.float64, requires_grad=True)
    weights = dict(regressor.named_parameters()) | dict(regressor.named_buffers())
    ours = fields(regressor(x))
    naive = naive_vibe.regressor(x, weights, num_iterations)
    inputs = [x, *regressor.parameters()]
    scales = [torch.randn_like(part) for part in naive]
    for got, want in zip(ours, naive, strict=True):
        torch.testing.assert_close(got, want, rtol=0, atol=1e-12)
    got = torch.autograd.grad(weighted(ours, scales), inputs)
    want = torch.autograd.grad(weighted(naive, scales), inputs)
    for a, b in zip(got, want, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-10)


@pytest.mark.parametrize("num_iterations", [1, 2, 3])
def test_one_layer_is_a_linear_layer_in_value_and_gradient(num_iterations: int) -> None:
    torch.manual_seed(0)
    config = SmplRegressorConfig(
        hidden_dim=170, num_iterations=num_iterations, dropout=0.0, start="one_layer"
    )
    regressor = SmplRegressor(config, feature_dim=12).double()
    layer = torch.nn.Linear(12, 157).double()
    mean = torch.cat([regressor.init_pose, regressor.init_shape, regressor.init_cam], dim=1)
    assert torch.equal(regressor.fc1.bias[:157], mean[0])
    assert torch.equal(regressor.fc1.weight[:157, :12], torch.zeros(157, 12).double())
    with torch.no_grad():
        regressor.fc1.weight[:157, :12] = layer.weight
        regressor.fc1.bias[:157] = layer.bias
    x = torch.randn(5, 12, dtype=torch.float64)
    answers = fields(regressor(x)), fields(decode(layer(x)))
    scales = [torch.randn_like(part) for part in answers[0]]
    for got, want in zip(*answers, strict=True):
        torch.testing.assert_close(got, want, rtol=0, atol=1e-12)
    got = torch.autograd.grad(weighted(answers[0], scales), [regressor.fc1.weight])[0]
    want = torch.autograd.grad(weighted(answers[1], scales), [layer.weight])[0]
    torch.testing.assert_close(got[:157, :12], want, rtol=0, atol=1e-10)


@pytest.mark.parametrize("num_iterations", [1, 2, 5])
def test_folding_changes_no_answer(num_iterations: int) -> None:
    regressor = build(num_iterations).eval()
    folded = regressor.folded()
    x = torch.randn(2, 3, 12, dtype=torch.float64)
    for got, want in zip(fields(folded(x)), fields(regressor(x)), strict=True):
        torch.testing.assert_close(got, want, rtol=0, atol=1e-12)


def test_folding_at_full_size_in_single_precision() -> None:
    torch.manual_seed(0)
    regressor = SmplRegressor(SmplRegressorConfig(), feature_dim=2048).eval()
    x = torch.randn(8, 2048).abs()
    folded = regressor.folded()
    assert folded.weight.dtype == torch.float32
    for got, want in zip(fields(folded(x)), fields(regressor(x)), strict=True):
        torch.testing.assert_close(got, want, rtol=0, atol=1e-6)


def test_folding_is_of_eval_mode_even_in_training() -> None:
    regressor = build()
    x = torch.randn(4, 12, dtype=torch.float64)
    in_training = regressor.train().folded()(x)
    for got, want in zip(fields(in_training), fields(regressor.eval()(x)), strict=True):
        torch.testing.assert_close(got, want, rtol=0, atol=1e-12)


def test_dropout_follows_both_hidden_layers_in_every_iteration(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    regressor = build().train()
    x = torch.randn(4, 12, dtype=torch.float64)
    masks = [2.0 * (torch.rand(4, 16, dtype=torch.float64) < 0.5) for _ in range(6)]
    dealt = iter(masks)
    monkeypatch.setattr(regressor.drop1, "forward", lambda h: h * next(dealt))
    monkeypatch.setattr(regressor.drop2, "forward", lambda h: h * next(dealt))
    ours = regressor(x)
    assert next(dealt, None) is None
    theta = [t.expand(4, -1) for t in (regressor.init_pose, regressor.init_shape)]
    theta.append(regressor.init_cam.expand(4, -1))
    for i in range(3):
        h = regressor.fc1(torch.cat([x, *theta], dim=1)) * masks[2 * i]
        h = regressor.fc2(h) * masks[2 * i + 1]
        heads = (regressor.decpose, regressor.decshape, regressor.deccam)
        theta = [t + head(h) for t, head in zip(theta, heads, strict=True)]
    torch.testing.assert_close(ours.betas, theta[1], rtol=0, atol=1e-12)
    torch.testing.assert_close(ours.cam, theta[2], rtol=0, atol=1e-12)


def test_training_draws_dropout_and_eval_does_not() -> None:
    regressor = build()
    x = torch.randn(4, 12, dtype=torch.float64)
    assert not torch.equal(regressor.train()(x).betas, regressor(x).betas)
    assert torch.equal(regressor.eval()(x).betas, regressor(x).betas)


def test_rest_is_an_upright_t_pose_facing_the_camera() -> None:
    regressor = SmplRegressor(SmplRegressorConfig(hidden_dim=4), feature_dim=8).eval()
    torch.nn.init.zeros_(regressor.decpose.weight)
    for head in (regressor.decpose, regressor.decshape, regressor.deccam):
        torch.nn.init.zeros_(head.weight)
        torch.nn.init.zeros_(head.bias)
    params = regressor(torch.randn(2, 8))
    half_turn = torch.diag(torch.tensor([1.0, -1.0, -1.0]))
    expected = torch.cat([half_turn[None], torch.eye(3).expand(23, 3, 3)])
    assert torch.equal(params.rotmat, expected.expand(2, 24, 3, 3))
    assert torch.equal(params.betas, torch.zeros(2, 10))
    assert torch.equal(params.cam, torch.tensor([[0.9, 0, 0]] * 2))


def test_mean_parameters_come_from_a_file(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    arrays = {
        name: rng.normal(size=n).astype(np.float32)
        for name, n in (("cam", 3), ("pose", 144), ("shape", 10))
    }
    path = tmp_path / "smpl_mean_params.npz"
    np.savez(path, **arrays)
    config = SmplRegressorConfig(hidden_dim=4, mean_params=str(path))
    regressor = SmplRegressor(config, feature_dim=8)
    for name, value in arrays.items():
        buffer = regressor.state_dict()[f"init_{name}"]
        np.testing.assert_array_equal(buffer.numpy(), value[None])


def test_unusable_mean_parameters_are_refused(tmp_path: Path) -> None:
    missing = SmplRegressorConfig(mean_params=str(tmp_path / "none.npz"))
    with pytest.raises(FileNotFoundError, match=r"no mean parameters at .*mean_params"):
        SmplRegressor(missing, feature_dim=8)
    np.savez(tmp_path / "bad.npz", pose=np.zeros(72), cam=np.zeros(3))
    bad = SmplRegressorConfig(mean_params=str(tmp_path / "bad.npz"))
    with pytest.raises(ValueError, match=r"\(72, 0, 3\) numbers, expected \(144, 10, 3\)"):
        SmplRegressor(bad, feature_dim=8)


@pytest.mark.parametrize("change", [{"dropout": 1.0}, {"num_iterations": 0}, {"hidden_dim": 0}])
def test_senseless_settings_are_refused(change: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=f"regressor.{next(iter(change))} is"):
        SmplRegressorConfig(**change)


def test_heads_start_near_the_mean() -> None:
    """Xavier with gain 0.01: weights are uniform within 0.01 sqrt(6 / (fan_in + fan_out))."""
    regressor = SmplRegressor(SmplRegressorConfig(hidden_dim=64), feature_dim=8)
    for head in (regressor.decpose, regressor.decshape, regressor.deccam):
        bound = 0.01 * (6 / (64 + head.out_features)) ** 0.5
        assert 0.9 * bound < head.weight.abs().max() <= bound


def test_without_dropout_the_layers_may_be_multiplied_first() -> None:
    torch.manual_seed(0)
    regressor = SmplRegressor(SmplRegressorConfig(hidden_dim=32, dropout=0.0), 64).double()
    with torch.no_grad():
        for head in (regressor.decpose, regressor.decshape, regressor.deccam):
            head.weight.mul_(50.0)  # far from the mean
    features = torch.randn(5, 3, 64, dtype=torch.float64, requires_grad=True)
    inputs = [features, *regressor.parameters()]
    results = []
    for estimate in (regressor._iterate, regressor._iterate_folded):
        found = estimate(features)
        results.append((found, torch.autograd.grad(found.sin().sum(), inputs)))
    (looped, looped_grads), (folded, folded_grads) = results
    torch.testing.assert_close(folded, looped)
    for found, expected in zip(folded_grads, looped_grads, strict=True):
        torch.testing.assert_close(found, expected)
