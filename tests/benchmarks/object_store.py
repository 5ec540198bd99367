"""How many windows a second come to the step when the shards are in a bucket?

The store is a process of this machine's, so what counts is what a request costs and not how far it
goes. Seconds are those of a clock on the wall, since there is waiting in them; the reader's own
CPU seconds are told beside them.
"""

import os
import time
from collections.abc import Callable
from pathlib import Path

from tests.benchmarks.loading import read_plan
from tests.benchmarks.measuring import Options, Report, Row
from tests.benchmarks.setting import config_with, write_shards
from tests.integration.object_server import ObjectServer
from vibe_ray import storage
from vibe_ray.config import TrainConfig
from vibe_ray.data import clips, reading
from vibe_ray.data.mixing import make_plan
from vibe_ray.data.reading import ClipCache
from vibe_ray.settings import override

OBJECT = os.urandom(32 * 2**20)
"""About as large as a shard's file."""


def object_store(folder: Path, options: Options) -> Report:
    """Windows per second from a bucket, and whole objects there and back."""
    report = Report(title="Object store, a process of this machine's")
    write_shards(folder / "data")
    with ObjectServer(folder / "store") as server:
        os.environ |= server.environment
        bucket = server.create_bucket("benchmark")
        storage.upload_directory(folder / "data", f"{bucket}/data")
        config = override(config_with(folder), {"data.root": f"{bucket}/data"})
        report.rows += _streamed(config, options)
        works: dict[str, Callable[[], object]] = {
            "written": lambda: storage.write_bytes_atomic(f"{bucket}/object", OBJECT),
            "read": lambda: storage.read_bytes(f"{bucket}/object"),
        }
        for name, work in works.items():
            rates = [len(OBJECT) / 1e6 / _seconds(work)[0] for _ in range(options.repetitions)]
            report.rows.append(Row(name=f"one large object {name}", unit="MB/s", values=rates))
    return report


def _streamed(config: TrainConfig, options: Options) -> list[Row]:
    """Read a plan's first steps, each clip once, with nothing known of the files before."""
    plan = make_plan(config.data, config.seed)

    def read() -> int:
        reading.CACHE = ClipCache(reading.CACHE_BYTES)
        clips._read_footer.cache_clear()
        return read_plan(plan)

    num_windows = read()
    seconds = [_seconds(read) for _ in range(options.repetitions)]
    units = ("windows/s", "windows per CPU second")
    return [
        Row(name="streamed, each clip read once", unit=unit, values=[num_windows / s for s in of])
        for unit, of in zip(units, zip(*seconds, strict=True), strict=True)
    ]


def _seconds(work: Callable[[], object]) -> tuple[float, float]:
    """Seconds on the wall, and of this process's CPU time."""
    wall, own = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - own
