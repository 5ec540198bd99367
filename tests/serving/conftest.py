"""A tiny checkpoint to serve: real networks, a few units wide, never trained."""

from pathlib import Path

import pytest
import torch

from vibe_ray.config import override
from vibe_ray.recipes import smoke
from vibe_ray.training.state import TrainState


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    config = override(
        smoke(), {"initial_regressor": "scratch", "generator.regressor.hidden_dim": 16}
    )
    directory = tmp_path_factory.mktemp("checkpoint")
    state = TrainState.create(config, torch.device("cpu"))
    # An untrained regressor barely moves: larger weights make every frame a pose of its own.
    with torch.no_grad():
        state.generator.regressor.decpose.weight.mul_(100)
    state.snapshot({"step": 0, "metrics": {"val/pa_mpjpe_mm": 99.0}}).write(directory)
    return directory
