import json
import resource
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from vibe_ray import storage
from vibe_ray.config import TrainConfig
from vibe_ray.runs.snapshots import Snapshot, load_config, save_networks
from vibe_ray.settings import to_dict


def test_a_checkpoint_of_another_version_is_named_with_its_setting(tmp_path: Path) -> None:
    values = to_dict(TrainConfig())
    values["optim"]["momentum"] = 0.9
    (tmp_path / "config.json").write_text(json.dumps(values))
    with pytest.raises(ValueError, match=rf"^{tmp_path}/config\.json .*'optim\.momentum'"):
        load_config(tmp_path)


def test_a_damaged_config_is_named(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("")
    with pytest.raises(ValueError, match=rf"^{tmp_path}/config\.json is damaged"):
        load_config(tmp_path)


@pytest.fixture
def small_files() -> Iterator[None]:
    """No file of this process may be larger than 50 kB."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_file_that_has_no_room_is_named(tmp_path: Path, small_files: None) -> None:
    """PyTorch and the library of safetensors each tell it by errors of their own."""
    large = {"weights": torch.zeros(100_000)}
    snapshot = Snapshot(config=TrainConfig(), networks={}, trainer=large, manifest={})
    with pytest.raises(storage.DiskFullError, match=f"no room for {tmp_path}/trainer.pt "):
        snapshot.write(tmp_path)
    with pytest.raises(storage.DiskFullError, match=f"no room for {tmp_path}/a.safetensors "):
        save_networks(tmp_path, TrainConfig(), {"a.safetensors": large}, {})
