"""Pictures computed apart, each in a thread of its own, against all of them at once."""

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


def test_threads_stay_as_many_as_they_were() -> None:
    threads: list[int] = []

    class Counting:
        names, size = ("nose",), 4

        def __call__(self, crops: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            threads.append(torch.get_num_threads())
            return crops.new_zeros(len(crops), 1, 2), crops.new_zeros(len(crops), 1)

    before = torch.get_num_threads()
    networks = Networks(None, Counting(), torch.device("cpu"))  # type: ignore[arg-type]
    kp, conf = networks.look(list(noise(5, 4, 4, 3)))
    assert threads == [1] * 5
    assert (kp.shape, conf.shape) == ((5, 1, 2), (5, 1))
    assert torch.get_num_threads() == before
