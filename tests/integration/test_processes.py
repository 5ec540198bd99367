"""What is seen of a process while it goes on."""

import subprocess
import sys

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
