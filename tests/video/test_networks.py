"""Pictures computed apart, each in a thread of its own, against all of them at once."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from vibe_ray.video.crops import shrink
from vibe_ray.video.networks import Networks


@pytest.fixture(scope="module")
def networks() -> Networks:
    return Networks.load()


def noise(*shape: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)


def people(size: int) -> torch.Tensor:
    """Two pictures of two people, one the other's mirror image."""
    with Image.open(Path(__file__).parent / "movenet" / "two_bodies.png") as image:
        small = shrink(np.array(image.convert("RGB")), size, 32).pixels
    return torch.stack([small, small.flip(1)])


def test_crops_are_seen_as_in_a_batch(networks: Networks) -> None:
    whole = people(networks.close.size)
    crops = torch.zeros(2, networks.close.size, networks.close.size, 3, dtype=torch.uint8)
    crops[:, : whole.shape[1], : whole.shape[2]] = whole
    expected = networks.close(crops)
    found = networks.look(list(crops))
    assert expected[1].max() > 0.3
    assert (expected[0][0] - expected[0][1]).abs().max() > 10  # the two can be told apart
    torch.testing.assert_close(found[1], expected[1], rtol=0, atol=1e-3)
    # Where nothing is seen the peak is one of many alike, and another processor's may be another.
    is_seen = expected[1] > 0.3
    torch.testing.assert_close(found[0][is_seen], expected[0][is_seen], rtol=0, atol=1e-2)


def test_pictures_are_seen_as_in_a_batch(networks: Networks) -> None:
    pictures = people(256)
    expected = networks.multipose(pictures)
    found = networks.find(list(pictures))
    assert expected.scores.max() > 0.3
    is_there = expected.scores > 0.3
    for name, bound in (("scores", 1e-4), ("kp", 1e-2)):
        apart, together = torch.cat([getattr(one, name) for one in found]), getattr(expected, name)
        torch.testing.assert_close(apart[is_there], together[is_there], rtol=0, atol=bound)


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
