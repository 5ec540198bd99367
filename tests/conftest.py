"""What several packages' tests share."""

import logging
import os
from collections.abc import Iterator
from uuid import uuid4

import pytest
import torch

from tests.data import noise
from tests.integration.object_server import ObjectServer

os.environ |= {
    "RAY_AUTH_MODE": "disabled",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DATA_DISABLE_PROGRESS_BARS": "1",
    "RAY_DATA_LOG_LEVEL": "ERROR",
    "RAY_TRAIN_V2_ENABLED": "1",
    "OMP_NUM_THREADS": "1",
}  # read when Ray is imported, and by the processes that tests start
torch.set_num_threads(1)  # sums are split among threads: results would hang on the number of cores


@pytest.fixture(scope="session")
def ray_cluster(object_server: ObjectServer) -> Iterator[None]:
    """One small cluster for all tests marked `ray`; with a dashboard, since Tune needs it.

    Its processes know how to reach the object store, as those of a user's cluster have to.
    """
    import ray

    with pytest.MonkeyPatch.context() as patch:
        for name, value in object_server.environment.items():
            patch.setenv(name, value)
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


@pytest.fixture(scope="session")
def shards(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Root of small data sets of noise in the standard layout; features are 16 wide."""
    return noise.write_all(str(tmp_path_factory.mktemp("shards")))


@pytest.fixture(scope="session")
def object_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectServer]:
    """An object store, a process of this machine's; tests of an outage kill and start it again."""
    with ObjectServer(tmp_path_factory.mktemp("objects")) as server:
        yield server


@pytest.fixture
def s3(object_server: ObjectServer, monkeypatch: pytest.MonkeyPatch) -> str:
    """A new bucket, and the environment in which to reach it."""
    for name, value in object_server.environment.items():
        monkeypatch.setenv(name, value)
    return object_server.create_bucket(f"bucket-{uuid4().hex[:8]}")
