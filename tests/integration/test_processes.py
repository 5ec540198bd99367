"""What is seen of a process while it goes on."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration import processes
from tests.integration.processes import descendants, listening

RESTLESS = """
import os, socket
with socket.socket() as server:
    server.bind(("127.0.0.1", 0))
    server.listen()
    print(server.getsockname()[1], flush=True)
    while True:
        opened = [os.open(os.devnull, os.O_RDONLY) for _ in range(50)]
        for number in opened:
            os.close(number)
"""


def test_where_a_process_listens_is_seen_whatever_else_it_opens_and_closes() -> None:
    command = [sys.executable, "-c", RESTLESS]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            port = process.stdout.readline().strip()
            assert process.pid in {found.pid for found in descendants(process.pid)}
            for _ in range(100):
                assert listening(process.pid) == [f"127.0.0.1:{port}"]
        finally:
            process.kill()
    assert listening(process.pid) == []


def test_a_system_without_ipv6_has_one_table_less(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder in ("7/fd", "7/net"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "7/fd/3").symlink_to("socket:[4711]")
    row = "0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000 0 0 4711 1"
    (tmp_path / "7/net/tcp").write_text(f"sl local_address rem_address st\n{row}\n")
    monkeypatch.setattr(processes, "PROC", tmp_path)
    assert listening(7) == ["127.0.0.1:8080"]
