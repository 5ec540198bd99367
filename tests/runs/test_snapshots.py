import json
from pathlib import Path

import pytest

from vibe_ray.config import TrainConfig, to_dict
from vibe_ray.runs.snapshots import load_config


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
