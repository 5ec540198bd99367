"""Processes of a run under test: who descends from it, who is who, and how to end them all.

Only processes that descend from one that a test started are ever looked at or ended.
"""

import ipaddress
import os
import signal
import struct
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")


@dataclass(frozen=True)
class Process:
    pid: int
    started: int
    """In ticks since boot: tells a process from a later one of the same number."""
    title: str

    @property
    def role(self) -> str:
        """What it is to a run, without numbers that differ from one start to the next."""
        for name, part in ROLES.items():
            if part in self.title:
                return name
        return self.title.split(" ")[0].rsplit("/", 1)[-1][:40]

    def is_alive(self) -> bool:
        """Whether it is there, and not only its number."""
        found = _read(self.pid)
        return found is not None and found.started == self.started

    def end(self) -> None:
        """Kill it, without a chance to clean up."""
        if self.is_alive():
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)


ROLES = {
    "worker": "RayTrainWorker",
    "controller": "TrainController",
    "driver": "vibe_ray.train",
    "reader": "ray::MapBatches",
    "raylet": "raylet/raylet",
    "gcs": "gcs_server",
}


def descendants(root: int) -> list[Process]:
    """Return all processes below one, itself included."""
    found: dict[int, Process] = {}
    parents: dict[int, int] = {}
    for entry in PROC.iterdir():
        if entry.name.isdigit() and (process := _read(int(entry.name))):
            found[process.pid] = process
            parents[process.pid] = _parent(process.pid)
    below = {root}
    grown = True
    while grown:
        more = {pid for pid, parent in parents.items() if parent in below} - below
        below |= more
        grown = bool(more)
    return [found[pid] for pid in sorted(below) if pid in found]


def listening(pid: int) -> list[str]:
    """Return the addresses, `host:port`, on which a process listens to TCP."""
    with suppress(FileNotFoundError, ProcessLookupError, PermissionError):
        inodes = _sockets(pid)
        return [address for inode, address in _listeners(pid) if inode in inodes]
    return []


def _sockets(pid: int) -> set[str]:
    """Return the inodes of all sockets that a process has open."""
    links = []
    for entry in (PROC / str(pid) / "fd").iterdir():
        with suppress(FileNotFoundError):  # closed since it was listed
            links.append(str(entry.readlink()))
    return {link[8:-1] for link in links if link.startswith("socket:[")}


def _listeners(pid: int) -> Iterator[tuple[str, str]]:
    """Yield inode and address of every socket that listens in a process's network."""
    for table in ("tcp", "tcp6"):
        path = PROC / str(pid) / "net" / table
        if not path.is_file():  # a system without IPv6 has but one
            continue
        for line in path.read_text().splitlines()[1:]:
            _, local, _, state, *rest = line.split()
            if state == "0A":
                host, _, port = local.partition(":")
                words = struct.pack("<" + "I" * (len(host) // 8), *_words(host))
                yield rest[5], f"{_host(words)}:{int(port, 16)}"


def _words(text: str) -> list[int]:
    return [int(text[at : at + 8], 16) for at in range(0, len(text), 8)]


def _host(packed: bytes) -> str:
    address = ipaddress.ip_address(packed)
    mapped = getattr(address, "ipv4_mapped", None)
    return str(mapped or address)


@contextmanager
def started(command: list[str], **options: object) -> Iterator[subprocess.Popen[bytes]]:
    """Run a command; at the end of the block it and all it ever started are gone."""
    known: dict[int, Process] = {}
    process = subprocess.Popen(command, start_new_session=True, **options)  # type: ignore[call-overload]
    process.known = known
    try:
        yield process
    finally:
        known |= {found.pid: found for found in descendants(process.pid)}
        for found in known.values():
            found.end()
        process.wait()
        while any(found.is_alive() for found in known.values()):
            time.sleep(0.1)


def _read(pid: int) -> Process | None:
    try:
        stat = (PROC / str(pid) / "stat").read_text()
        title = (PROC / str(pid) / "cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
    except (FileNotFoundError, ProcessLookupError, UnicodeDecodeError):
        return None
    fields = stat.rpartition(")")[2].split()
    if fields[0] == "Z":
        return None
    return Process(pid, int(fields[19]), title or stat[stat.index("(") + 1 : stat.rindex(")")])


def _parent(pid: int) -> int:
    try:
        stat = (PROC / str(pid) / "stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return int(stat.rpartition(")")[2].split()[1])
