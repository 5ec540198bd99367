"""A generator that looks at key-points: where it starts, what it is told, and what it answers."""

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.models import naive_vibe
from vibe_ray.body.joints import BodyJoints
from vibe_ray.body.mesh import BodyModel
from vibe_ray.body.model import BodyArrays
from vibe_ray.body.params import SmplParams
from vibe_ray.body.skeletons import KEYPOINTS, WHOLEBODY_23
from vibe_ray.features.keypoint_encoder import NUM_INPUTS, KeypointEncoderConfig
from vibe_ray.geometry.cameras import CROP_SIZE, FOCAL_LENGTH
from vibe_ray.models.generator import Generator, GeneratorConfig
from vibe_ray.models.gru_encoder import GruEncoderConfig
from vibe_ray.models.keypoints import KeypointInput, ReprojectionFeedback
from vibe_ray.models.smpl_regressor import SmplRegressor, SmplRegressorConfig
from vibe_ray.models.tcmr_encoder import TcmrEncoderConfig
from vibe_ray.models.temporal_encoder import TemporalEncoderConfig
from vibe_ray.models.transformer_encoder import TransformerEncoderConfig

F, D = 12, len(WHOLEBODY_23)
KINDS = ("gru", "tcmr", "transformer", "none")
BOTH = {"keypoint_dim": 6, "feedback": True}
SIZE = KeypointEncoderConfig(feature_dim=F, hidden_dim=8, num_blocks=1)
LEARNED = {"learns_features": True, "frame_encoder": SIZE}


def config(kind: str = "gru", dropout: float = 0.0, **changes: Any) -> GeneratorConfig:
    encoder = TemporalEncoderConfig(
        kind=kind,  # type: ignore[arg-type]
        gru=GruEncoderConfig(hidden_dim=8, residual_frames=3),
        tcmr=TcmrEncoderConfig(hidden_dim=8, attention_dim=4),
        transformer=TransformerEncoderConfig(hidden_dim=16, num_heads=2, reach=3),
    )
    regressor = SmplRegressorConfig(hidden_dim=16, dropout=dropout)
    return GeneratorConfig(feature_dim=F, temporal_encoder=encoder, regressor=regressor, **changes)


def build(of: GeneratorConfig, body: BodyArrays, dtype: torch.dtype = torch.float64) -> Generator:
    torch.manual_seed(0)
    generator = Generator(of, body).to(dtype)
    for head in heads(generator.regressor):
        torch.nn.init.normal_(head.weight, std=0.05, generator=torch.Generator().manual_seed(1))
    return generator


def moved(generator: Generator, std: float = 0.3) -> Generator:
    """Give the weights that start at zero others."""
    made = torch.Generator().manual_seed(2)
    for module in (generator.keypoint_input, generator.feedback):
        for weight in module.parameters() if module is not None else ():
            torch.nn.init.normal_(weight, std=std, generator=made)
    return generator


def heads(regressor: SmplRegressor) -> Sequence[torch.nn.Linear]:
    return regressor.decpose, regressor.decshape, regressor.deccam


def some_inputs(B: int, T: int, dtype: torch.dtype = torch.float64) -> Tensor:
    """Features and key-points of all over the box; a third of them is missed."""
    made = torch.Generator().manual_seed(3)
    kp = 2 * torch.rand(B, T, D, 2, generator=made) - 1
    conf = (1.5 * torch.rand(B, T, D, 1, generator=made) - 0.5).clamp(min=0)
    seen = torch.cat([torch.where(conf > 0, kp, 0.0), conf], dim=-1).flatten(-2)
    place = torch.rand(B, T, 3, generator=made)
    return torch.cat([torch.randn(B, T, F, generator=made), seen, place], dim=-1).to(dtype)


def equal(found: SmplParams, expected: SmplParams, atol: float = 0.0) -> None:
    for name, value in vars(expected).items():
        torch.testing.assert_close(getattr(found, name), value, rtol=0, atol=atol, msg=name)


