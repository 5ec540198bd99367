"""What several packages' tests share."""

import logging
import os
from collections.abc import Iterator

import pytest

os.environ |= {
    "RAY_AUTH_MODE": "disabled",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DATA_DISABLE_PROGRESS_BARS": "1",
    "RAY_DATA_LOG_LEVEL": "ERROR",
    "RAY_TRAIN_V2_ENABLED": "1",
}  # read when Ray is imported


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[None]:
    """One small cluster for all tests marked `ray`; with a dashboard, since Tune needs it."""
    import ray

    ray.init(
        address="local",
        num_cpus=4,
        include_dashboard=True,
        object_store_memory=300 * 2**20,
        log_to_driver=False,
        logging_level=logging.ERROR,
    )
    yield
    ray.shutdown()
