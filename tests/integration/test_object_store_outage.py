"""A run outlives its object store being away, without losing or repeating a window."""

from pathlib import Path

import pytest

from tests.integration.outage import CHECKS, compare


@pytest.mark.long
@pytest.mark.timeout(1200)
def test_a_run_whose_store_goes_away(tmp_path: Path) -> None:
    result = compare(tmp_path, seconds=5.0, workers=0, steps=60)
    assert all(result[name] for name in CHECKS), result
