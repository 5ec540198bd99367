"""Which learner a config means, and a generator that learns with a motion prior."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from scipy.spatial.transform import Rotation
from torch import Tensor

from tests.models import naive_vibe
from tests.training.naive_prior import REST_6D, layers
from tests.training.tiny import (
    NO_DROPOUT,
    in_precision,
    largest_difference,
    random_batch,
    tiny,
    tiny_frames,
    tiny_prior,
    tiny_prior_state,
    tiny_state,
    to_precision,
    weights_of,
)
from vibe_ray.config import TrainConfig
from vibe_ray.data.batches import StepBatch
from vibe_ray.data.sources.open_motion import load_open_motion
from vibe_ray.pretrained import packaged
from vibe_ray.recipes import motion_prior
from vibe_ray.runs.snapshots import PRIOR_FILE, load_config, load_manifest
from vibe_ray.training.frame_encoder import FrameEncoderState
from vibe_ray.training.prior import PriorState, load_prior
from vibe_ray.training.state import TrainState
from vibe_ray.training.step import adversarial_step
from vibe_ray.training.tasks import create

CPU = torch.device("cpu")
WEIGHT = 3.0


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A motion prior's, hardly trained."""
    folder = tmp_path_factory.mktemp("prior")
    state = tiny_prior_state(tiny_prior())
    state.update(random_batch(0, 0, 5))
    state.snapshot({}).write(folder)
    return str(folder)


def with_prior(checkpoint: str, weight: float = WEIGHT, **changes: Any) -> TrainState:
    known: dict[str, Any] = {**NO_DROPOUT, "motion_prior": checkpoint, **changes}
    state = create(tiny(**known, losses__motion_prior=weight), CPU)
    assert isinstance(state, TrainState)
    return state


def gradients(state: TrainState, batch: StepBatch) -> dict[str, Tensor]:
    adversarial_step(state, batch)
    return {
        name: torch.zeros_like(p) if p.grad is None else p.grad.clone()
        for name, p in state.generator.named_parameters()
    }


def latent_of(state: TrainState, batch: StepBatch) -> Tensor:
    """Mean of the posterior of what the generator makes of a batch, in loops and with a graph."""
    assert state.prior is not None
    weights = dict(state.prior.state_dict())
    rotmat = state.generator(batch.pose.features).rotmat
    frames = [
        torch.cat([joint[:, :2].flatten() - REST_6D for joint in frame[1:]])
        for frame in rotmat.flatten(0, 1)
    ]
    six = torch.stack(frames).unflatten(0, rotmat.shape[:2])
    numbers = layers(six, naive_vibe.sub_weights(weights, "encoder."), sequential=True)
    return numbers[..., : state.prior.config.latent_dim]


@pytest.mark.parametrize("adversarial", [0.0, 0.5])
def test_the_generator_descends_the_length_of_its_motions_latent(
    checkpoint: str, adversarial: float
) -> None:
    batch, changes = random_batch(2, 3, 4), {"losses__adversarial": adversarial}
    state = with_prior(checkpoint, **changes)
    squares = [z**2 for z in latent_of(state, batch).flatten().tolist()]
    metrics = adversarial_step(state, batch)
    expected = sum(squares) / len(squares)
    assert float(metrics["train/generator/motion_prior"]) == pytest.approx(expected, rel=1e-5)
    without = adversarial_step(tiny_state(tiny(**NO_DROPOUT, **changes)), batch)
    total = float(without["train/generator/total"]) + WEIGHT * expected
    assert float(metrics["train/generator/total"]) == pytest.approx(total, rel=1e-5)
    assert ("train/discriminator/real" in metrics) == (adversarial > 0)


def test_its_gradient_reaches_the_generator_and_not_the_prior(checkpoint: str) -> None:
    batch, no_d = random_batch(2, 3, 4), {"losses__adversarial": 0.0}
    batch = in_precision(batch, torch.float64)
    state, other = with_prior(checkpoint, **no_d), tiny_state(tiny(**NO_DROPOUT, **no_d))
    for either in (state, other):
        to_precision(either, torch.float64)
    assert state.prior is not None
    before = {name: value.clone() for name, value in state.prior.state_dict().items()}
    parameters = dict(state.generator.named_parameters())
    latent = latent_of(state, batch)
    loss = WEIGHT * latent.square().sum() / latent.numel()
    found = torch.autograd.grad(loss, list(parameters.values()), allow_unused=True)
    assert sum(bool(g is not None and g.abs().max() > 0) for g in found) > len(found) / 2
    without = gradients(other, batch)
    for (name, value), own in zip(gradients(state, batch).items(), found, strict=True):
        expected = without[name] if own is None else without[name] + own
        torch.testing.assert_close(value, expected, rtol=1e-9, atol=1e-12)
    assert all(p.grad is None for p in state.prior.parameters())
    assert largest_difference(dict(state.prior.state_dict()), before) == 0


