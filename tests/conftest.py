"""What several packages' tests share."""

import logging
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
import torch
from xdist.remote import Producer
from xdist.scheduler import LoadFileScheduling

from tests.body.made_up_bodies import made_up_body
from tests.data import noise
from tests.evaluation.toy_sequences import MakeSequence, Noise, sequence_maker
from tests.integration.object_server import ObjectServer
from tests.tuning.noise import write_noise
from vibe_ray.body.model import BodyArrays, BodyConfig, load_body
from vibe_ray.data.shards import ShardWriter

os.environ |= {
    "RAY_AUTH_MODE": "disabled",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DATA_DISABLE_PROGRESS_BARS": "1",
    "RAY_DATA_LOG_LEVEL": "ERROR",
    "RAY_TRAIN_V2_ENABLED": "1",
    "RAY_worker_niceness": "0",  # else the tests of another process take all of the processor
    "OMP_NUM_THREADS": "1",
}  # read when Ray is imported, and by the processes that tests start
torch.set_num_threads(1)  # sums are split among threads: results would hang on the number of cores
IN_ONE_PROCESS = ("mark.ray", "ranks: list[Outcome]")
"""Files that hold the same of these are run by one process: those that start Ray, so that one
cluster lives at a time, and those that look at `ranks`, the one fixture of a session that takes
long. The two go beside each other."""

RAY_FILES: set[Path] = set()
"""Found when tests are collected."""


class WholeFiles(LoadFileScheduling):
    """Gives a process a whole file at a time, or all that have to be run in one."""

    def _split_scope(self, nodeid: str) -> str:
        """Return what is run together with a test."""
        file: str = super()._split_scope(nodeid)
        text = (self.config.rootpath / file).read_text()
        return next((words for words in IN_ONE_PROCESS if words in text), file)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> WholeFiles | None:
    """Schedule so where `-n` spreads the tests over processes and no other `--dist` is given."""
    return WholeFiles(config, log) if config.getoption("dist") == "loadfile" else None


def starts_ray(item: pytest.Item) -> bool:
    return item.get_closest_marker("ray") is not None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that start Ray: they take longest, and all else is done beside them."""
    RAY_FILES.update(item.path for item in items if starts_ray(item))
    items.sort(key=lambda item: item.path not in RAY_FILES)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Say at once what failed: a run that is ended before its end shows no summary."""
    if report.failed and "PYTEST_XDIST_WORKER" not in os.environ:
        told = str(report.longrepr)
        reason = next((line for line in told.splitlines() if line.startswith("E  ")), told)
        where = f"{report.nodeid} ({report.when}, {report.duration:.0f} s)"
        sys.stderr.write(f"\nFAILED {where}: {reason[:300]}\n")


@pytest.hookimpl(trylast=True)  # when the test's own fixtures are gone
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """End the cluster behind the last such file: it takes memory, and processor time when idle."""
    if item.path in RAY_FILES and not (nextitem and nextitem.path in RAY_FILES):
        import ray

        ray.shutdown()


@pytest.fixture
def ray_cluster(request: pytest.FixtureRequest, object_server: ObjectServer) -> None:
    """One small cluster for all tests marked `ray`; with a dashboard, since Tune needs it.

    Its processes know how to reach the object store, as those of a user's cluster have to.
    """
    import ray

    assert starts_ray(request.node), "what wants a cluster is marked `ray`"
    if ray.is_initialized():
        return
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


@pytest.fixture(scope="session")
def shards(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Root of small data sets of noise in the standard layout; features are 16 wide."""
    return noise.write_all(str(tmp_path_factory.mktemp("shards")))


@pytest.fixture(scope="session")
def test_split(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Root of a test split of noise: sequences of 23, 8 and 12 frames in which all is known."""
    root = tmp_path_factory.mktemp("test_split")
    with ShardWriter(str(root / "open_3d/test"), noise.header("open_3d/test")) as writer:
        for number, num_frames in enumerate((23, 8, 12)):
            writer.write(noise.known_sequence(f"s{number}", num_frames, number))
    return root


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Two seeds of an untrained network, and one that sees each frame by itself."""
    import torch

    from tests.training.tiny import tiny, tiny_state

    folder = tmp_path_factory.mktemp("checkpoints")
    alone = tiny(generator__temporal_encoder__kind="none", losses__adversarial=0.0)
    for number, config in enumerate((tiny(seed=0), tiny(seed=1), alone)):
        (folder / str(number)).mkdir()
        state = tiny_state(config)
        for head in (state.generator.regressor.decpose, state.generator.regressor.decshape):
            torch.nn.init.normal_(head.weight, std=0.1)
        state.snapshot({}).write(folder / str(number))
    return [str(folder / str(number)) for number in range(3)]


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint to serve: real networks, a few units wide, never trained."""
    from vibe_ray.recipes import smoke
    from vibe_ray.settings import override
    from vibe_ray.training.state import TrainState

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


@pytest.fixture(scope="session")
def noise_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Root of data sets of noise, small enough that a run over them takes a second."""
    return write_noise(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="session")
def open_body() -> BodyArrays:
    return load_body(BodyConfig())


@pytest.fixture(scope="session")
def made_up() -> BodyArrays:
    """Has pose correctives, which the open body lacks, and vertices of no triangle."""
    return made_up_body()


@pytest.fixture(scope="session")
def body(open_body: BodyArrays) -> BodyArrays:
    return open_body


@pytest.fixture(params=["disk", "memory", "s3"])
def anywhere(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A folder that is not there yet, on each kind of storage."""
    if request.param == "disk":
        return str(tmp_path / "there")
    if request.param == "memory":
        return f"memory://anywhere/{tmp_path.name}"
    return str(request.getfixturevalue("s3")) + "/there"


@pytest.fixture
def network() -> Noise:
    """An evaluation's network that estimates noise."""
    return Noise()


@pytest.fixture(scope="session")
def make_sequence(body: BodyArrays) -> MakeSequence:
    return sequence_maker(body)


@pytest.fixture(scope="session")
def test_data() -> Path:
    """The folder of real recordings; skips where there is none."""
    folder = os.environ.get("VIBE_RAY_TEST_DATA")
    if not folder:
        pytest.skip("VIBE_RAY_TEST_DATA does not name a folder of real recordings")
    return Path(folder)


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
