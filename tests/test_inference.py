"""A checkpoint made usable: features of any length in, bodies out."""

from pathlib import Path

import pytest
import torch

from tests.data.noise import F
from tests.training.tiny import (
    DROPOUT,
    T,
    random_batch,
    tiny,
    tiny_prior,
    tiny_prior_state,
    tiny_state,
)
from vibe_ray import storage
from vibe_ray.body.mesh import BodyModel
from vibe_ray.inference import Predictor
from vibe_ray.models.generator import Generator
from vibe_ray.runs.snapshots import load_generator
from vibe_ray.training.step import adversarial_step


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("checkpoint")
    state = tiny_state(tiny(**DROPOUT, optim__generator_lr=1e-2, optim__regressor_lr_share=1.0))
    for seed in range(3):
        adversarial_step(state, random_batch(2, 3, 4, seed))
    state.snapshot({}).write(folder)
    return folder


@pytest.fixture(scope="module")
def predictor(checkpoint: Path) -> Predictor:
    return Predictor.from_checkpoint(str(checkpoint))


@pytest.fixture(scope="module")
def generator(checkpoint: Path) -> Generator:
    return load_generator(checkpoint)[1]


def features(num_frames: int) -> torch.Tensor:
    return torch.randn(num_frames, F, generator=torch.Generator().manual_seed(num_frames))


@pytest.mark.parametrize("num_frames", [1, T - 1, T, T + 2, 3 * T])
@torch.no_grad()
def test_windows_are_of_the_length_trained_on(
    predictor: Predictor, generator: Generator, num_frames: int
) -> None:
    x = features(num_frames)
    found = predictor.predict(x)
    for start in range(0, num_frames, T):
        last = max(0, min(start, num_frames - T))  # the last window ends with the sequence
        window = generator(x[None, last : last + T])
        end = min(start + T, num_frames)
        for name in ("rotmat", "betas", "cam"):
            expected = getattr(window, name)[0, start - last :]
            torch.testing.assert_close(
                getattr(found, name)[start:end], expected, atol=1e-5, rtol=1e-5
            )


@torch.no_grad()
def test_a_sequence_in_one_go(predictor: Predictor, generator: Generator) -> None:
    x = features(3 * T)
    found = predictor.predict(x, chunking="sequence")
    torch.testing.assert_close(found.rotmat, generator(x[None]).rotmat[0], atol=1e-5, rtol=0)
    assert not torch.allclose(found.rotmat, predictor.predict(x).rotmat, atol=1e-4)


def test_half_precision_is_taken(predictor: Predictor) -> None:
    x = features(T).half()
    assert torch.equal(predictor.predict(x).rotmat, predictor.predict(x.float()).rotmat)


@torch.no_grad()
def test_meshes_and_keypoints_are_the_bodys(predictor: Predictor) -> None:
    params = predictor.predict(features(131))
    body = BodyModel(predictor.body)
    mesh = body(params.betas, params.rotmat)
    verts = predictor.verts(params)
    assert verts.shape == (131, *predictor.body.v_template.shape)
    torch.testing.assert_close(verts, mesh.verts, atol=1e-6, rtol=0)
    torch.testing.assert_close(predictor.kp_3d(params), body.keypoints(mesh), atol=1e-5, rtol=0)


def test_nothing_carries_a_gradient(predictor: Predictor) -> None:
    params = predictor.predict(features(T).requires_grad_())
    assert not params.rotmat.requires_grad
    assert not predictor.kp_3d(params).requires_grad


@pytest.mark.parametrize("shape", [(0, F), (T, F + 1), (F,), (1, T, F)])
def test_features_of_another_shape_are_refused(
    predictor: Predictor, shape: tuple[int, ...]
) -> None:
    with pytest.raises(ValueError, match=r"features have shape \(.*\), expected \(frames, 16\)"):
        predictor.predict(torch.zeros(shape))


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_features_that_are_not_finite_are_refused(predictor: Predictor, bad: float) -> None:
    x = features(T)
    x[2, 3] = bad
    with pytest.raises(ValueError, match="features hold NaN or infinity"):
        predictor.predict(x)


def test_a_checkpoint_in_an_object_store(checkpoint: Path, predictor: Predictor, s3: str) -> None:
    storage.upload_directory(checkpoint, f"{s3}/checkpoint")
    remote = Predictor.from_checkpoint(f"{s3}/checkpoint")
    x = features(T)
    assert torch.equal(remote.predict(x).rotmat, predictor.predict(x).rotmat)


def test_what_is_no_checkpoint_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no checkpoint at .*expected a checkpoint"):
        Predictor.from_checkpoint(str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"no checkpoint at .*none"):
        Predictor.from_checkpoint(str(tmp_path / "none"))
    (tmp_path / "manifest.json").write_text("{}")
    (tmp_path / "config.json").write_text('{"epochz": 3}')
    with pytest.raises(ValueError, match="no setting 'epochz'; did you mean 'epochs'"):
        Predictor.from_checkpoint(str(tmp_path))


def test_a_motion_prior_is_refused(tmp_path: Path) -> None:
    tiny_prior_state(tiny_prior()).snapshot({}).write(tmp_path)
    with pytest.raises(ValueError, match="holds a motion prior") as error:
        Predictor.from_checkpoint(str(tmp_path))
    assert str(error.value) == (
        f"{tmp_path} holds a motion prior, which estimates no bodies: a generator is trained with "
        "it by motion_prior=PATH and losses.motion_prior"
    )
