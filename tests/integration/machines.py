"""Runs the tests as they would run on other machines, one after the other.

    python -m tests.integration.machines tests/models -m "not slow"
    python -m tests.integration.machines --only old --only load

All arguments but `--only` are pytest's. Libraries are told to leave out instructions that this
processor has, the tests are given one core, or others keep the cores busy beside them. What fails
under one of these and not here knows more of the machine than it may: a speed, an instruction set,
a number of cores, or how one library rounds.
"""

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Machine:
    what: str
    environment: Mapping[str, str] = field(default_factory=dict)
    """Read by PyTorch, MKL and oneDNN."""
    one_core: bool = False
    busy_loops: int = 0


MACHINES = {
    "scalar": Machine("PyTorch's own loops without vectors", {"ATEN_CPU_CAPABILITY": "default"}),
    "avx2": Machine("PyTorch's own loops by AVX2", {"ATEN_CPU_CAPABILITY": "avx2"}),
    "old": Machine(
        "products as on any processor since SSE",
        {"MKL_CBWR": "COMPATIBLE", "ONEDNN_MAX_CPU_ISA": "SSE41"},
    ),
    "core": Machine("one core", one_core=True),
    "load": Machine("two busy loops beside the tests", busy_loops=2),
}
BUSY = """
import os
parent = os.getppid()
while os.getppid() == parent:
    for _ in range(10_000_000):
        pass
"""
"""Ends with its parent, should that have no time to end it."""


def main() -> None:
    """Parse, run, print a line for each machine; exit with 1 when a test failed on one."""
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], epilog="all other arguments are pytest's"
    )
    parser.add_argument("--only", action="append", choices=MACHINES, help="one; may be repeated")
    args, of_pytest = parser.parse_known_args()
    codes = {}
    lines = []
    for name in args.only or MACHINES:
        print(f"\n== {name}: {MACHINES[name].what}", flush=True)
        begun = time.monotonic()
        codes[name] = run(MACHINES[name], of_pytest)
        minutes = (time.monotonic() - begun) / 60
        state = "passed" if codes[name] == 0 else f"failed (exit code {codes[name]})"
        lines.append(f"{name:8}{state}, {minutes:.1f} min: {MACHINES[name].what}")
    print("\n" + "\n".join(lines))
    sys.exit(any(codes.values()))


def run(machine: Machine, of_pytest: list[str]) -> int:
    """Run pytest as on a machine and return its exit code."""
    with on_cores(1 if machine.one_core else 0), kept_busy(machine.busy_loops):
        command = [sys.executable, "-m", "pytest", *of_pytest]
        return subprocess.run(command, env={**os.environ, **machine.environment}).returncode


@contextmanager
def on_cores(number: int) -> Iterator[None]:
    """Let this process and those that it starts have so many cores; 0 leaves them as they are."""
    if not number:
        yield
        return
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(cores)[:number])
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)


@contextmanager
def kept_busy(number: int) -> Iterator[None]:
    """Let so many processes compute in vain."""
    loops = [subprocess.Popen([sys.executable, "-c", BUSY]) for _ in range(number)]
    try:
        yield
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()


if __name__ == "__main__":
    main()
