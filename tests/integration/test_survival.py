"""A training that is killed ends as one that was left alone, byte for byte."""

from pathlib import Path

import pytest

from tests.integration.survival import Trial, compare


@pytest.mark.slow
def test_a_driver_killed_at_random_moments(shards: str, tmp_path: Path) -> None:
    trial = Trial(
        data=Path(shards),
        storage=tmp_path,
        workers=0,
        epochs=2,
        steps_per_epoch=30,
        log=tmp_path / "log.txt",
    )
    result = compare(trial, num_kills=2)
    assert result["kills"] == {"driver": 2}
    assert result["networks_equal"]
    assert result["metrics_equal"]
