"""Clusters: where none is, told in seconds; one of our own, which nobody else can reach."""

import importlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import ray

from vibe_ray.distributed import cluster
from vibe_ray.distributed.cluster import SETTINGS, check_address, check_room

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def no_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a process that has joined none, whatever tests before did."""
    monkeypatch.setattr(cluster.ray, "is_initialized", lambda: False)
    monkeypatch.setattr(cluster, "PROBE_SECONDS", 60)  # what answers may be slow to
    monkeypatch.delenv("RAY_USE_TLS", raising=False)


@contextmanager
def listening(answer: Callable[[socket.socket], None]) -> Iterator[int]:
    """A server that answers one connection as told."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                answer(connection)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield server.getsockname()[1]
        thread.join(10)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.mark.parametrize("form", ["127.0.0.1:{}", "ray://127.0.0.1:{}", "localhost:{}"])
def test_nothing_listens_there(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    address = form.format(free_port())
    monkeypatch.setenv("RAY_ADDRESS", address)
    with pytest.raises(ConnectionError, match=f"no Ray cluster answers at RAY_ADDRESS={address}"):
        check_room(1)


def test_something_else_listens_there(monkeypatch: pytest.MonkeyPatch) -> None:
    def answer(connection: socket.socket) -> None:
        connection.recv(100)
        connection.sendall(b"HTTP/1.0 400 Bad Request\r\n\r\n")

    with listening(answer) as port:
        monkeypatch.setenv("RAY_ADDRESS", f"127.0.0.1:{port}")
        with pytest.raises(ConnectionError, match=f":{port}: what listens there is not Ray"):
            check_address()


def test_something_hangs_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a cluster's process that was stopped: its kernel takes connections, and no one answers."""
    monkeypatch.setattr(cluster, "PROBE_SECONDS", 0.3)
    done = threading.Event()
    with listening(lambda connection: done.wait(10) and None) as port:
        monkeypatch.setenv("RAY_ADDRESS", f"127.0.0.1:{port}")
        with pytest.raises(ConnectionError, match=f":{port}: timed out"):
            check_address()
        done.set()


def speak_http2(connection: socket.socket) -> None:
    connection.recv(100)
    connection.sendall(bytes([0, 0, 0, SETTINGS, 0, 0, 0, 0, 0]))


def test_http2_is_taken_for_a_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray.util, "get_node_ip_address", lambda: "127.0.0.1")
    with listening(speak_http2) as port:
        monkeypatch.setenv("RAY_ADDRESS", f"127.0.0.1:{port}")
        check_address()


def test_a_cluster_that_a_command_started_for_itself_is_not_joined(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Ray would ask for minutes at the machine's own address, where it does not listen."""
    monkeypatch.setattr(ray.util, "get_node_ip_address", lambda: "127.0.0.2")
    with listening(speak_http2) as port:
        monkeypatch.setenv("RAY_ADDRESS", f"localhost:{port}")
        with pytest.raises(ConnectionError, match="as a cluster that a command started for itself"):
            check_address()


@pytest.mark.parametrize("address", ["somewhere", "host:port", "http://host:80", "a:99999", ":7"])
def test_an_address_that_is_none(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", address)
    with pytest.raises(ValueError, match=f"RAY_ADDRESS is '{address}', expected host:port"):
        check_room(1)


@pytest.mark.parametrize("address", ["", "local"])
def test_a_cluster_of_its_own_needs_no_address(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", address)
    check_room(1)
    with pytest.raises(ValueError, match="this machine has"):
        check_room(10_000)


def test_a_command_names_a_dead_address_in_one_line(tmp_path: Path) -> None:
    """In a process of its own, with all that Ray and the shell see of it."""
    address = f"127.0.0.1:{free_port()}"
    run = subprocess.run(
        [sys.executable, "-m", "vibe_ray.train"],
        env={**os.environ, "RAY_ADDRESS": address, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=200,
        check=False,
    )
    assert run.returncode == 2, run.stderr
    check_dead_address_named("train", address, run.stderr, tmp_path)


@pytest.mark.parametrize("command", ["tune", "serve"])
def test_other_commands_name_it_too(
    command: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    address = f"127.0.0.1:{free_port()}"
    monkeypatch.setenv("RAY_ADDRESS", address)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as end:
        importlib.import_module(f"vibe_ray.{command}").main([])
    assert end.value.code == 2
    check_dead_address_named(command, address, capsys.readouterr().err, tmp_path)


def check_dead_address_named(command: str, address: str, told: str, folder: Path) -> None:
    assert told.splitlines()[-1].startswith(
        f"python -m vibe_ray.{command}: no Ray cluster answers at RAY_ADDRESS={address}: "
    )
    assert "Traceback" not in told
    assert not list(folder.iterdir())


LISTENING = """
import json, os, sys
from pathlib import Path
from vibe_ray import cli
cli.set_ray_defaults()
import ray
from vibe_ray.distributed.cluster import connect
from tests.integration.processes import descendants, listening

assert connect(1, "cpu")
ray.get(ray.remote(lambda: 1).remote())
found = {process.role: addresses for process in descendants(os.getpid())
         if (addresses := listening(process.pid))}
print(json.dumps(found))
"""


@pytest.mark.ray
@pytest.mark.slow
def test_a_cluster_of_our_own_listens_to_this_machine_alone() -> None:
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    run = subprocess.run(
        [sys.executable, "-c", LISTENING],
        env={**environment, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    found = json.loads(run.stdout.splitlines()[-1])
    assert found.keys() >= {"gcs", "raylet"}
    others = {
        role: addresses
        for role, addresses in found.items()
        if not all(address.startswith("127.") for address in addresses)
    }
    assert not others


def test_a_cluster_that_does_not_start_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def late(**_: object) -> None:
        raise Exception("The current node timed out during startup.")

    monkeypatch.setenv("RAY_task_events_max_num_task_in_gcs", "1")  # is not ours to set for others
    monkeypatch.setattr(cluster.ray, "init", late)
    with pytest.raises(ChildProcessError, match=r"did not start on this machine \(The"):
        cluster._start()


@pytest.mark.parametrize(
    ("known", "folder"),
    [
        ({"RAY_TMPDIR": "/a", "TMPDIR": "/b"}, "/a/ray"),
        ({"TMPDIR": "/b"}, "/b/ray"),
        ({}, "/tmp/ray"),
    ],
)
def test_rays_folder_is_where_ray_looks_for_it(
    known: dict[str, str], folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("RAY_TMPDIR", "TMPDIR"):
        monkeypatch.delenv(name, raising=False)
    for name, value in known.items():
        monkeypatch.setenv(name, value)
    assert cluster._ray_folder() == folder


def test_signals_stay_with_the_command() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with cluster._signals_kept():
        signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(15))
    assert signal.getsignal(signal.SIGTERM) == before


def start_and_be_ended() -> None:
    with cluster._signals_kept():
        signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(15))  # as Ray does
        signal.raise_signal(signal.SIGTERM)


def test_a_signal_while_ray_starts_is_the_commands() -> None:
    def handler(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            start_and_be_ended()
        assert signal.getsignal(signal.SIGTERM) == handler
    finally:
        signal.signal(signal.SIGTERM, before)
