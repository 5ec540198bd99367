import torch

from vibe_ray.models.frame_average import FrameAverage


def test_a_residual_starts_as_a_mean() -> None:
    average = FrameAverage(6, 7)
    torch.testing.assert_close(average(torch.ones(1, 9, 6)), torch.ones(1, 9, 6))
    triangle = torch.tensor([1.0, 2, 3, 4, 3, 2, 1]) / 16
    torch.testing.assert_close(average(torch.eye(9)[None, :, 1:7])[0, 4, :3], triangle[:3])