def naive_errors(body: BodyArrays, params: SmplParams, seen: Tensor) -> Tensor:
    """Errors (N, 2 D) of estimates (N, ...), key-point by key-point, off the mesh."""
    model = BodyModel(body, torch.float64)
    points = model.keypoints(model(params.betas, params.rotmat))
    own, detected = (
        BodyJoints.keypoints(body, torch.float64, as_detected=x) for x in (False, True)
    )
    points += detected(params.betas, params.rotmat) - own(params.betas, params.rotmat)
    rows = []
    for n in range(len(seen)):
        row: list[float] = []
        scale, shift_x, shift_y = params.cam[n].tolist()
        for i, name in enumerate(WHOLEBODY_23):
            x, y, z = points[n, KEYPOINTS.index(name)].tolist()
            depth = z + 2 * FOCAL_LENGTH / (CROP_SIZE * scale)
            u, v = (FOCAL_LENGTH * (p + s) / depth / (CROP_SIZE / 2)
                    for p, s in ((x, shift_x), (y, shift_y)))  # fmt: skip
            kp_x, kp_y, conf = seen[n, 3 * i : 3 * i + 3].tolist()
            row += [conf * (kp_x - min(3, max(-3, u))), conf * (kp_y - min(3, max(-3, v)))]
        rows.append(row)
    return torch.tensor(rows, dtype=torch.float64)


def test_errors_are_those_of_the_mesh_point_by_point(body: BodyArrays) -> None:
    made = torch.Generator().manual_seed(4)
    seen = some_inputs(1, 6)[0, :, F:]
    six = torch.randn(6, 24, 6, generator=made, dtype=torch.float64)
    rotmat = torch.stack([naive_vibe.rot6d_to_rotmat(x) for x in six.flatten(0, 1)])
    cam = torch.tensor([[0.9, 0.1, -0.2]], dtype=torch.float64).repeat(6, 1)
    cam[1, 0], cam[2, 1] = 0.2, 9.0  # far too large, and out of the crop
    betas = torch.randn(6, 10, generator=made, dtype=torch.float64)
    params = SmplParams(rotmat.unflatten(0, (6, 24)), betas, cam)
    feedback = ReprojectionFeedback(4, body).double()
    found = feedback(params, seen)
    expected = naive_errors(body, params, seen)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)  # the body is float32
    assert (found == 0).any()  # what is missed
    one = params.map(lambda x: x[:1])
    torch.testing.assert_close(feedback(one, seen), feedback(one.map(lambda x: x.expand(
        6, *x.shape[1:])), seen), rtol=0, atol=1e-12)  # fmt: skip


@pytest.mark.parametrize("num_windows", [1, 2])
def test_each_iteration_is_told_of_the_estimate_before(body: BodyArrays, num_windows: int) -> None:
    """The whole loop, a frame at a time."""
    generator = moved(build(config("none", feedback=True), body)).eval()
    inputs = some_inputs(num_windows, 3)
    weights = dict(generator.regressor.state_dict())
    assert generator.feedback is not None
    extra = generator.feedback.weight.detach()
    rotmats, betas, cams = [], [], []
    for frame in inputs.flatten(0, 1):
        pose, shape, cam = (weights[f"init_{name}"][0] for name in ("pose", "shape", "cam"))
        for _ in range(3):
            rotmat = torch.stack([naive_vibe.rot6d_to_rotmat(six) for six in pose.view(24, 6)])
            now = SmplParams(rotmat[None], shape[None], cam[None])
            told = naive_errors(body, now, frame[None, F:])[0]
            h = weights["fc1.weight"] @ torch.cat([frame[:F], pose, shape, cam])
            h = weights["fc2.weight"] @ (h + weights["fc1.bias"] + extra @ told)
            h = h + weights["fc2.bias"]
            pose = pose + weights["decpose.weight"] @ h + weights["decpose.bias"]
            shape = shape + weights["decshape.weight"] @ h + weights["decshape.bias"]
            cam = cam + weights["deccam.weight"] @ h + weights["deccam.bias"]
        rotmats += [torch.stack([naive_vibe.rot6d_to_rotmat(six) for six in pose.view(24, 6)])]
        betas, cams = [*betas, shape], [*cams, cam]
    expected = SmplParams(torch.stack(rotmats), torch.stack(betas), torch.stack(cams))
    found = generator(inputs).map(lambda x: x.flatten(0, 1))
    equal(found, expected, atol=1e-3)


