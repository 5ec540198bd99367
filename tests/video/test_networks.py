"""Pictures computed apart, each in a thread of its own, against all of them at once."""

from typing import Any

import pytest
import torch

from vibe_ray.video.networks import Networks


@pytest.fixture(scope="module")
def networks() -> Networks:
    return Networks.load()


def noise(*shape: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)


def test_crops_are_seen_as_in_a_batch(networks: Networks) -> None:
    crops = noise(3, networks.close.size, networks.close.size, 3)
    expected = networks.close(crops)
    found = networks.look(list(crops))
    for values, together in zip(found, expected, strict=True):
        torch.testing.assert_close(values, together, rtol=0, atol=1e-3)


def test_pictures_are_seen_as_in_a_batch(networks: Networks) -> None:
    pictures = noise(3, 96, 128, 3)
    expected = networks.multipose(pictures)
    scores = torch.cat([people.scores for people in networks.find(list(pictures))])
    torch.testing.assert_close(scores, expected.scores, rtol=0, atol=1e-4)


class Counting:
    """Says of every crop in how large a batch it came."""

    names, size = ("nose",), 4

    def __call__(self, crops: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        together = torch.full((len(crops), 1), float(len(crops)))
        return together[..., None].expand(-1, -1, 2), together


class CountingModule(Counting, torch.nn.Module):
    """The same as a module of PyTorch's."""


@pytest.mark.parametrize(("network", "batch"), [(Counting(), 5), (CountingModule(), 1)])
def test_what_is_not_pytorchs_has_threads_of_its_own(network: Any, batch: int) -> None:
    networks = Networks(None, network, torch.device("cpu"))  # type: ignore[arg-type]
    kp, conf = networks.look(list(noise(5, 4, 4, 3)))
    assert kp.shape == (5, 1, 2)
    assert conf.tolist() == [[batch]] * 5
