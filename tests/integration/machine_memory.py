"""How much memory do the tests' processes have, and how much of it is used?

Counted as Ray does: where a control group has a limit below the machine's memory, as a container's
has, the group's limit, and what it uses without its cached files. `/proc/meminfo` is the whole
machine's even there.
"""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Memory:
    total: int
    used: int
    """Bytes, both."""


@dataclass(frozen=True)
class Group:
    """Where a version of control groups has its numbers."""

    limit: str
    used: str
    stat: str
    cached: tuple[str, str]
    """Names in `stat`."""


V1 = "sys/fs/cgroup/memory"
V2 = "sys/fs/cgroup"
GROUPS = (
    Group(
        limit=f"{V2}/memory.max",
        used=f"{V2}/memory.current",
        stat=f"{V2}/memory.stat",
        cached=("active_file", "inactive_file"),
    ),
    Group(
        limit=f"{V1}/memory.limit_in_bytes",
        used=f"{V1}/memory.usage_in_bytes",
        stat=f"{V1}/memory.stat",
        cached=("total_active_file", "total_inactive_file"),
    ),
)


def read_memory(root: Path = Path("/")) -> Memory:
    """Return what processes below a root of the file system have."""
    lines = _words(root / "proc/meminfo")
    machine = {name.rstrip(":"): 1024 * int(number) for name, number, *_ in lines}
    for group in GROUPS:
        limit = root / group.limit
        if not limit.is_file() or (text := limit.read_text().strip()) == "max":
            continue
        if int(text) < machine["MemTotal"]:
            stat = {name: int(number) for name, number in _words(root / group.stat)}
            used = int((root / group.used).read_text()) - sum(stat[name] for name in group.cached)
            return Memory(int(text), used)
    return Memory(machine["MemTotal"], machine["MemTotal"] - machine["MemAvailable"])


def _words(file: Path) -> list[list[str]]:
    return [line.split() for line in file.read_text().splitlines()]
