"""The motion prior: shapes, what sees what, and that two kinds of it have as many weights."""

import pytest
import torch
from torch import Tensor, nn

from vibe_ray.geometry.rotations import axis_angle_to_rotmat
from vibe_ray.models.motion_prior import (
    NUM_BODY_JOINTS,
    POSE_NUMBERS,
    MotionPrior,
    MotionPriorConfig,
    frame_wise,
)

B, T = 3, 6
CONFIGS = {
    "sequential": MotionPriorConfig(hidden_dim=16),
    "one way": MotionPriorConfig(hidden_dim=16, num_layers=2, bidirectional=False),
    "frame": MotionPriorConfig(hidden_dim=16, sequential=False),
}


def motion(seed: int = 0) -> Tensor:
    made = torch.Generator().manual_seed(seed)
    return axis_angle_to_rotmat(0.5 * torch.randn(B, T, NUM_BODY_JOINTS, 3, generator=made))


def num_weights(config: MotionPriorConfig) -> int:
    return sum(p.numel() for p in MotionPrior(config).parameters())


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS.keys())
def test_a_latent_of_32_for_each_frame_and_rotations_back(config: MotionPriorConfig) -> None:
    found = MotionPrior(config)(motion())
    assert found.posterior.mean.shape == found.posterior.std.shape == (B, T, 32)
    assert (found.posterior.std > 0).all()
    assert found.rotmat.shape == (B, T, NUM_BODY_JOINTS, 3, 3)
    identity = torch.eye(3).expand_as(found.rotmat)
    torch.testing.assert_close(found.rotmat @ found.rotmat.mT, identity, atol=1e-5, rtol=0)
    torch.testing.assert_close(found.rotmat.det(), torch.ones(B, T, NUM_BODY_JOINTS))


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS.keys())
def test_noise_picks_from_the_posterior(config: MotionPriorConfig) -> None:
    prior = MotionPrior(config)
    noise = torch.randn(B, T, 32)
    found = prior(motion(), noise)
    picked = found.posterior.mean + noise * found.posterior.std
    torch.testing.assert_close(found.rotmat, prior.decode(picked))
    torch.testing.assert_close(prior(motion(), 0 * noise).rotmat, prior(motion()).rotmat)


@pytest.mark.parametrize(
    ("name", "reached"),
    [("sequential", [0, 1, 2, 3, 4, 5]), ("one way", [2, 3, 4, 5]), ("frame", [2])],
)
def test_which_frames_see_a_change_in_one(name: str, reached: list[int]) -> None:
    prior = MotionPrior(CONFIGS[name])
    changed = motion()
    changed[:, 2] = motion(seed=1)[:, 2]
    difference = (prior(changed).rotmat - prior(motion()).rotmat).abs().amax(dim=(0, 2, 3, 4))
    assert difference.gt(1e-7).nonzero().flatten().tolist() == reached


def test_it_is_linear_layers_around_a_gru_of_torch() -> None:
    config = CONFIGS["sequential"]
    prior = MotionPrior(config)
    gru = nn.GRU(POSE_NUMBERS, 16, batch_first=True, bidirectional=True)
    gru.load_state_dict(prior.encoder.gru.state_dict())
    first_two_columns = motion()[..., :2].reshape(B, T, POSE_NUMBERS)
    rest = torch.tensor([1.0, 0, 0, 1, 0, 0]).repeat(NUM_BODY_JOINTS)
    raw = prior.encoder.out(gru(first_two_columns - rest)[0])
    found = prior.encode(motion())
    torch.testing.assert_close(found.mean, raw[..., :32], atol=1e-5, rtol=1e-4)
    std = torch.log1p(raw[..., 32:].exp()) + 1e-4
    torch.testing.assert_close(found.std, std, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("width", [16, 100, 256])
@pytest.mark.parametrize("latent", [8, 32])
def test_the_one_for_single_frames_is_of_the_same_size(width: int, latent: int) -> None:
    config = MotionPriorConfig(hidden_dim=width, latent_dim=latent)
    other = frame_wise(config)
    assert not other.sequential
    assert other.latent_dim == latent
    assert num_weights(other) == pytest.approx(num_weights(config), rel=0.015)


def test_nothing_of_no_width() -> None:
    with pytest.raises(ValueError, match=r"prior\.latent_dim is 0, must be at least 1"):
        MotionPriorConfig(latent_dim=0)
