"""Joins or starts the cluster on which workers run, and makes sure that they have room.

Workers that take all CPUs starve the readers of their data, and the run hangs for ever: one CPU
stays free, and a worker leaves a part of its own, for runs that grow to what a cluster has.
"""

import logging
import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import psutil
import ray

from vibe_ray import storage
from vibe_ray.distributed.watch import ClusterWatch

WORKER_CPUS = 0.75
"""What a worker takes of its CPU; the rest holds a reader (`distributed/streams.py`)."""
OBJECT_STORE_BYTES = 2**30
"""On one machine: readers stop ahead of the workers when this is full, so memory stays bounded."""

ADDRESS = "RAY_ADDRESS"
CLIENT_PORT = 10001
"""Of Ray's client server (`ray://`), where none is given."""
LOOPBACK = ("localhost", "127.0.0.1", "::1")
"""For these Ray takes the machine's own address, under which others know it."""
PROBE_SECONDS = 5.0
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])
"""What an HTTP/2 client says first, with a frame of no settings (RFC 9113, Sec. 3.4)."""
SETTINGS = 4
"""Kind of the frame with which each side of HTTP/2 begins; it is a frame's fourth byte."""

NUM_PAST_TASKS = 2_000
"""Of so many tasks does Ray's head, on one machine, keep a record for its dashboard. A record takes
3.5 kB, and a training makes 300 in a minute: Ray's own bound, 100,000, would be 350 MB."""


_watches: list[ClusterWatch] = []
"""Of the cluster of our own, if there is one."""


def connect(workers: int, device: str, flag: str = "--workers") -> bool:
    """Join the cluster that RAY_ADDRESS names, or start one on this machine.

    On one machine a spare logical CPU is declared for the readers beside the workers.

    Args:
        workers: The fewest with which the run can begin.
        device: `auto`, `cpu` or `cuda`.
        flag: By which the user asked for the workers.

    Returns:
        Whether a cluster was started, which then is this process's alone.

    Raises:
        ValueError: More workers than the cluster has room for.
        ConnectionError: No cluster where RAY_ADDRESS says.
        ChildProcessError: One of our own does not start.
    """
    check_room(workers, flag)
    is_own = not ray.is_initialized() and _starts_own()
    with _signals_kept():
        if is_own:
            _start_watched()
        elif not ray.is_initialized():
            _join()
    resources = ray.cluster_resources()
    room = int(resources.get("CPU", 0)) - 1
    if workers > room:
        raise ValueError(
            _too_many(flag, workers, f"the cluster has {room + 1} CPUs, one for readers")
        )
    if device == "cuda" and workers > resources.get("GPU", 0):
        raise ValueError(_too_many(flag, workers, f"it has {int(resources.get('GPU', 0))} GPUs"))
    return is_own


@contextmanager
def connected(workers: int, device: str) -> Iterator[bool]:
    """Be connected as long as the block lasts; a cluster that was in use before stays so.

    Yields what `connect` returns.

    Args:
        workers: See `connect`, as for what is raised.
        device: Likewise.
    """
    was_in_use = ray.is_initialized()
    is_own = connect(workers, device)
    try:
        yield is_own
    finally:
        if not was_in_use:
            leave()


def leave() -> None:
    """Leave the cluster; one of our own ends."""
    for watch in _watches:
        watch.stop()
    _watches.clear()
    ray.shutdown()


def check_alive() -> None:
    """Find that a cluster of our own has died.

    Raises:
        ChildProcessError: It has, and nothing of it is left.
    """
    if any(watch.has_lost.is_set() for watch in _watches):
        raise ChildProcessError("Ray's GCS died, and the cluster of this command with it")


def _start_watched() -> None:
    before = psutil.Process().children()
    _start()
    watch = ClusterWatch(before)
    _watches.append(watch)
    watch.start()


def _start() -> None:
    os.environ.setdefault("RAY_task_events_max_num_task_in_gcs", str(NUM_PAST_TASKS))
    try:
        ray.init(
            address="local",
            num_cpus=_num_cores() + 1,
            object_store_memory=OBJECT_STORE_BYTES,
            logging_level=logging.WARNING,
        )
    except Exception as error:  # a node that takes over 30 seconds to start raises no other
        raise ChildProcessError(
            f"Ray did not start on this machine ({error}): it may be too busy, try again; its "
            f"logs are in {_ray_folder()}/session_latest/logs"
        ) from error