def test_a_prior_is_no_part_of_what_is_learned_and_stored(checkpoint: str, tmp_path: Path) -> None:
    state = with_prior(checkpoint)
    assert state.prior is not None
    assert (
        largest_difference(
            dict(state.prior.state_dict()), dict(load_prior(Path(checkpoint)).state_dict())
        )
        == 0
    )
    plain = tiny_state(tiny(**NO_DROPOUT))
    assert largest_difference(weights_of(state), weights_of(plain)) == 0, "nor of what chance gives"
    state.snapshot({}).write(tmp_path)
    assert not (tmp_path / "prior.safetensors").exists()
    with_prior(checkpoint).load(tmp_path)


def test_without_a_weight_no_prior_is_read() -> None:
    state = with_prior("nowhere", weight=0.0)
    assert state.prior is None
    assert "train/generator/motion_prior" not in adversarial_step(state, random_batch(2, 3, 4))


def refused(config: TrainConfig, kind: type[Exception] = ValueError) -> str:
    with pytest.raises(kind) as error:
        create(config, CPU)
    return str(error.value)


def test_a_weight_without_a_prior() -> None:
    assert refused(tiny(losses__motion_prior=0.5)) == (
        "losses.motion_prior is 0.5, but no prior is named: set motion_prior=open for the packaged "
        "one, or train one with `python -m vibe_ray.train --recipe motion_prior` and set "
        "motion_prior=runs/motion_prior"
    )


def test_a_prior_that_is_not_there(tmp_path: Path) -> None:
    config = tiny(losses__motion_prior=0.5, motion_prior=str(tmp_path))
    message = refused(config, FileNotFoundError)
    assert message.startswith(
        f"motion_prior is {str(tmp_path)!r}, which is no trained motion prior: "
    )
    assert f"no checkpoint at {tmp_path}" in message


def test_a_generators_checkpoint_is_no_prior(tmp_path: Path) -> None:
    tiny_state(tiny()).snapshot({}).write(tmp_path)
    config = tiny(losses__motion_prior=0.5, motion_prior=str(tmp_path))
    assert refused(config, FileNotFoundError) == (
        f"motion_prior is {str(tmp_path)!r}, which is no trained motion prior: no "
        f"prior.safetensors in {tmp_path}: the checkpoint is incomplete or foreign"
    )


def test_windows_of_features_belong_to_the_generator() -> None:
    assert refused(tiny_prior(data__batch_size=8)) == (
        "data.batch_size is 8, but a motion prior learns from motion alone: set it to 0"
    )
    assert refused(tiny(data__batch_size=0)) == (
        "data.batch_size is 0, must be >= 1 for a generator"
    )


def test_windows_of_motion_belong_to_what_learns_from_them() -> None:
    assert refused(tiny_prior(data__motion_batch_size=0)) == (
        "data.motion_batch_size is 0, must be >= 1 for a motion prior"
    )
    assert refused(tiny(data__motion_batch_size=0)) == (
        "data.motion_batch_size is 0, but the discriminator compares with captured motion: set it "
        "to 1 or more, or losses.adversarial to 0"
    )


def test_each_task_has_its_learner(motion: str) -> None:
    assert isinstance(create(tiny(), CPU), TrainState)
    assert isinstance(create(tiny_prior(), CPU), PriorState)
    assert isinstance(create(tiny_frames(data__root=motion), CPU), FrameEncoderState)


def test_the_packaged_prior_knows_captured_motion_from_noise() -> None:
    """Of a clip that was held out; what is lost of it is measured by SciPy."""
    state = with_prior("open")
    assert state.prior is not None
    clip = next(clip for clip in load_open_motion() if clip.name == "01/01_01")
    pose = torch.from_numpy(clip.pose[: len(clip.pose) // 16 * 16].copy()).view(-1, 16, 24, 3)
    body, noise = (
        torch.from_numpy(Rotation.from_rotvec(vectors[..., 1:, :].flatten(0, 2)).as_matrix())
        .float()
        .view(-1, 16, 23, 3, 3)
        for vectors in (pose, 0.5 * torch.randn(pose.shape))
    )
    captured = state.prior(body)
    lost = Rotation.from_matrix((captured.rotmat.mT @ body).flatten(0, 2))
    moved = Rotation.from_matrix(body.flatten(0, 2))
    assert lost.magnitude().mean() < moved.magnitude().mean() / 4
    lengths = [float(state.prior.encode(x).mean.square().mean()) for x in (body, noise)]
    assert lengths[0] < lengths[1] / 4


def test_the_packaged_prior_is_small_and_says_how_it_was_trained() -> None:
    directory = packaged("motion_prior")
    assert sum(path.stat().st_size for path in directory.iterdir()) < 3e6
    assert all(value.dtype == torch.float16 for value in load_file(directory / PRIOR_FILE).values())
    manifest = load_manifest(directory)
    assert {"step", "seed", "data_hash", "validation_metrics"} <= manifest.keys()
    assert load_config(directory) == motion_prior(), "as its recipe"
