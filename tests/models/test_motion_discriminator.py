from pathlib import Path
from typing import Literal

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.models import naive_vibe
from vibe_ray.models.motion_discriminator import MotionDiscriminator, MotionDiscriminatorConfig
from vibe_ray.models.motion_view import Form

Pool = Literal["attention", "concat"]


def build(pool: Pool, attention_layers: int = 3, num_layers: int = 2) -> MotionDiscriminator:
    torch.manual_seed(0)
    config = MotionDiscriminatorConfig(
        pool=pool, hidden_dim=10, num_layers=num_layers, attention_layers=attention_layers
    )
    return MotionDiscriminator(config).double()


@pytest.mark.parametrize(
    ("pool", "attention_layers"),
    [("attention", 1), ("attention", 2), ("attention", 3), ("attention", 4), ("concat", 0)],
)
@pytest.mark.parametrize(("B", "T"), [(1, 1), (1, 6), (3, 1), (3, 6)])
def test_agrees_with_the_equations_in_value_and_gradient(
    pool: Pool, attention_layers: int, B: int, T: int
) -> None:
    network = build(pool, max(attention_layers, 1)).eval()
    x = torch.randn(B, T, 69, dtype=torch.float64, requires_grad=True)
    naive = naive_vibe.discriminator(x, dict(network.named_parameters()), 2, attention_layers)
    ours = network(x)
    assert ours.shape == (B,)
    torch.testing.assert_close(ours, naive, rtol=0, atol=1e-12)
    inputs = [x, *network.parameters()]
    scale = torch.randn_like(naive)
    got = torch.autograd.grad((ours * scale).sum(), inputs)
    want = torch.autograd.grad((naive * scale).sum(), inputs)
    for a, b in zip(got, want, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-10)


def test_dropping_a_raw_attention_weight_sets_it_to_zero() -> None:
    """With everything dropped all raw weights are zero: the pooling is the plain mean."""
    network = build("attention", attention_layers=1).train()
    network.attention.attention[-1].p = 1.0
    x = torch.randn(2, 5, 69, dtype=torch.float64)
    frames = network.gru(x)
    expected = network.fc(frames.mean(dim=1))[:, 0]
    torch.testing.assert_close(network(x), expected, rtol=0, atol=1e-12)


def test_training_draws_dropout_and_eval_does_not() -> None:
    network = build("attention")
    x = torch.randn(2, 5, 69, dtype=torch.float64)
    assert not torch.equal(network.train()(x), network(x))
    assert torch.equal(network.eval()(x), network(x))


def test_windows_are_scored_alone() -> None:
    network = build("attention").eval()
    x = torch.randn(4, 5, 69, dtype=torch.float64)
    together, alone = network(x), torch.cat([network(window[None]) for window in x])
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-12)


def test_the_order_of_frames_matters() -> None:
    x = torch.randn(1, 5, 69, dtype=torch.float64)
    for pool in ("attention", "concat"):
        network = build(pool).eval()
        assert not torch.allclose(network(x), network(x.flip(1)))


def test_attention_starts_as_the_released_one() -> None:
    config = MotionDiscriminatorConfig(hidden_dim=64)
    linears = [m for m in MotionDiscriminator(config).attention.modules() if hasattr(m, "weight")]
    assert len(linears) == 3
    for linear in linears:
        assert torch.all(linear.bias == 0.01)
        assert 0.08 < linear.weight.abs().max() <= 0.1


@pytest.mark.parametrize(("pool", "expected"), [("attention", 11_762_690), ("concat", 9_663_489)])
def test_parameters_are_as_many_as_the_released_network_has(pool: Pool, expected: int) -> None:
    with torch.device("meta"):
        network = MotionDiscriminator(MotionDiscriminatorConfig(pool=pool))
    assert sum(p.numel() for p in network.parameters()) == expected


def bounded(pool: Pool = "attention", num_passes: int = 300) -> MotionDiscriminator:
    """A discriminator with bounded weights that has estimated its norms in so many passes."""
    torch.manual_seed(0)
    config = MotionDiscriminatorConfig(
        pool=pool, hidden_dim=10, attention_dropout=0.0, spectral_norm=True
    )
    network = MotionDiscriminator(config).double()
    for _ in range(num_passes):
        network(torch.zeros(1, 1, 69, dtype=torch.float64))
    return network


@pytest.mark.parametrize("pool", ["attention", "concat"])
def test_bounded_weights_are_divided_by_their_norms(pool: Pool) -> None:
    network = bounded(pool).eval()
    names = [n for n, _ in network.named_parameters() if n.endswith("original")]
    assert len(names) == (8 if pool == "attention" else 5)  # all that are matrices
    assert all(p.ndim == 1 for n, p in network.named_parameters() if n not in names)
    effective = {}
    for name, value in network.named_parameters():
        plain = name.replace(".parametrizations", "").removesuffix(".original")
        norm = torch.linalg.matrix_norm(value, 2) if name in names else 1.0
        effective[plain] = value / norm
    x = torch.randn(3, 6, 69, dtype=torch.float64)
    naive = naive_vibe.discriminator(x, effective, 2, 3 if pool == "attention" else 0)
    torch.testing.assert_close(network(x), naive, rtol=0, atol=1e-9)
    # The norm itself has a gradient, too.
    original = dict(network.named_parameters())
    got = torch.autograd.grad(network(x).sum(), [original[n] for n in names])
    want = torch.autograd.grad(naive.sum(), [original[n] for n in names])
    for a, b in zip(got, want, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-7)


def test_bounded_weights_come_back_from_a_file(tmp_path: Path) -> None:
    network, other = bounded(num_passes=2), bounded(num_passes=0)
    save_file(network.state_dict(), tmp_path / "weights.safetensors")
    other.load_state_dict(load_file(tmp_path / "weights.safetensors"))
    x = torch.randn(3, 6, 69, dtype=torch.float64)
    for mode in (True, False):
        assert torch.equal(network.train(mode)(x), other.train(mode)(x))


def test_bounded_weights_run_in_half_precision_and_compiled() -> None:
    network = bounded().float().eval()
    x = torch.randn(3, 6, 69)
    plain = network(x)
    compiled = torch.compile(network, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(x), plain)
    with torch.autocast("cpu", torch.bfloat16):
        rough = network.train()(x)
    assert rough.dtype == torch.float32
    torch.testing.assert_close(rough, plain, rtol=0, atol=0.02)


@pytest.mark.parametrize(
    ("pose", "root_motion", "width"),
    [("axis_angle", True, 72), ("rot6d", False, 138), ("rot6d", True, 144)],
)
def test_the_first_layer_is_as_wide_as_what_is_seen(
    pose: Form, root_motion: bool, width: int
) -> None:
    config = MotionDiscriminatorConfig(hidden_dim=4, pose=pose, root_motion=root_motion)
    network = MotionDiscriminator(config)
    assert network.view.width == width
    assert network(network.view.of_pose(torch.randn(2, 5, 72))).shape == (2,)


@pytest.mark.parametrize("change", [{"attention_dropout": -0.1}, {"attention_layers": 0}])
def test_senseless_settings_are_refused(change: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=f"discriminator.{next(iter(change))} is"):
        MotionDiscriminatorConfig(**change)
