"""What do other processes on this machine take? Read from Linux's /proc."""

import os
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")


def descendants(ancestor: int) -> set[int]:
    """Processes that a process has started, and those that they have."""
    parents = {pid: int(fields[1]) for pid, fields in _all().items()}
    found = {ancestor}
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return found - {ancestor}


def cpu_seconds(pid: int) -> float:
    """CPU time of a process so far; 0 for one that is gone."""
    fields = _fields(pid)
    return (int(fields[11]) + int(fields[12])) / TICKS if fields else 0.0


def peak_mib(pid: int) -> float:
    """Largest resident size of a process so far; 0 for one that is gone."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    sizes = [int(line.split()[1]) for line in lines if line.startswith("VmHWM:")]
    return max(sizes, default=0) / 1024


def is_ray(pid: int) -> bool:
    """Whether it is a worker, task or actor of Ray's."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().startswith(b"ray::")
    except (FileNotFoundError, ProcessLookupError):
        return False


def _all() -> dict[int, list[str]]:
    pids = [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]
    return {pid: fields for pid in pids if (fields := _fields(pid))}


def _fields(pid: int) -> list[str]:
    """What follows a process's name in its line: state, parent, ..."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return []
