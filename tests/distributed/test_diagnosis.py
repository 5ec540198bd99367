"""Ray's check, on a cluster of its own in a process of its own."""

import subprocess
import sys

import pytest


@pytest.mark.ray
@pytest.mark.slow
def test_a_task_runs_on_a_cluster_that_ends_with_the_check() -> None:
    code = (
        "import ray\n"
        "from vibe_ray.distributed.diagnosis import check_ray\n"
        "print(check_ray(), ray.is_initialized())"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "state='ok'" in run.stdout
    assert "a cluster of our own" in run.stdout
    assert run.stdout.endswith("False\n")
