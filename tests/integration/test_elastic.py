"""A run that loses a node and gains another computes what one process does."""

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.ray
@pytest.mark.long
@pytest.mark.timeout(1200)
def test_a_node_lost_and_another_joined(tmp_path: Path) -> None:
    """In a process of its own, since Ray reads what is set for it when it is imported."""
    command = [sys.executable, "-m", "tests.integration.elastic", "--folder", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
