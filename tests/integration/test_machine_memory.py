"""Whose memory is counted: the machine's, or a container's."""

from pathlib import Path

import psutil
import pytest

from tests.integration.machine_memory import Memory, read_memory

GIB = 2**30
MACHINE = f"MemTotal: {8 * 2**20} kB\nMemFree: 1 kB\nMemAvailable: {3 * 2**20} kB\nHugePages: 0\n"
OF_THE_MACHINE = Memory(8 * GIB, 5 * GIB)


def root(tmp_path: Path, files: dict[str, str]) -> Path:
    for name, text in {"proc/meminfo": MACHINE, **files}.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def v2(limit: str) -> dict[str, str]:
    stat = f"anon 7\nactive_file {GIB}\ninactive_file {GIB // 2}\n"
    files = {"max": f"{limit}\n", "current": f"{3 * GIB}\n", "stat": stat}
    return {f"sys/fs/cgroup/memory.{name}": text for name, text in files.items()}


def v1(limit: int) -> dict[str, str]:
    stat = f"cache 7\nactive_file 1\ntotal_active_file {GIB}\ntotal_inactive_file {GIB // 2}\n"
    files = {"limit_in_bytes": f"{limit}\n", "usage_in_bytes": f"{3 * GIB}\n", "stat": stat}
    return {f"sys/fs/cgroup/memory/memory.{name}": text for name, text in files.items()}


@pytest.mark.parametrize("files", [v2(str(4 * GIB)), v1(4 * GIB)], ids=["v2", "v1"])
def test_a_container_has_what_its_group_may_use(files: dict[str, str], tmp_path: Path) -> None:
    assert read_memory(root(tmp_path, files)) == Memory(4 * GIB, 3 * GIB // 2)


@pytest.mark.parametrize("files", [{}, v2("max"), v2(str(9 * GIB)), v1(2**63 - 4096)])
def test_without_a_limit_the_machines_memory_counts(files: dict[str, str], tmp_path: Path) -> None:
    assert read_memory(root(tmp_path, files)) == OF_THE_MACHINE


def test_this_machine_has_no_more_than_is_built_into_it() -> None:
    memory = read_memory()
    assert 0 < memory.used < memory.total <= psutil.virtual_memory().total