@pytest.mark.parametrize("dropout", [0.0, 0.5])
@pytest.mark.parametrize("changes", [{"keypoint_dim": 6}, {"feedback": True}, BOTH], ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_training_starts_at_the_network_without(
    kind: str, changes: dict[str, Any], dropout: float, body: BodyArrays
) -> None:
    plain = build(config(kind, dropout), body, torch.float32)
    looking = build(config(kind, dropout, **changes), body, torch.float32)
    inputs = some_inputs(2, 5, torch.float32)
    for network in (plain, looking):
        network.train()
    torch.manual_seed(5)
    expected = plain(inputs[..., :F])
    torch.manual_seed(5)
    equal(looking(inputs), expected)
    shared = plain.state_dict()
    assert all(torch.equal(looking.state_dict()[name], value) for name, value in shared.items())
    with pytest.raises(ValueError, match=f"expected .windows, frames, {F + NUM_INPUTS}"):
        looking(inputs[..., :F])


@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_a_first_step_moves_what_starts_at_zero_and_a_second_all(
    dropout: float, body: BodyArrays
) -> None:
    generator = build(config(dropout=dropout, **BOTH), body).train()
    optimizer = torch.optim.SGD(generator.parameters(), lr=1e-2)
    inputs = some_inputs(2, 4)
    for step in range(2):
        torch.manual_seed(step)
        optimizer.zero_grad()
        params = generator(inputs)
        (params.rotmat[..., 0].sum() + params.betas.sum() + params.cam.square().sum()).backward()
        grads = {name: p.grad for name, p in generator.named_parameters() if p.grad is not None}
        assert set(grads) == {name for name, _ in generator.named_parameters()}
        still = {name for name, grad in grads.items() if not grad.any()}
        hidden = {"keypoint_input.hidden.weight", "keypoint_input.hidden.bias"}
        assert still == (hidden if step == 0 else set())
        optimizer.step()


@pytest.mark.parametrize("kind", KINDS)
def test_an_encoder_of_its_own_is_all_that_it_sees_of_a_frame(kind: str, body: BodyArrays) -> None:
    plain, own = build(config(kind), body), build(config(kind, **LEARNED), body)
    weights = own.state_dict()
    assert all(torch.equal(weights[name], value) for name, value in plain.state_dict().items())
    layers = {n.removeprefix("frame_encoder."): w for n, w in weights.items()}
    inputs = some_inputs(2, 5)

    def normed(x: Tensor, name: str) -> Tensor:
        x = (x - x.mean(-1, keepdim=True)) / (x.var(-1, unbiased=False, keepdim=True) + 1e-5).sqrt()
        return (x * layers[f"{name}.weight"] + layers[f"{name}.bias"]).clamp(min=0)

    def linear(x: Tensor, name: str) -> Tensor:
        return torch.einsum("...i,oi->...o", x, layers[f"{name}.weight"]) + layers[f"{name}.bias"]

    x = linear(inputs[..., F:], "input")
    x = x + linear(normed(x, "blocks.0.norm"), "blocks.0.linear")
    features = linear(normed(x, "norm"), "output").clamp(min=0)
    expected = plain(features)
    equal(own(inputs), expected, atol=1e-10)
    other = torch.cat([torch.randn_like(inputs[..., :F]), inputs[..., F:]], dim=-1)
    equal(own(other), own(inputs))
    own(inputs).rotmat[..., 0].sum().backward()
    assert own.frame_encoder is not None
    assert all(p.grad is not None and p.grad.any() for p in own.frame_encoder.parameters())


@pytest.mark.parametrize("one_shape", [False, True])
@pytest.mark.parametrize("changes", [BOTH, LEARNED, BOTH | LEARNED], ids=["both", "own", "all"])
@pytest.mark.parametrize("kind", KINDS)
def test_folded_and_in_pieces_it_answers_as_in_eval_mode(
    kind: str, changes: dict[str, Any], one_shape: bool, body: BodyArrays
) -> None:
    generator = moved(build(config(kind, dropout=0.5, one_shape=one_shape, **changes), body)).eval()
    inputs = some_inputs(2, 11)
    expected, folded = generator(inputs), generator.folded()
    assert not any(p.requires_grad for p in folded.parameters())
    equal(folded(inputs), expected, atol=1e-10)
    pieces = list(folded.pieces(inputs[1], 4))
    assert [len(piece.betas) for piece in pieces] == [4, 4, 3]
    for name, value in vars(expected).items():
        joined = torch.cat([getattr(piece, name) for piece in pieces])
        torch.testing.assert_close(joined, value[1], rtol=0, atol=1e-10)
    with torch.no_grad():
        for parameter in generator.parameters():
            parameter.add_(0.1)
    equal(folded(inputs), expected, atol=1e-10)  # a snapshot


@pytest.mark.parametrize("kind", KINDS)
def test_each_of_both_has_a_say(kind: str, body: BodyArrays) -> None:
    inputs = some_inputs(1, 4)
    answers = [
        moved(build(config(kind, **changes), body)).eval()(inputs).rotmat
        for changes in ({}, {"keypoint_dim": 6}, {"feedback": True}, BOTH, BOTH | LEARNED)
    ]
    for i, answer in enumerate(answers):
        assert all((answer - other).abs().max() > 1e-3 for other in answers[:i])


def test_the_input_is_two_layers_on_what_was_seen() -> None:
    torch.manual_seed(0)
    layer = KeypointInput(6, F).double()
    torch.nn.init.normal_(layer.output.weight)
    inputs = some_inputs(2, 3)
    features, seen = inputs[..., :F], inputs[..., F:]
    hidden = torch.einsum("btw,hw->bth", seen, layer.hidden.weight) + layer.hidden.bias
    added = torch.einsum("bth,fh->btf", hidden.clamp(min=0), layer.output.weight)
    torch.testing.assert_close(layer(features, seen), features + added, rtol=0, atol=1e-12)


def test_one_shape_is_the_mean_of_the_windows_shapes_and_learns_as_such(body: BodyArrays) -> None:
    every, one = build(config(), body), build(config(one_shape=True), body)
    features = some_inputs(2, 5)[..., :F]
    shapes, found = every(features), one(features)
    equal(SmplParams(found.rotmat, shapes.betas, found.cam), shapes)
    for window in range(2):
        mean = sum(shapes.betas[window, t] for t in range(5)) / 5
        for t in range(5):
            torch.testing.assert_close(found.betas[window, t], mean, rtol=0, atol=1e-12)
    found.betas[0, 0].sum().backward()
    shapes.betas[0].mean(dim=0).sum().backward()
    for got, want in zip(one.parameters(), every.parameters(), strict=True):
        assert (got.grad is None) == (want.grad is None)
        if got.grad is not None:
            torch.testing.assert_close(got.grad, want.grad, rtol=0, atol=1e-12)


def test_a_network_without_leaves_keypoints_that_are_there(body: BodyArrays) -> None:
    inputs = some_inputs(2, 9)
    plain = build(config(), body).eval()
    equal(plain(inputs), plain(inputs[..., :F]))
    folded = plain.folded()
    for wide, narrow in zip(folded.pieces(inputs[0], 4), folded.pieces(inputs[0, :, :F], 4),
                            strict=True):  # fmt: skip
        equal(wide, narrow)


def test_half_precision_products_leave_the_errors_exact(body: BodyArrays) -> None:
    generator = moved(build(config(**BOTH), body, torch.float32)).eval()
    inputs, params = some_inputs(1, 3, torch.float32), None
    feedback = generator.feedback
    assert feedback is not None
    params = generator(inputs)
    with torch.autocast("cpu", torch.bfloat16):
        told = feedback(params, inputs[..., F:])
        answer = generator(inputs)
    assert told.dtype == torch.float32
    assert torch.equal(told, feedback(params, inputs[..., F:]))
    assert answer.rotmat.isfinite().all()


@pytest.mark.parametrize("changes", [BOTH, BOTH | LEARNED], ids=["both", "all"])
def test_who_starts_untrained_learns_at_the_whole_rate(
    changes: dict[str, Any], body: BodyArrays
) -> None:
    generator = build(config(**changes), body)
    found = {}
    for weights, share in generator.rate_parts(0.02, 0.3):
        found |= {id(weight): share for weight in weights}
    shares = {"regressor": 0.02, "frame_encoder": 0.3}
    for name, weight in generator.named_parameters():
        assert found.pop(id(weight)) == shares.get(name.split(".")[0], 1.0), name
    assert not found


def test_settings_that_cannot_be() -> None:
    with pytest.raises(ValueError, match=r"generator.keypoint_dim is -1, must be >= 0"):
        config(keypoint_dim=-1)
    with pytest.raises(ValueError, match=r"frame_encoder.feature_dim is 2048 and .*_dim 12: set"):
        config(learns_features=True)
    with pytest.raises(ValueError, match=r"generator.feedback needs the body"):
        Generator(config(feedback=True))
    assert config().input_dim == config(one_shape=True).input_dim == F
    assert config(keypoint_dim=1).input_dim == config(feedback=True).input_dim == F + NUM_INPUTS
    assert config(**LEARNED).input_dim == F + NUM_INPUTS