def _ray_folder() -> str:
    """Return where Ray puts a local cluster's files: by the variables by which Ray finds it."""
    parents = (os.environ.get("RAY_TMPDIR"), os.environ.get("TMPDIR"), "/tmp")
    return f"{next(filter(None, parents))}/ray"


def _join() -> None:
    environment = {"env_vars": storage.shared_environment()}
    try:
        ray.init(os.environ[ADDRESS], logging_level=logging.WARNING, runtime_env=environment)
    except ConnectionError as error:
        raise ConnectionError(f"{_named()}: {error}") from None


def _starts_own() -> bool:
    return os.environ.get(ADDRESS, "") in ("", "local")


@contextmanager
def _signals_kept() -> Iterator[None]:
    """Leave signals to the command: Ray takes SIGTERM at its start, and ends in its own way."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    kept = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    except SystemExit:  # Ray's handler
        if callable(handler := kept[signal.SIGTERM]):
            handler(signal.SIGTERM, None)
        raise
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)


def check_room(workers: int, flag: str = "--workers") -> None:
    """Refuse, before a cluster starts and a run's name is taken, what can be no run.

    Raises:
        ValueError: More workers than CPUs of this machine, or a RAY_ADDRESS that is none.
        ConnectionError: No cluster where RAY_ADDRESS says.
    """
    if ray.is_initialized():
        return
    if not _starts_own():
        check_address()
        return
    if workers > _num_cores():
        raise ValueError(_too_many(flag, workers, f"this machine has {_num_cores()} CPUs"))


def check_address() -> None:
    """Find within seconds that no cluster is where RAY_ADDRESS says: Ray asks for minutes.

    Raises:
        ValueError: It is no address.
        ConnectionError: Nothing there speaks as Ray does.
    """
    address = os.environ[ADDRESS]
    if address == "auto":  # Ray looks for a cluster on this machine, and says so when there is none
        return
    host, port = _parsed(address)
    _probe(host, port, "unset it to start one here")
    if host in LOOPBACK and not address.startswith("ray://"):
        advice = (
            "what listens there can be reached from this machine alone, as a cluster that a "
            "command started for itself, which no other joins: `ray start --head` starts one"
        )
        known_as = ray.util.get_node_ip_address()
        if known_as not in LOOPBACK:
            _probe(known_as, port, advice)


def _probe(host: str, port: int, advice: str) -> None:
    """Raise ConnectionError, with this advice, if nothing there speaks as Ray does."""
    try:
        with socket.create_connection((host, port), PROBE_SECONDS) as probe:
            if os.environ.get("RAY_USE_TLS", "0") not in ("", "0"):
                return
            probe.settimeout(PROBE_SECONDS)
            probe.sendall(PREFACE)
            start = probe.recv(9)
    except OSError as error:
        raise ConnectionError(f"{_named()}: {error}; {advice}") from None
    if len(start) < 4 or start[3] != SETTINGS:
        raise ConnectionError(f"{_named()}: what listens there is not Ray; {advice}")


def _parsed(address: str) -> tuple[str, int]:
    is_client = address.startswith("ray://")
    try:
        parts = urlsplit(address if "://" in address else f"gcs://{address}")
        port = parts.port or (CLIENT_PORT if is_client else None)
        if parts.scheme in ("ray", "gcs") and parts.hostname and port:
            return parts.hostname, port
    except ValueError:  # a port that is no number
        pass
    raise ValueError(f"{ADDRESS} is {address!r}, expected host:port, ray://host:port or auto")


def _named() -> str:
    return f"no Ray cluster answers at {ADDRESS}={os.environ[ADDRESS]}"


def has_gpus(workers: int) -> bool:
    """Whether the cluster has a GPU for each worker."""
    return bool(ray.cluster_resources().get("GPU", 0) >= workers)


def _num_cores() -> int:
    return os.cpu_count() or 1


def _too_many(flag: str, workers: int, found: str) -> str:
    return f"{flag} is {workers}, but {found}: ask for fewer, or set RAY_ADDRESS to a larger one"
