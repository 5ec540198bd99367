"""`python -m tests.benchmarks.run`: measure everything, or some of it, and write it down.

Each benchmark runs in a process of its own with one thread; its variants take turns in there. One
whose results differ from the reference's counts as failed, and its times are not shown.
"""

import argparse
import json
import multiprocessing
import os
import platform
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

os.environ |= {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "RAY_AUTH_MODE": "disabled",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DATA_DISABLE_PROGRESS_BARS": "1",
    "RAY_DATA_LOG_LEVEL": "ERROR",
    "RAY_TRAIN_V2_ENABLED": "1",
    "PYTHONPATH": os.pathsep.join([str(Path.cwd()), os.environ.get("PYTHONPATH", "")]),
}  # read by the processes below when they start

import torch

from tests.benchmarks.bodies import inference, joints
from tests.benchmarks.loading import loader
from tests.benchmarks.measuring import Options, Report
from tests.benchmarks.memory import memory
from tests.benchmarks.object_store import object_store
from tests.benchmarks.preparing import conversion, encoding
from tests.benchmarks.promises import promises
from tests.benchmarks.ray_overhead import ray_overhead
from tests.benchmarks.scale import scale
from tests.benchmarks.scaling import scaling
from tests.benchmarks.start_up import start_up
from tests.benchmarks.steps import step_parts, train_step
from tests.benchmarks.tables import print_report, to_markdown

Benchmark = Callable[[Path, Options], Report]

BENCHMARKS: dict[str, Benchmark] = {
    "step": train_step,
    "parts": step_parts,
    "joints": joints,
    "inference": inference,
    "loader": loader,
    "store": object_store,
    "scaling": scaling,
    "memory": memory,
    "ray": ray_overhead,
    "start": start_up,
    "promises": promises,
    "conversion": conversion,
    "encoding": encoding,
    "scale": scale,
}
ON_CUDA = ("step", "parts", "joints", "inference", "loader", "memory", "encoding")
"""Those that take a device; the others are about processes."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run benchmarks; return 0 if all have passed."""
    parser = argparse.ArgumentParser(prog="tests.benchmarks.run", description=__doc__)
    parser.add_argument("--only", nargs="+", choices=BENCHMARKS, default=list(BENCHMARKS))
    parser.add_argument("--repetitions", type=int, default=5, metavar="N")
    parser.add_argument("--json", type=Path, default=Path("runs/bench/benchmarks.json"))
    args = parser.parse_args(argv)
    devices = ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]
    results: list[dict[str, Any]] = []
    for device in devices:
        options = Options(repetitions=args.repetitions, device=device)
        for name in args.only:
            if device == "cpu" or name in ON_CUDA:
                results.append(_measure(name, options))
                print_report(results[-1])
                _write(args.json, results)
    return int(any("error" in result for result in results))


def _write(path: Path, results: list[dict[str, Any]]) -> None:
    """Write what there is so far, beside what a run before this one has measured here."""
    here = environment()
    kept: list[dict[str, Any]] = []
    if path.exists():
        before = json.loads(path.read_text())
        if before["environment"] == here:
            new = {_key(result) for result in results}
            kept = [result for result in before["results"] if _key(result) not in new]
    order = list(BENCHMARKS)
    ordered = sorted([*kept, *results], key=lambda r: (r["device"], order.index(r["benchmark"])))
    document = {"environment": here, "results": ordered}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, indent=1) + "\n")
    path.with_suffix(".md").write_text(to_markdown(document))
    print(f"written: {path} and {path.with_suffix('.md')}")


def _key(result: dict[str, Any]) -> tuple[str, str]:
    return result["benchmark"], result["device"]


def _measure(name: str, options: Options) -> dict[str, Any]:
    """Run one benchmark in a process of its own."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    load, start = os.getloadavg()[0], time.perf_counter()
    process = context.Process(target=_work, args=(name, options, theirs))
    process.start()
    theirs.close()
    try:
        result = ours.recv()
    except EOFError:
        result = {"title": name, "error": "the process ended without a result"}
    process.join()
    return {
        "benchmark": name,
        "device": options.device,
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "repetitions": options.repetitions,
        "load_before": load,
        "load_after": os.getloadavg()[0],
        "seconds": time.perf_counter() - start,
        **result,
    }


def _work(name: str, options: Options, connection: Connection) -> None:
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(prefix="vibe_ray_bench_") as folder:
        try:
            report = BENCHMARKS[name](Path(folder), options).to_dict()
        except Exception as error:  # told to whoever asked; the others still run
            traceback.print_exc()
            report = {
                "title": name,
                "error": f"{type(error).__name__}: {str(error).splitlines()[:1]}",
            }
        connection.send(report)


def environment() -> dict[str, Any]:
    """What the figures were measured on."""
    return {
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else "none",
        "threads": "1 per process",
        "system": platform.system(),
        "python": platform.python_version(),
        **{name: version(name) for name in ("torch", "ray", "numpy", "pyarrow", "smplx")},
        "command": "make bench",
    }


def _cpu_model() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    flags = next((line for line in lines if line.startswith("flags")), "")
    wide = [
        name for name in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if name in flags.split()
    ]
    return f"{names[0] if names else platform.machine()} ({', '.join(wide)})"


if __name__ == "__main__":
    sys.exit(main())
